"""Politeness per host: how many requests at once, how far apart, and when to leave it alone.

One host is one `host[:port]`. Nothing polls: a waiter sleeps until the moment at which it may go.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from producer.urls import host_key

MAX_RETRY_AFTER_S = 3_600.0
"""A host that asks for more is asked again after an hour; else a typo on its side would end the crawl."""
FIRST_BACK_OFF_S = 1.0
MAX_BACK_OFF_S = 300.0
MAX_CRAWL_DELAY_S = 300.0
OVERLOAD_STATUSES = frozenset({429, 503})


class _Host:
    __slots__ = ("closed_until", "crawl_delay_s", "next_start", "overloads", "places", "turnstile")

    def __init__(self, concurrency: int) -> None:
        self.places = asyncio.Semaphore(concurrency)
        self.turnstile = asyncio.Lock()
        self.crawl_delay_s = 0.0
        self.next_start = 0.0
        self.closed_until = 0.0
        self.overloads = 0


class Hosts:
    """The gate in front of every request of one job. Used from one event loop.

    `async with hosts.slot(url):` waits for a place and for the host's delay, in order of arrival.
    `clock` and `sleep` are for tests; seconds, monotonic.
    """

    def __init__(
        self,
        concurrency: int = 8,
        delay_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._concurrency, self._delay_s = concurrency, delay_s
        self._clock, self._sleep = clock, sleep
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def slot(self, url: str) -> AsyncIterator[None]:
        """Hold one of the host's places for a request to `url`."""
        host = self._host(url)
        async with host.places:
            await self._pass_turnstile(host)
            yield

    def set_crawl_delay(self, url: str, seconds: float | None) -> None:
        """What the host's robots.txt asks for; the larger of it and the configured delay counts."""
        self._host(url).crawl_delay_s = min(max(seconds or 0.0, 0.0), MAX_CRAWL_DELAY_S)

    def report(self, url: str, status: int, retry_after_s: float | None = None) -> None:
        """Tell what the host answered: 429 and 503 close the gate for a while, anything else opens it again.

        Without Retry-After (RFC 9110, 10.2.3) the pause doubles with each refusal, from 1 s to 5 min.
        """
        host = self._host(url)
        if status not in OVERLOAD_STATUSES:
            host.overloads = 0
            return
        if retry_after_s is None and self._clock() < host.closed_until:
            return  # it was under way when another refusal closed the gate: one overload, not several
        pause_s = self._pause(host.overloads, retry_after_s)
        host.overloads += 1
        host.closed_until = max(host.closed_until, self._clock() + pause_s)
        host.next_start = max(host.next_start, host.closed_until)

    def opens_in_s(self, url: str) -> float:
        """Seconds until the next request to this host may start; 0 when it may now."""
        return max(0.0, self._host(url).next_start - self._clock())

    @staticmethod
    def _pause(overloads: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S)
        return min(FIRST_BACK_OFF_S * 2.0 ** min(overloads, 20), MAX_BACK_OFF_S)

    def _host(self, url: str) -> _Host:
        return self._hosts.setdefault(host_key(url), _Host(self._concurrency))

    async def _pass_turnstile(self, host: _Host) -> None:
        async with host.turnstile:
            # A back-off may be reported while this one sleeps, so the gate is looked at again after it.
            while (wait_s := host.next_start - self._clock()) > 0:
                await self._sleep(wait_s)
            host.next_start = self._clock() + max(self._delay_s, host.crawl_delay_s)
