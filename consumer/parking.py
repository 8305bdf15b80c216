"""Setting records of a paused job aside, and taking them up again.

A span is one record on `parked`; the union of a job's spans is what is parked. Taking up again copies the records to
the end of `chunks`, where they are read like any other, carrying their original place:

1. Copies have their delivery reports. Crash after: the spans still stand, and the records are copied again; a chunk
   that is stored already is a duplicate, and outcomes fold by original place.
2. Where the log's start has passed into the spans, what is gone is told, and the job crawled anew
   (consumer/losses.py). Crash after: as after 1, and told again.
3. `requeued_through` stands on `parked`: a `crawl_end` before it moves behind it. Crash after: as after 1.
4. The spans' tombstones are delivered. Crash after: nothing is left to do.
"""

import asyncio
import logging
from weakref import WeakValueDictionary

from consumer.item import Item, JobRecord, item_of
from consumer.losses import Losses
from headrace.kafka.follower import Follower, stream_span
from headrace.kafka.publisher import Publisher, wait_all
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from headrace.state.parked import Parked
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.events import Place
from schemas.parked import ParkedSpan, RequeuedThrough

log = logging.getLogger(__name__)

COPIES_AT_ONCE = 5_000
"""About so many copies between two tombstones: what a crash in between copies twice."""


class Parking:
    def __init__(
        self, settings: Settings, publisher: Publisher, follower: Follower, parked: Parked, losses: Losses
    ) -> None:
        self._settings, self._publisher, self._follower, self._parked = settings, publisher, follower, parked
        self._losses = losses
        self._requeueing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def park(self, items: list[Item]) -> None:
        """Sets aside the items with the result `parked` (of one job, in offset order); returns once that is durable."""
        for run in _runs(items):
            first = run[0]
            assert first.command is not None
            await self.park_span(first.command, first.raw.partition, first.raw.offset, run[-1].raw.offset)

    async def park_span(self, command: JobCommand, partition: int, first_offset: int, last_offset: int) -> None:
        span = ParkedSpan(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            partition=partition,
            first_offset=first_offset,
            last_offset=last_offset,
            revision=command.revision,
            parked_at=now(),
        )
        place = await self._publisher.send(span, partition=partition)
        await self._follower.reached("parked", place)

    async def requeue(self, command: JobCommand) -> None:
        """Takes up all that is parked of the job; returns once no span is left. One at a time for each job."""
        async with self._requeueing.setdefault(command.job_id, asyncio.Lock()):
            while spans := self._parked.of(command.job_id):
                log.info("job %s: requeueing %d parked spans", command.job_id, len(spans))
                for group in _groups(spans):
                    last = await self._copy(command, group)
                    if last is not None:
                        await self._through(command, last)
                    await self.forget(command, group)

    async def forget(self, command: JobCommand, spans: list[ParkedSpan]) -> None:
        """Tombstones the spans."""
        places = [await self._publisher.tombstone("parked", s.key(), partition=command.partition) for s in spans]
        for future in places:
            await self._follower.reached("parked", await future)

    async def copy(self, record: RawRecord, event: JobRecord, **fields: object) -> Place:
        """One copy of a record at the end of its partition, with its original place and these fields set; returns
        the copy's place."""
        return await (await self._publish_copy(record, event, **fields))

    async def _copy(self, command: JobCommand, spans: list[ParkedSpan]) -> Place | None:
        """Copies the job's records in the spans, and tells which offsets are gone; returns the last copy's place."""
        first, end = spans[0].first_offset, max(span.last_offset for span in spans) + 1
        offsets = {offset for span in spans for offset in range(span.first_offset, span.last_offset + 1)}
        key, futures, gone, expected = command.job_id.encode(), [], [], first
        async for record in stream_span(
            self._settings.bootstrap_servers,
            "chunks",
            command.partition,
            first,
            end,
            prefix=self._settings.topic_prefix,
        ):
            gone += [(expected, record.offset)] if record.offset > expected else []
            expected = record.next_offset
            event = item_of(record).event if record.key == key and record.offset in offsets else None
            if event is not None and event.job_id == command.job_id:  # a key can lie
                futures.append(await self._publish_copy(record, event))
        gone += [(expected, end)] if expected < end else []
        await wait_all(futures)
        if gone:
            await self._losses.tell(command, "parked", gone[0][0], gone[-1][1])
        return futures[-1].result() if futures else None

    async def _publish_copy(self, record: RawRecord, event: JobRecord, **fields: object) -> "asyncio.Future[Place]":
        origin = event.origin or Place(record.partition, record.offset)
        return await self._publisher.publish_copy(event, record, partition=record.partition, origin=origin, **fields)

    async def _through(self, command: JobCommand, last: Place) -> None:
        event = RequeuedThrough(job_id=command.job_id, partition=last.partition, offset=last.offset)
        await self._follower.reached("parked", await self._publisher.send(event, partition=last.partition))


def _runs(items: list[Item]) -> list[list[Item]]:
    """Neighbouring parked items: a span never covers a record of its job that was not parked."""
    runs: list[list[Item]] = []
    open_run = False
    for item in items:
        if item.result != "parked":
            open_run = False
        elif open_run:
            runs[-1].append(item)
        else:
            runs.append([item])
            open_run = True
    return runs


def _groups(spans: list[ParkedSpan]) -> list[list[ParkedSpan]]:
    groups: list[list[ParkedSpan]] = [[]]
    size = 0
    for span in spans:
        length = span.last_offset - span.first_offset + 1
        if groups[-1] and size + length > COPIES_AT_ONCE:
            groups.append([])
            size = 0
        groups[-1].append(span)
        size += length
    return groups
