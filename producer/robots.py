"""What sites let this crawler read: robots.txt by RFC 9309, kept for all jobs of the process.

The answers to errors are the RFC's (2.3.1): 4xx allows everything; 5xx, 429 and an unreachable host allow nothing for
now. A host is waited for once, not once per page: until `PATIENCE_S` is over all its pages wait for one answer, and
while there is none after that, they are refused at once. A copy that was read before stays in force while the host is
unreachable (2.4). That a host which is unreachable for 30 days may be crawled (2.3.1.4) is not made use of.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, Protocol

import msgspec

from headrace.settings import PRODUCT_TOKEN
from producer.fetch import FetchError, FetchResult
from producer.rules import Rules
from producer.urls import origin
from schemas.facts import Purpose

MAX_ROBOTS_BYTES: Final = 500 * 1024
"""RFC 9309, 2.5: at least 500 KiB must be read; the rest is ignored."""
MAX_REDIRECTS: Final = 5
"""RFC 9309, 2.3.1.2: at least five hops are followed."""
MAX_AGE_S: Final = 86_400.0
"""RFC 9309, 2.4: not longer than 24 hours."""
MIN_AGE_S: Final = 300.0
"""Also where `Cache-Control` forbids keeping it: else it would be asked for before each page."""
BACK_OFF_S: Final = (1.0, 4.0, 10.0)
"""Between attempts at a file that can't be read; a host that asks for more is waited for, up to `PATIENCE_S` in all."""
PATIENCE_S: Final = 60.0
RETRY_S: Final = 60.0
"""After that the file is asked for once a minute, by the next page that wants it."""
SHARED_S: Final = 300.0
"""A job reads the file again where another read it longer than this before it began: who has just changed the file and
started a job wants to see what it does."""
MAX_KNOWN: Final = 10_000
"""Files that are kept; beyond it, those that are too old are forgotten."""

_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,9})")
_NOT_KEPT = re.compile(r"(?:^|,)\s*no-(?:cache|store)\s*(?:,|$)")


class RobotsVerdict(msgspec.Struct, frozen=True):
    """`unreadable`: refused only because the rules could not be read."""

    allowed: bool
    reason: str
    crawl_delay_s: float | None = None
    unreadable: bool = False


class RobotsFile(msgspec.Struct, frozen=True):
    """What is known of one host's file. `rules` is None where none is in force; then all is allowed, or nothing while
    it is `unreadable`. `transient`: asking again soon may help, after `retry_after_s` where the host says so."""

    source: str
    read_at: float
    expires_at: float
    rules: Rules | None = None
    unreadable: bool = False
    transient: bool = False
    retry_after_s: float | None = None

    def verdict(self, url: str) -> RobotsVerdict:
        if self.rules is None:
            return RobotsVerdict(not self.unreadable, self.source, unreadable=self.unreadable)
        allowed = self.rules.allow(url)
        reason = "robots.txt allows it" if allowed else "disallowed by robots.txt"
        return RobotsVerdict(allowed, reason, self.rules.crawl_delay_s)

    @property
    def found(self) -> Literal["found", "none", "unreachable"]:
        if self.rules is not None:
            return "found"
        return "unreachable" if self.unreadable else "none"

    def sitemaps(self) -> list[str]:
        """Sitemap URLs as the file names them, not canonical."""
        return self.rules.sitemaps if self.rules is not None else []


class Asking(Protocol):
    """What is needed of a `Client`. `began`: when its job did, on the cache's clock."""

    reach: frozenset[str]
    began: float

    async def get(self, url: str, purpose: Purpose, *, attempt: int, max_bytes: int, truncate: bool) -> FetchResult: ...


_Key = tuple[str, frozenset[str]]
"""Origin, and the reach within which it was asked: one job's refusal by its address rules is not another's."""


class RobotsCache:
    """Answers for all hosts; one request per host is under way at most, made by the job that wants it first.

    `clock` and `sleep`: monotonic seconds, for tests.
    """

    def __init__(
        self,
        product_token: str = PRODUCT_TOKEN,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._token, self._clock, self._sleep = product_token, clock, sleep
        self._files: dict[_Key, RobotsFile] = {}
        self._under_way: dict[_Key, asyncio.Task[RobotsFile]] = {}
        self._by: dict[asyncio.Task[RobotsFile], Asking] = {}

    async def verdict(self, url: str, by: Asking) -> RobotsVerdict:
        """May this canonical URL be fetched? Never raises for what the site does."""
        file = await self.file(url, by)
        if file.rules is not None and file.rules.many:
            return await asyncio.to_thread(file.verdict, url)
        return file.verdict(url)

    async def file(self, url: str, by: Asking) -> RobotsFile:
        """The file of the URL's host, read again by `by` once it is older than its age."""
        key = (origin(url), by.reach)
        while True:
            known = self._files.get(key)
            if known is not None and self._clock() < known.expires_at and known.read_at > by.began - SHARED_S:
                return known
            if (task := self._under_way.get(key)) is None:
                task = self._begin(key, by)
            # One caller that gives up must not take the answer from the others.
            await asyncio.wait({task})
            if not task.cancelled():
                return task.result()

    def known(self, url: str, reach: frozenset[str]) -> RobotsFile | None:
        """What was read last, however old."""
        return self._files.get((origin(url), reach))

    async def forsake(self, by: Asking) -> None:
        """A job ends: what it was reading is read by the next that wants it."""
        tasks = [task for task, reader in self._by.items() if reader is by]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: _Key, by: Asking) -> "asyncio.Task[RobotsFile]":
        task = self._under_way[key] = asyncio.create_task(self._refresh(key, by))
        self._by[task] = by

        def ended(_: object) -> None:
            del self._under_way[key], self._by[task]

        task.add_done_callback(ended)
        return task

    async def _refresh(self, key: _Key, by: Asking) -> RobotsFile:
        known = self._files.get(key)
        in_force = known is not None and not known.unreadable
        fresh = await self._read_patiently(key[0], by, patience_s=0.0 if known is not None else PATIENCE_S)
        if fresh.unreadable and in_force and known is not None:
            fresh = msgspec.structs.replace(known, read_at=fresh.read_at, expires_at=fresh.expires_at)
        if len(self._files) >= MAX_KNOWN:
            now = self._clock()
            self._files = {each: file for each, file in self._files.items() if file.expires_at > now}
        self._files[key] = fresh
        return fresh

    async def _read_patiently(self, site: str, by: Asking, patience_s: float) -> RobotsFile:
        give_up_at = self._clock() + patience_s
        for attempt, back_off_s in enumerate(BACK_OFF_S, start=1):
            file = await self._read(site, by, attempt)
            pause_s = max(back_off_s, file.retry_after_s or 0.0)
            if not file.transient or self._clock() + pause_s > give_up_at:
                return file
            await self._sleep(pause_s)
        return await self._read(site, by, len(BACK_OFF_S) + 1)

    async def _read(self, site: str, by: Asking, attempt: int) -> RobotsFile:
        url = site + "/robots.txt"
        try:
            for _ in range(MAX_REDIRECTS + 1):
                result = await by.get(url, "robots", attempt=attempt, max_bytes=MAX_ROBOTS_BYTES, truncate=True)
                if result.redirect_to is None:
                    return await self._judge(result)
                url = result.redirect_to
        except FetchError as error:
            if error.kind == "bad_redirect":
                return self._no_rules(f"no robots.txt ({error})")
            # The site is unwell: nothing is allowed until its rules can be read.
            return self._unreadable(f"robots.txt is unreachable ({error})", transient=error.transient)
        return self._no_rules("robots.txt redirects too often: no rules")

    async def _judge(self, result: FetchResult) -> RobotsFile:
        if 200 <= result.status < 300:
            now = self._clock()
            # 500 KiB of rules take 0.4 s to read.
            rules = await asyncio.to_thread(Rules, _within_limit(result), self._token)
            return RobotsFile("robots.txt", now, now + age_s(result.cache_control), rules)
        if 300 <= result.status < 500 and result.status != 429:
            return self._no_rules(f"no robots.txt (status {result.status})", age_s(result.cache_control))
        reason = f"robots.txt is unreachable (status {result.status})"
        return self._unreadable(reason, transient=True, retry_after_s=result.retry_after_s)

    def _no_rules(self, source: str, kept_s: float = MAX_AGE_S) -> RobotsFile:
        now = self._clock()
        return RobotsFile(source, now, now + kept_s)

    def _unreadable(self, source: str, *, transient: bool, retry_after_s: float | None = None) -> RobotsFile:
        now = self._clock()
        return RobotsFile(
            source,
            now,
            now + max(RETRY_S, min(retry_after_s or 0.0, MAX_AGE_S)),
            unreadable=True,
            transient=transient,
            retry_after_s=retry_after_s,
        )


def _within_limit(result: FetchResult) -> bytes:
    """Whole lines: what is left of `Allow: /docs/` at the cut might be `Allow: /`."""
    body = result.body[:MAX_ROBOTS_BYTES]
    if not result.truncated and len(result.body) <= MAX_ROBOTS_BYTES:
        return body
    return body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]


def age_s(cache_control: str | None) -> float:
    """How long a file is kept, by `Cache-Control` (RFC 9111, 5.2.2) within bounds; 24 hours where it says nothing."""
    text = (cache_control or "").lower()
    if _NOT_KEPT.search(text):
        return MIN_AGE_S
    found = _MAX_AGE.search(text)
    return min(max(float(found[1]), MIN_AGE_S), MAX_AGE_S) if found else MAX_AGE_S
