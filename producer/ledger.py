"""The ledger of one job: what it asked of which host and when, on `events`.

Requests are noted in passing and told by a task of their own, so that the crawl neither waits for the log nor is
reordered by it.

A request is in one record: a record is delivered once, and control applies each offset once. What ended within the last
second before a crash is in none.
"""

import asyncio
import contextlib
import datetime
import itertools
from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import KafkaException

from headrace.kafka.publisher import Publisher
from producer.hosts import HostShare
from producer.robots import RobotsCache
from producer.urls import host_key
from schemas.codec import instant, now
from schemas.commands import JobCommand
from schemas.facts import HostRequests, Request, RequestsMade

REQUESTS_AT_ONCE: Final = 200
"""In one record: 40 KB of usual URLs, and 460 KB of the longest there can be."""
TOLD_AFTER_S: Final = 1.0
LAST_WORD_S: Final = 1.0
"""For what is left when the job stops; longer means that Kafka is away."""

Describe = Callable[[str, tuple[Request, ...]], HostRequests]


class Ledger:
    """`start`, `note` from the event loop, `stop`. `describe` makes a host's part of a record, see `describing`."""

    def __init__(
        self, publisher: Publisher, command: JobCommand, *, epoch: int, owner: str, describe: Describe
    ) -> None:
        self._publisher, self._command = publisher, command
        self._epoch, self._owner, self._describe = epoch, owner, describe
        self._noted: list[Request] = []
        self._some, self._many = asyncio.Event(), asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._telling = asyncio.create_task(self._tell_from_time_to_time())

    def note(self, request: Request) -> None:
        self._noted.append(request)
        self._some.set()
        if len(self._noted) >= REQUESTS_AT_ONCE:
            self._many.set()

    async def stop(self) -> None:
        """Tells what is left, where Kafka takes it within a second."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        # Kafka is away or the client is broken: who writes pages says so.
        with contextlib.suppress(TimeoutError, KafkaException):
            async with asyncio.timeout(LAST_WORD_S):
                await self._tell()

    async def _tell_from_time_to_time(self) -> None:
        while True:
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TOLD_AFTER_S):
                    await self._many.wait()
            await self._tell()

    async def _tell(self) -> None:
        while some := self._noted[:REQUESTS_AT_ONCE]:
            await self._publisher.publish(self._record(some), partition=self._command.partition)
            del self._noted[: len(some)]
            if len(self._noted) < REQUESTS_AT_ONCE:
                self._many.clear()
        self._some.clear()

    def _record(self, requests: Iterable[Request]) -> RequestsMade:
        by_host = sorted(requests, key=lambda request: host_key(request.url))
        groups = itertools.groupby(by_host, key=lambda request: host_key(request.url))
        return RequestsMade(
            job_id=self._command.job_id,
            kb_id=self._command.kb_id,
            generation=self._command.generation,
            epoch=self._epoch,
            owner=self._owner,
            hosts=tuple(self._describe(host, tuple(made)) for host, made in groups),
            reported_at=now(),
        )


def describing(share: HostShare, robots: RobotsCache, reach: frozenset[str]) -> Describe:
    """By what the gate and the robots cache know of the host now."""

    def describe(host: str, requests: tuple[Request, ...]) -> HostRequests:
        standing, file = share.standing(host), robots.known(requests[0].url, reach)
        closed_until = None
        if standing.closed_for_s > 0:
            opens = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=standing.closed_for_s)
            closed_until = instant(opens)
        return HostRequests(
            host=host,
            robots=file.found if file else None,
            crawl_delay_s=file.rules.crawl_delay_s if file and file.rules else None,
            concurrency=standing.limit,
            closed_until=closed_until,
            requests=requests,
        )

    return describe
