"""Trying dead letters again: copies of their records, behind everything that stands on the log.

Faust reads aborted transactional records, so this is no transaction. What is durable before what:

1. The projection has read all that was told so far, so what was retried by an answered call is known.
   A crash before: nothing was written.
2. The copies have delivery reports. A crash after, or amid: no retry of the letters is told, so they are copied once
   more by the next call, those that are healed by then too: their generation is not proven yet. A chunk that is stored
   is a duplicate. Where Kafka alone went away amid, 3 and 4 are tried at once for what was copied.
3. A `repair_end` per job has its delivery report, behind the copies: a published generation is proven again there.
   A crash after: as in 2, and the generation is proven twice.
4. `dead_letter_retried` is told of each letter. A crash amid: those not told of are copied once more.
5. The projection has read that. A crash before: the next control reads it before it serves.

One call at a time. A second control that was fenced may still be at it: as in 2.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from control.books import Books
from control.letters import Letter, Wanted, letters
from control.metrics import RETRIED
from control.problems import NotFound, Unavailable
from control.projection import Projection
from control.rules import Job
from headrace.kafka.follower import stream_span
from headrace.kafka.publisher import MAX_RECORD_BYTES, Publisher, wait_all
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.chunks import Chunk, RepairEnd
from schemas.codec import UndecodableRecord, decode, now
from schemas.commands import JobCommand
from schemas.dead_letters import without_reasons
from schemas.events import Event, Place
from schemas.facts import DeadLetterRetried

PAGE = 1_000
"""Letters copied at once: their records are in memory together, 3 MB of usual ones."""
KAFKA_S = 20.0
"""What Kafka is given to answer before a caller is told that it is away; far below what proxies allow."""

Code = Literal["refused", "not_retryable", "already_retried", "unknown"]


class NotRetried(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that was not copied. refused: its job is over. not_retryable: it can't be read, or is no chunk."""

    place: Place
    code: Code
    reason: str


@dataclass
class Retried:
    """What a call did: the facts that are to be told of its copies, by job, and what it passed over."""

    facts: list[tuple[DeadLetterRetried, int]] = field(default_factory=list)
    jobs: dict[str, JobCommand] = field(default_factory=dict)
    passed_over: list[NotRetried] = field(default_factory=list)


class Retrier:
    def __init__(
        self,
        settings: Settings,
        books: Books,
        projection: Projection,
        publisher: Publisher,
        job_of: Callable[[JobCommand], Awaitable[Job]],
        *,
        partitions: int,
    ) -> None:
        self._partitions = partitions
        self._settings, self._books, self._projection = settings, books, projection
        self._publisher, self._job_of = publisher, job_of
        self._retrying = asyncio.Lock()

    async def original(self, place: Place) -> RawRecord:
        """The dead letter as it stands on its topic. Raises NotFound, or Unavailable while Kafka is away."""
        found: list[RawRecord] = []
        if place.partition < self._partitions:
            async with _patience():
                async for raw in self._records(place.partition, place.offset, place.offset + 1):
                    found.append(raw)
        if found:
            return found[0]
        raise unknown_letter(place)

    async def retry(self, wanted: Wanted, *, by: str) -> Retried:
        """Copies each wanted letter that waits. Raises Unavailable while Kafka is away: some may be copied then."""
        async with self._retrying:
            done = Retried()
            async with _patience():
                await self._projection.catch_up()
            found = await self._projection.read(lambda cursor: letters(cursor, wanted))
            try:
                for start in range(0, len(found), PAGE):
                    async with _patience():
                        await self._copy(found[start : start + PAGE], done, by)
            except Unavailable:
                if done.jobs:
                    await self._conclude(done)
                raise
            await self._conclude(done)
            done.passed_over += self._unknown(wanted, done)
            return done

    async def _copy(self, page: Sequence[Letter], done: Retried, by: str) -> None:
        waiting = {letter.place: letter for letter in page if letter.retried_at is None}
        done.passed_over += [_had(letter) for letter in page if letter.retried_at is not None]
        takes: dict[str, bool] = {}
        copies: list[tuple[Letter, JobCommand, asyncio.Future[Place]]] = []
        async for raw in self._originals(list(waiting.values())):
            letter = waiting[Place(raw.partition, raw.offset)]
            judged = await self._judged(letter, raw, takes)
            if isinstance(judged, NotRetried):
                done.passed_over.append(judged if letter.state in ("waiting", "void") else _had(letter))
                continue
            chunk, command = judged
            record = msgspec.structs.replace(raw, headers=without_reasons(raw.headers))
            place = await self._publisher.publish_copy(
                chunk, record, partition=command.partition, origin=letter.origin, retry_of=letter.place
            )
            copies.append((letter, command, place))
        await wait_all(future for *_, future in copies)
        for letter, command, future in copies:
            done.jobs[command.job_id] = command
            done.facts.append((_fact(letter, command, future.result(), by), command.partition))

    async def _conclude(self, done: Retried) -> None:
        await self._send([(_repair(command), command.partition) for command in done.jobs.values()])
        await self._send(done.facts)
        RETRIED.inc(len(done.facts))
        async with _patience():
            await self._projection.catch_up()

    async def _send(self, events: Sequence[tuple[Event, int]]) -> None:
        for start in range(0, len(events), PAGE):
            page = events[start : start + PAGE]
            async with _patience():
                await wait_all([await self._publisher.publish(event, partition=number) for event, number in page])

    async def _judged(
        self, letter: Letter, raw: RawRecord, takes: dict[str, bool]
    ) -> tuple[Chunk, JobCommand] | NotRetried:
        """The record as a chunk and its job, or why it can't be retried; `takes` remembers what jobs were asked."""
        try:
            event = decode("chunks", raw.headers, raw.value)
        except UndecodableRecord as exc:
            return NotRetried(place=letter.place, code="not_retryable", reason=f"it still can't be read: {exc}")
        if raw.size > MAX_RECORD_BYTES:
            return NotRetried(place=letter.place, code="not_retryable", reason=f"it is too large: {raw.size} bytes")
        if not isinstance(event, Chunk):
            return NotRetried(
                place=letter.place, code="not_retryable", reason=f"a {event.TYPE} counts in its order only"
            )
        command = self._books.commands.get(event.job_id)
        if event.job_id not in takes:
            takes[event.job_id] = command is not None and await self._takes(command)
        if command is None or not takes[event.job_id]:
            reason = "its job is over, and its generation is not the one that is searched: start a refresh instead"
            return NotRetried(place=letter.place, code="refused", reason=reason)
        return event, command

    async def _takes(self, command: JobCommand) -> bool:
        """Whether a chunk can still join the job's generation: it is open, or the newest published one."""
        job = await self._job_of(command)
        if job.active:
            return not job.undoing
        published = self._books.kbs.published(command.kb_id)
        return published is not None and published.job_id == command.job_id and job.end == "completed"

    async def _originals(self, waiting: Sequence[Letter]) -> AsyncIterator[RawRecord]:
        """The letters' records, partition after partition."""
        by_partition: dict[int, set[int]] = {}
        for letter in waiting:
            by_partition.setdefault(letter.place.partition, set()).add(letter.place.offset)
        for partition, offsets in by_partition.items():
            async for raw in self._records(partition, min(offsets), max(offsets) + 1):
                if raw.offset in offsets:
                    yield raw

    def _records(self, partition: int, first: int, end: int) -> AsyncIterator[RawRecord]:
        found: AsyncIterator[RawRecord] = stream_span(
            self._settings.bootstrap_servers, "dead-letters", partition, first, end, prefix=self._settings.topic_prefix
        )
        return found

    def _unknown(self, wanted: Wanted, done: Retried) -> list[NotRetried]:
        """Places that were named and are no dead letters."""
        seen = {fact.dead_letter for fact, _ in done.facts} | {each.place for each in done.passed_over}
        return [
            NotRetried(place=place, code="unknown", reason="no such dead letter, or a newer one stands for its record")
            for place in wanted.places or ()
            if place not in seen
        ]


@contextlib.asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    """Turns a Kafka that does not answer in time into Unavailable."""
    try:
        async with asyncio.timeout(KAFKA_S):
            yield
    except TimeoutError as exc:
        raise Unavailable("Kafka is away; what was copied already is harmless: try again") from exc


def unknown_letter(place: Place) -> NotFound:
    return NotFound(f"there is no dead letter {place.partition}/{place.offset}", code="unknown-dead-letter")


def _had(letter: Letter) -> NotRetried:
    return NotRetried(place=letter.place, code="already_retried", reason=f"it is {letter.state}")


def _fact(letter: Letter, command: JobCommand, copy: Place, by: str) -> DeadLetterRetried:
    return DeadLetterRetried(
        job_id=command.job_id,
        kb_id=command.kb_id,
        generation=command.generation,
        dead_letter=letter.place,
        place=letter.origin,
        copy=copy,
        retried_at=now(),
        retried_by=by,
    )


def _repair(command: JobCommand) -> RepairEnd:
    return RepairEnd(job_id=command.job_id, kb_id=command.kb_id, generation=command.generation, requested_at=now())
