"""Setting records of a job aside that is paused, stalled, or gives way to others, and taking them up again.

A span is one record on `parked`; the union of a job's spans is what is parked. Taking up again copies the records to
the end of `chunks`, where they are read like any other, carrying their original place. It is done in bites of a few
seconds' work: what other jobs write meanwhile stands behind no more than two of them. Each bite:

1. Copies have their delivery reports. Crash after: the spans still stand, and the records are copied again; a chunk
   that is stored already is a duplicate, and outcomes fold by original place.
2. Where the log's start has passed into the spans, what is gone is told, and the job crawled anew
   (consumer/losses.py). Crash after: as after 1, and told again.
3. `requeued_through` stands on `parked`: a `crawl_end` before it moves behind it. Crash after: as after 1.
4. The spans' tombstones are delivered. Crash after: the bites that are left are the next owner's.
5. The bite before this one is acked, whatever became of its copies. Nothing rests on that but how much stands on the
   log before others.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import pairwise
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

MOST_COPIES = 5_000
"""In a bite: what a crash before its tombstones copies twice."""
SPANS_OF_A_BATCH = 4
"""A span is at most so large a part of a batch; whole spans are taken up, so this bounds the smallest bite."""
LONGEST_GAP = 1_000
"""Records that are read in vain between two spans of one bite."""
BITE_S = 1.5
"""How long the records of a bite take, about: two of them stand before what others write. A server whose every answer
takes more than twice as long is not kept busy."""
PACED_BY = 4
"""Bites whose rate the next one goes by: two that share a batch are acked together."""

Passed = Callable[[Place], Awaitable[None]]


class Bites:
    """How many records the next bite has: what `BITE_S` takes at the rate of the last few, twice the last at most."""

    def __init__(self, least: int, began_s: float) -> None:
        """`began_s`: when the first is delivered, of a monotonic clock."""
        self._least, self.size = least, least
        self._acked = deque([(began_s, 0)], maxlen=PACED_BY + 1)

    def acked(self, at_s: float, records: int) -> None:
        """A bite has passed, and those before it."""
        self._acked.append((at_s, records))
        (first_s, _), *others = self._acked
        in_time = sum(each for _, each in others) * BITE_S / max(at_s - first_s, 1e-3)
        self.size = int(max(self._least, min(in_time, 2 * self.size, MOST_COPIES)))


class Parking:
    def __init__(
        self, settings: Settings, publisher: Publisher, follower: Follower, parked: Parked, losses: Losses
    ) -> None:
        self._settings, self._publisher, self._follower, self._parked = settings, publisher, follower, parked
        self._losses = losses
        self._longest_span = max(1, settings.embed_batch // SPANS_OF_A_BATCH)
        self._biting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def park(self, items: list[Item]) -> None:
        """Sets aside the items with the result `parked` (of one job, in offset order); returns once that is durable."""
        spans = [_span(run) for run in _runs(items, self._longest_span)]
        places = [await self._publisher.publish(span, partition=span.partition) for span in spans]
        for place in places:
            await self._follower.reached("parked", await place)

    async def park_one(self, item: Item, command: JobCommand) -> None:
        """Sets aside a record under this command, whatever its result."""
        place = await self._publisher.send(_span([item], command), partition=item.raw.partition)
        await self._follower.reached("parked", place)

    async def requeue(self, command: JobCommand, passed: Passed) -> None:
        """Takes up all that is parked of the job; returns once no span is left. `passed(place)`: it is acked."""
        if spans := self._parked.of(command.job_id):
            log.info("job %s: requeueing %d parked spans", command.job_id, len(spans))
        bites, under_way = Bites(self._longest_span, time.monotonic()), deque[tuple[Place, int]]()
        while True:
            async with self._lock(command):
                spans = self._parked.of(command.job_id)
                bite = _bite(spans, bites.size)
                if bite and (last := await self._take_up(command, bite)) is not None:
                    under_way.append((last, sum(map(_length, bite))))
            if len(under_way) > 1 or (under_way and not spans):
                place, records = under_way.popleft()
                await passed(place)
                bites.acked(time.monotonic(), records)
            elif not spans:
                return

    async def bitten(self, command: JobCommand) -> None:
        """Returns once no bite of the job is being taken up."""
        async with self._lock(command):
            return

    async def forget(self, command: JobCommand, spans: list[ParkedSpan]) -> None:
        """Tombstones the spans."""
        places = [await self._publisher.tombstone("parked", s.key(), partition=command.partition) for s in spans]
        for future in places:
            await self._follower.reached("parked", await future)

    async def copy(self, record: RawRecord, event: JobRecord, **fields: object) -> Place:
        """One copy of a record at the end of its partition, with its original place and these fields set; returns
        the copy's place."""
        return await (await self._publish_copy(record, event, **fields))

    def _lock(self, command: JobCommand) -> asyncio.Lock:
        return self._biting.setdefault(command.job_id, asyncio.Lock())

    async def _take_up(self, command: JobCommand, spans: list[ParkedSpan]) -> Place | None:
        """The last copy's place; None where nothing was left to copy."""
        last = await self._copy(command, spans)
        if last is not None:
            await self._through(command, last)
        await self.forget(command, spans)
        return last

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


def _runs(items: list[Item], most: int) -> list[list[Item]]:
    """Neighbouring parked items, `most` at most: a span never covers a record of its job that was not parked."""
    runs: list[list[Item]] = []
    open_run = False
    for item in items:
        if item.result != "parked":
            open_run = False
        elif open_run and len(runs[-1]) < most:
            runs[-1].append(item)
        else:
            runs.append([item])
            open_run = True
    return runs


def _span(run: list[Item], command: JobCommand | None = None) -> ParkedSpan:
    command = command or run[0].command
    assert command is not None
    return ParkedSpan(
        job_id=command.job_id,
        kb_id=command.kb_id,
        generation=command.generation,
        partition=run[0].raw.partition,
        first_offset=run[0].raw.offset,
        last_offset=run[-1].raw.offset,
        revision=command.revision,
        parked_at=now(),
    )


def _bite(spans: list[ParkedSpan], size: int) -> list[ParkedSpan]:
    """The first spans, of `size` offsets together; one at least, if there is any."""
    bite, length = spans[:1], sum(map(_length, spans[:1]))
    for before, span in pairwise(spans):
        length += _length(span)
        if length > size or span.first_offset - before.last_offset > LONGEST_GAP:
            break
        bite.append(span)
    return bite


def _length(span: ParkedSpan) -> int:
    return span.last_offset - span.first_offset + 1
