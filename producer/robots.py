"""robots.txt by RFC 9309: what a site lets this crawler read, cached per host.

Protego matches the rules as Google's parser does. The answers to errors are the RFC's (2.3.1): 4xx allows
everything; 5xx, 429 and an unreachable host allow nothing for now, and the file is asked for again soon. A copy
that was read before stays in force while the host is unreachable (2.4).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from protego import Protego

from producer.fetch import FetchError, FetchResult
from producer.urls import origin

MAX_ROBOTS_BYTES = 500 * 1024
"""RFC 9309, 2.5: at least 500 KiB must be read; the rest is ignored."""
MAX_REDIRECTS = 5
"""RFC 9309, 2.3.1.2: at least five hops are followed."""
MAX_AGE_S = 86_400.0
"""RFC 9309, 2.4: not longer than 24 hours."""
RETRY_S = 60.0


class RobotsVerdict(msgspec.Struct, frozen=True):
    """`temporary`: refused only because the rules could not be read; ask again after `retry_in_s`."""

    allowed: bool
    reason: str
    crawl_delay_s: float | None = None
    temporary: bool = False
    retry_in_s: float | None = None


class RobotsRules(msgspec.Struct, frozen=True):
    """The rules of one host. `rules` is None where no file is in force; then `allow_all` decides."""

    source: str
    allow_all: bool
    expires_at: float
    rules: Protego | None = None
    temporary: bool = False

    def verdict(self, url: str, product_token: str, now: float) -> RobotsVerdict:
        if self.rules is None:
            retry_in_s = max(0.0, self.expires_at - now) if self.temporary else None
            return RobotsVerdict(self.allow_all, self.source, None, self.temporary, retry_in_s)
        allowed = self.rules.can_fetch(url, product_token)
        delay_s = self.rules.crawl_delay(product_token)
        return RobotsVerdict(allowed, "robots.txt allows it" if allowed else "disallowed by robots.txt", delay_s)

    def sitemaps(self) -> list[str]:
        """Sitemap URLs as the file names them, not canonical."""
        return list(self.rules.sitemaps) if self.rules is not None else []


class FetchRobots(Protocol):
    """`Fetcher.fetch` with its two size arguments."""

    def __call__(self, url: str, *, max_bytes: int, truncate: bool) -> Awaitable[FetchResult]: ...


def parse_rules(body: bytes, expires_at: float) -> RobotsRules:
    """Rules from a file's bytes: UTF-8, unreadable parts skipped (RFC 9309, 2.3.1.1)."""
    text = body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace").lstrip("\ufeff").replace("\0", "")
    return RobotsRules("robots.txt", True, expires_at, rules=Protego.parse(text))


class RobotsCache:
    """Answers for all hosts of a job; one request per host is under way at most.

    `product_token` is the name that groups in robots.txt are matched by (`Headrace`), not the whole User-Agent.
    `respect=False` allows everything and asks for nothing. `clock`: monotonic seconds, for tests.
    """

    def __init__(
        self,
        fetch: FetchRobots,
        product_token: str = "Headrace",
        *,
        respect: bool = True,
        max_age_s: float = MAX_AGE_S,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch, self._token, self._respect = fetch, product_token, respect
        self._max_age_s, self._retry_s, self._clock = max_age_s, retry_s, clock
        self._rules: dict[str, RobotsRules] = {}
        self._under_way: dict[str, asyncio.Task[RobotsRules]] = {}

    async def verdict(self, url: str) -> RobotsVerdict:
        """May this canonical URL be fetched? Never raises for what the site does."""
        if not self._respect:
            return RobotsVerdict(True, "robots.txt is not respected (configured)")
        rules = await self.rules(url)
        return rules.verdict(url, self._token, self._clock())

    async def rules(self, url: str) -> RobotsRules:
        """The rules of the URL's host, read again once they are older than their age."""
        key = origin(url)
        known = self._rules.get(key)
        if known is not None and self._clock() < known.expires_at:
            return known
        if (task := self._under_way.get(key)) is None:
            task = self._under_way[key] = asyncio.create_task(self._refresh(key))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # One caller that gives up must not take the answer from the others.
        return await asyncio.shield(task)

    async def _refresh(self, key: str) -> RobotsRules:
        fresh, known = await self._read(key), self._rules.get(key)
        if fresh.temporary and known is not None and not known.temporary:
            fresh = msgspec.structs.replace(known, expires_at=fresh.expires_at)
        self._rules[key] = fresh
        return fresh

    async def _read(self, key: str) -> RobotsRules:
        url = key + "/robots.txt"
        try:
            for _ in range(MAX_REDIRECTS + 1):
                result = await self._fetch(url, max_bytes=MAX_ROBOTS_BYTES, truncate=True)
                if result.redirect_to is None:
                    return self._judge(result)
                url = result.redirect_to
        except FetchError as error:
            # The site is unwell: nothing is allowed until its rules can be read.
            return self._unreachable(f"robots.txt is unreachable ({error})")
        return self._everything("robots.txt redirects too often: no rules")

    def _judge(self, result: FetchResult) -> RobotsRules:
        if 200 <= result.status < 300:
            return parse_rules(result.body, self._clock() + self._max_age_s)
        if 300 <= result.status < 500 and result.status != 429:
            return self._everything(f"no robots.txt (status {result.status})")
        return self._unreachable(f"robots.txt is unreachable (status {result.status})")

    def _everything(self, source: str) -> RobotsRules:
        return RobotsRules(source, True, self._clock() + self._max_age_s)

    def _unreachable(self, source: str) -> RobotsRules:
        return RobotsRules(source, False, self._clock() + self._retry_s, temporary=True)
