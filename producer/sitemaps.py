"""The sitemaps of a crawl's hosts: those that robots.txt names, and `/sitemap.xml`; indices of them as well.

Several hosts are read beside each other, so that a slow one does not hold up the others'; each file by file.
They are asked for as pages are: by the same client, by robots.txt, the address rules and the host's pace. What they say
of the time of a change decides the order within a file, newest first, so that a limit of pages cuts off the oldest; it
never saves a request: dates of sitemaps are often wrong, and validators are not.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final

import msgspec

from producer.client import Client
from producer.content.sitemap import MAX_BYTES, Named, NotASitemap, read_sitemap
from producer.fetch import FetchError, FetchResult
from producer.robots import RobotsCache
from producer.urls import UrlError, canonical, host_key, origin

log = logging.getLogger(__name__)

MAX_FILES: Final = 500
"""Of one host."""
HOSTS_AT_ONCE: Final = 4
"""A file has 50 MB."""
MAX_LEVELS: Final = 3
"""Indices in indices. The protocol knows one level; some sites have two."""
MAX_REDIRECTS: Final = 5
BACK_OFF_S: Final = (1.0, 4.0)
_NOT_FOR_US: Final = frozenset({"address_forbidden", "bad_redirect"})
_HANGS: Final = frozenset({"timeout", "too_slow"})
_UNWELL: Final = frozenset({408, 425, 429})


class Found(msgspec.Struct, frozen=True):
    """What one sitemap names. `unread`: there may be more, which could not be read now, or is beyond a limit."""

    sitemap: str
    urls: tuple[str, ...] = ()
    unread: bool = False


class _Unread(Exception):
    """The file can't be had now; the message says why."""


class _Absent(Exception):
    """There is no such file, or it is not for us."""


class Sitemaps:
    """`read` once; `inside` judges canonical URLs, and whatever it refuses is left out.

    `robots` is None where it isn't respected, and then its sitemaps aren't known. `enough`: URLs after which no further
    file is read.
    """

    def __init__(
        self, client: Client, robots: RobotsCache | None, inside: Callable[[str], bool], enough: int = 10_000_000
    ) -> None:
        self._client, self._robots, self._inside, self._enough = client, robots, inside, enough
        self._count = 0

    async def read(self, seeds: Iterable[str]) -> AsyncGenerator[Found, None]:
        """File by file. Never raises for what the site does. To be closed where it isn't read to its end."""
        sites = iter(dict.fromkeys(map(origin, seeds)))
        under_way: dict[asyncio.Task[Found | None], AsyncGenerator[Found, None]] = {}
        try:
            while True:
                for site in itertools.islice(sites, HOSTS_AT_ONCE - len(under_way)):
                    files = self._files(site)
                    under_way[_next(files)] = files
                if not under_way:
                    return
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    files = under_way.pop(task)
                    if (found := task.result()) is not None:
                        under_way[_next(files)] = files
                        yield found
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _files(self, site: str) -> AsyncGenerator[Found, None]:
        """Of one host, one after the other."""
        waiting: deque[tuple[str, int]] = deque()
        seen: set[str] = set()

        def take(urls: Iterable[str], level: int) -> bool:
            """As many as may be read; whether that is all."""
            fresh = [url for url in dict.fromkeys(urls) if url not in seen]
            taken = fresh[: MAX_FILES - len(seen)]
            seen.update(taken)
            waiting.extend((url, level) for url in taken)
            return len(taken) == len(fresh)

        if not take(await self._first(site), 1):
            yield Found(site, unread=True)
        while waiting:
            url, level = waiting.popleft()
            if self._count >= self._enough:
                log.warning("%d sitemaps are left unread, from %s on", len(waiting) + 1, url)
                yield Found(url, unread=True)
                return
            found, further = await self._read(url)
            self._count += len(found.urls)
            whole = take((each.url for each in further), level + 1) if level < MAX_LEVELS else not further
            if not whole:
                log.warning("%s names more sitemaps than are read", url)
            yield msgspec.structs.replace(found, unread=found.unread or not whole)

    async def _first(self, site: str) -> list[str]:
        named: list[str] = []
        if self._robots is not None:
            file = await self._robots.file(site + "/", self._client)
            named = file.sitemaps()
        urls: dict[str, None] = {}
        for each in (*named[:MAX_FILES], "/sitemap.xml"):
            try:
                urls[canonical(each, site + "/")] = None
            except UrlError:
                continue
        return list(urls)

    async def _read(self, url: str) -> tuple[Found, list[Named]]:
        try:
            result = await self._fetch(url)
            return await asyncio.to_thread(self._judged, url, result)  # 50,000 URLs take a second
        except _Unread as exc:
            log.warning("the sitemap %s can't be read now: %s", url, exc)
            return Found(url, unread=True), []
        except (_Absent, NotASitemap) as exc:
            log.info("no sitemap at %s: %s", url, exc)
            return Found(url), []

    def _judged(self, url: str, result: FetchResult) -> tuple[Found, list[Named]]:
        """Sitemaps of an index must be of its own host; pages only be in scope, since that is the stricter rule."""
        file = read_sitemap(result.body, result.url)
        urls = tuple(named.url for named in file.pages if self._inside(named.url))
        log.info("sitemap %s: %d pages, %d of them in scope, %d sitemaps", url, len(file.pages), len(urls),
                 len(file.sitemaps))  # fmt: skip
        further = [named for named in file.sitemaps if host_key(named.url) == host_key(result.url)]
        return Found(url, urls, unread=result.truncated or not file.whole), further

    async def _fetch(self, url: str) -> FetchResult:
        for _ in range(MAX_REDIRECTS + 1):
            result = await self._ask(url)
            if result.redirect_to is None:
                return result
            url = result.redirect_to
        raise _Absent("it redirects too often")

    async def _ask(self, url: str) -> FetchResult:
        """An answer that is a file or a redirect. Tries three times."""
        if self._robots is not None:
            verdict = await self._robots.verdict(url, self._client)
            if not verdict.allowed:
                raise _Unread(verdict.reason) if verdict.unreadable else _Absent(verdict.reason)
            self._client.share.set_crawl_delay(url, verdict.crawl_delay_s)
        for attempt, pause_s in enumerate((*BACK_OFF_S, None), start=1):
            try:
                result = await self._client.get(url, "sitemap", attempt=attempt, max_bytes=MAX_BYTES, truncate=True)
            except FetchError as error:
                trouble: Exception = _Absent(str(error)) if error.kind in _NOT_FOR_US else _Unread(str(error))
                if not error.transient or error.kind in _HANGS:
                    raise trouble from error  # three times would take a minute
            else:
                if result.redirect_to is not None or 200 <= result.status < 300:
                    return result
                trouble = _Unread(f"status {result.status}")
                if result.status < 500 and result.status not in _UNWELL:
                    raise _Absent(f"status {result.status}")
            if pause_s is None:
                raise trouble
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")


def _next(files: AsyncGenerator[Found, None]) -> "asyncio.Task[Found | None]":
    async def read() -> Found | None:
        return await anext(files, None)

    return asyncio.create_task(read())
