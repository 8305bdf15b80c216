"""Politeness per host: how many requests at once, how far apart, and when to leave it alone.

One host is one `host[:port]`, and one `Hosts` serves every job of the process: two that crawl one host share its
places, its delay and its back-off. Nothing polls: a waiter sleeps until the moment at which it may go.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from producer.pace import Pace
from producer.urls import host_key

MAX_RETRY_AFTER_S: Final = 3_600.0
"""A host that asks for more is asked again after an hour; else a typo on its side would end the crawl."""
FIRST_BACK_OFF_S: Final = 1.0
MAX_BACK_OFF_S: Final = 300.0
JITTER: Final = 0.25
"""Of a pause, at most, on top of it: crawlers that were refused together don't come back together."""
MAX_CRAWL_DELAY_S: Final = 300.0
OVERLOAD_STATUSES: Final = frozenset({429, 503})
_OF_THE_REQUEST: Final = frozenset({501, 505})
"""Server errors that tell of what was asked, and not of how the host is: it answers the same to everyone."""
TROUBLES_IN_A_ROW: Final = 3
"""Server errors and requests without an answer, before the host is left alone for a while: one tells of a page."""
PATIENCE_S: Final = 900.0
"""A host that has answered nothing well for so long is given up, save one request at the end of each pause."""
MAX_KNOWN: Final = 10_000
"""Hosts that are remembered; beyond it, those that nobody uses and that ask for no pause are forgotten."""


def is_trouble(status: int) -> bool:
    """Whether the host is unwell, by its answer. What proxies and hosters say (507 to 509, 520 to 530) counts too."""
    return status in OVERLOAD_STATUSES or (status >= 500 and status not in _OF_THE_REQUEST)


class HostGivenUp(Exception):
    """The host has been unwell for longer than patience lasts; the message says since when. Nothing was asked of it."""


class Standing(msgspec.Struct, frozen=True):
    """How a host is treated now. `closed_for_s`: until the next request may start because it was unwell."""

    limit: int
    delay_s: float
    closed_for_s: float


class _Host:
    __slots__ = (
        "closed_until", "closings", "delays", "given_up", "in_flight", "next_start", "pace", "troubled_since",
        "troubles", "turnstile", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pace = Pace()
        self.turnstile = asyncio.Lock()
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0
        self.delays: dict[HostShare, float] = {}
        """By job, what robots.txt asks of it, seconds."""
        self.next_start = self.closed_until = self.troubled_since = 0.0
        self.troubles = self.closings = 0
        self.given_up = False

    @property
    def most(self) -> int:
        return min((share.concurrency for share in self.delays), default=1)

    @property
    def places(self) -> int:
        return min(self.pace.limit, self.most)

    @property
    def delay_s(self) -> float:
        return max((max(share.delay_s, asked) for share, asked in self.delays.items()), default=0.0)

    def admit(self) -> None:
        """Gives free places to who waits, in the order of `waiting`."""
        while self.waiting and self.in_flight < self.places:
            turn = self.waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)


class Hosts:
    """The gate in front of every request of this process. Used from one event loop; each job has a `share`.

    `max_in_flight`: requests at once over all hosts. `clock`, `sleep` and `jitter` (0 to 1) are for tests; seconds,
    monotonic.
    """

    def __init__(
        self,
        max_in_flight: int = 64,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.clock, self._sleep, self._jitter = clock, sleep, jitter
        self._anywhere = asyncio.Semaphore(max_in_flight)
        self._hosts: dict[str, _Host] = {}

    def share(self, concurrency: int, delay_s: float) -> "HostShare":
        """One job's part; the strictest of the jobs that have asked a host and have not left counts there."""
        return HostShare(self, concurrency, delay_s)

    def of(self, key: str) -> _Host:
        if (known := self._hosts.get(key)) is not None:
            return known
        if len(self._hosts) >= MAX_KNOWN:
            self._forget_idle()
        return self._hosts.setdefault(key, _Host())

    def leave(self, share: "HostShare") -> None:
        for host in self._hosts.values():
            host.delays.pop(share, None)
            host.admit()

    async def enter(self, host: _Host, *, ahead: bool = False) -> None:
        """A place at the host, in order of arrival, or `ahead` of those who wait."""
        if not host.waiting and host.in_flight < host.places:
            host.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        host.waiting.insert(0 if ahead else len(host.waiting), turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.exit(host)
            raise

    def exit(self, host: _Host) -> None:
        host.in_flight -= 1
        host.admit()

    async def pass_turnstile(self, host: _Host) -> None:
        """Waits for the host's delay and back-off, and for room in the process; `close` gives the room back."""
        async with host.turnstile:
            while True:
                # A back-off may be told while this one waits, so the gate is looked at again after it.
                while (wait_s := host.next_start - self.clock()) > 0:
                    self._check_given_up(host)
                    await self._sleep(wait_s)
                await self._anywhere.acquire()
                if host.next_start <= self.clock():
                    host.next_start = self.clock() + host.delay_s
                    return
                self._anywhere.release()

    def close(self) -> None:
        self._anywhere.release()

    def well(self, host: _Host, started: float, *, full: bool) -> None:
        host.troubles = host.closings = 0
        host.given_up = False
        host.pace.answered(started, self.clock(), most=host.most, full=full)
        host.admit()

    def unwell(self, host: _Host, started: float, *, overload: bool, retry_after_s: float | None) -> None:
        """A refusal, a server error, or no answer: fewer places, and a pause where it isn't the first time."""
        now = self.clock()
        host.pace.overloaded(started, now)
        if started < host.closed_until and retry_after_s is None:
            return  # it was under way when another trouble closed the gate: one trouble, not several
        if host.troubles == 0:
            host.troubled_since = started
        host.troubles += 1
        host.given_up = now - host.troubled_since > PATIENCE_S
        if overload or host.troubles >= TROUBLES_IN_A_ROW:
            host.closed_until = max(host.closed_until, now + self._pause(host.closings, retry_after_s))
            host.next_start = max(host.next_start, host.closed_until)
            host.closings += 1

    def _pause(self, closings: int, retry_after_s: float | None) -> float:
        """Seconds; without Retry-After (RFC 9110, 10.2.3) they double with each refusal, from 1 s to 5 min."""
        if retry_after_s is not None:
            pause_s = min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S)
        else:
            pause_s = min(FIRST_BACK_OFF_S * 2.0 ** min(closings, 20), MAX_BACK_OFF_S)
        return pause_s * (1.0 + JITTER * self._jitter())

    def _check_given_up(self, host: _Host) -> None:
        if host.given_up and host.closed_until > self.clock():
            minutes = (self.clock() - host.troubled_since) / 60
            raise HostGivenUp(f"the host has given no good answer for {minutes:.0f} minutes")

    def _forget_idle(self) -> None:
        now = self.clock()
        for key in [key for key, host in self._hosts.items() if not host.delays and host.next_start <= now]:
            del self._hosts[key]


class HostShare:
    """One job at all hosts. `async with share.slot(url)` around each request; `leave` when the job ends."""

    def __init__(self, hosts: Hosts, concurrency: int, delay_s: float) -> None:
        self._hosts, self.concurrency, self.delay_s = hosts, concurrency, delay_s

    @asynccontextmanager
    async def slot(self, url: str, *, ahead: bool = False) -> AsyncIterator["Turn"]:
        """Holds one of the host's places, once its delay has passed. Raises HostGivenUp instead of waiting.

        `ahead`: of all who wait for a place.
        """
        hosts, host = self._hosts, self._hosts.of(host_key(url))
        host.delays.setdefault(self, 0.0)
        hosts._check_given_up(host)
        asked = hosts.clock()
        await hosts.enter(host, ahead=ahead)
        try:
            await hosts.pass_turnstile(host)
            try:
                yield Turn(hosts, host, hosts.clock() - asked)
            finally:
                hosts.close()
        finally:
            hosts.exit(host)

    def set_crawl_delay(self, url: str, seconds: float | None) -> None:
        """What the host's robots.txt asks of this job; the larger of it and the configured delay counts."""
        host = self._hosts.of(host_key(url))
        host.delays[self] = min(max(seconds or 0.0, 0.0), MAX_CRAWL_DELAY_S)

    def standing(self, key: str) -> Standing:
        """Of the host `key` (see `host_key`)."""
        host = self._hosts.of(key)
        return Standing(host.places, host.delay_s, max(0.0, host.closed_until - self._hosts.clock()))

    def leave(self) -> None:
        """Its limits count no more. Requests under way keep their places until they end."""
        self._hosts.leave(self)


class Turn:
    """A request that may be made now; then `answered` or `failed`, once. `waited_s`: for the place and the delay."""

    def __init__(self, hosts: Hosts, host: _Host, waited_s: float) -> None:
        self._hosts, self._host, self.waited_s = hosts, host, waited_s
        self._started = hosts.clock()
        self._full = host.in_flight >= host.places

    def answered(self, status: int, retry_after_s: float | None = None) -> None:
        if is_trouble(status):
            overload = status in OVERLOAD_STATUSES
            self._hosts.unwell(self._host, self._started, overload=overload, retry_after_s=retry_after_s)
        else:
            self._hosts.well(self._host, self._started, full=self._full)

    def failed(self) -> None:
        """No answer came, and that may be the host's load: a timeout, a refused or broken connection."""
        self._hosts.unwell(self._host, self._started, overload=False, retry_after_s=None)
