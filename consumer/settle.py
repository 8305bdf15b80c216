"""The ordered half of a batch: write, tell, and only then let it be acked."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException

from consumer.embed import place_of
from consumer.item import MAX_NAME, Batch, Item
from consumer.judge import Judge
from consumer.metrics import RECORDS, WRITE_SECONDS
from consumer.pages_traced import tell_pages
from consumer.parking import Parking
from consumer.reports import Reports
from consumer.stalls import GaveUp, Stalls
from headrace import tracing
from headrace.embedding.base import Vectors
from headrace.errors import DependencyUnwell
from headrace.kafka.publisher import Publisher, wait_all
from headrace.kafka.records import RawRecord
from headrace.vectors import StoredChunk, Tenancy, VectorStore
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd, RepairEnd
from schemas.codec import Headers, now
from schemas.commands import JobCommand
from schemas.dead_letters import reason_headers
from schemas.events import Event, Place
from schemas.facts import DeadLettered, Outcome, Outcomes, Result

log = logging.getLogger(__name__)


class Lifecycle(Protocol):
    """What `crawl_begin`, `crawl_end` and `repair_end` set off."""

    async def begin(self, command: JobCommand, epoch: int) -> None: ...

    async def end(self, command: JobCommand, item: Item) -> Result: ...

    async def repair(self, command: JobCommand, item: Item) -> Result: ...


class SettleStage:
    """Settles one batch at a time. What is durable before what:

    1. Objects are in Weaviate. Crash before: the batch is delivered again. Crash after: it is delivered again, and the
       same ids are written or found. Where that took so long that another may own the job, what an undone generation
       must not have is deleted again.
    2. Dead letters, then their events, and parked spans have delivery reports. Crash after: a second dead letter or
       span of the same place, which readers fold by place.
    3. `crawl_begin`, `crawl_end` and `repair_end` have taken effect. Crash after: they take effect again, to the same
       end.
    4. The outcomes have delivery reports. Crash after: told twice, folded by original place.
    5. The window acks the batch, then commits. Progress is what is committed, so it is never ahead of 1 to 4.
    Between any two of them another may come to own the batch's partitions: it is left as after a crash.
    """

    def __init__(
        self,
        judge: Judge,
        stalls: Stalls,
        store: VectorStore,
        publisher: Publisher,
        parking: Parking,
        lifecycle: Lifecycle,
        reports: Reports,
        parked: Callable[[JobCommand], None],
        live: Callable[[Batch], bool],
        late_s: float,
    ) -> None:
        """`parked(command)` is told after records of a job were set aside. `live(batch)`: nobody else owns it yet.

        `late_s`: whoever took longer over writing may have lost its partitions meanwhile; below the session.
        """
        self._late_s = late_s
        self._judge, self._stalls, self._store = judge, stalls, store
        self._publisher, self._parking, self._lifecycle = publisher, parking, lifecycle
        self._reports, self._parked, self._live = reports, parked, live

    async def settle(self, batch: Batch) -> None:
        """Returns early where another may own the batch by now: it must not be acked then."""
        try:
            for step in (self._write, self._set_aside, self._take_effects, self._tell):
                self._look(batch)
                await step(batch)
        except GaveUp as exc:
            if self._live(batch):
                raise  # this program is wrong: nobody else does what is left of it
            log.warning("a batch from chunks %d/%d on is left: %s", *_first(batch), exc)

    def _look(self, batch: Batch) -> None:
        if not self._live(batch):
            raise GaveUp(DependencyUnwell("job", "another worker has it"), 0)

    async def _write(self, batch: Batch) -> None:
        began, began_ns = time.monotonic(), time.time_ns()
        for item in batch.items:
            self._judge.reconsider(item)
        for items in batch.jobs().values():
            await self._index([item for item in items if item.result is None and isinstance(item.event, Chunk)])
        if time.monotonic() - began > self._late_s:
            await self._take_back(batch)
        if tracing.on():
            tell_pages(batch, (began_ns, time.time_ns()))

    async def _set_aside(self, batch: Batch) -> None:
        for item in batch.items:
            if item.result == "dead_lettered":
                await self._dead_letter(item)
        for items in batch.jobs().values():
            await self._parking.park(items)

    async def _take_effects(self, batch: Batch) -> None:
        for item in batch.items:
            self._look(batch)
            await self._take_effect(item)

    async def _tell(self, batch: Batch) -> None:
        await wait_all(await self._outcomes(batch))
        for result, count in Counter(item.result or "" for item in batch.items).items():
            RECORDS.labels(result).inc(count)
        for command in {item.job_id: item.command for item in batch.items if item.result == "parked"}.values():
            assert command is not None
            self._parked(command)

    async def _index(self, items: list[Item]) -> None:
        if not items:
            return
        command = items[0].command
        assert command is not None
        place = place_of(command)
        chunks, vectors = [_stored(item, command) for item in items], [_vector(item) for item in items]

        async def write() -> dict[int, str]:
            began = time.monotonic()
            await self._store.ensure(place)
            refused = await self._store.insert(place, chunks, vectors)
            WRITE_SECONDS.observe(time.monotonic() - began)
            return refused

        try:
            refused = await self._stalls.retry(
                write, [command], lambda cause, waited_s: not self._judge.cancelled(command.job_id), server="Weaviate"
            )
        except GaveUp:
            if not self._judge.cancelled(command.job_id):
                raise
            for item in items:
                item.result = "superseded"  # what Weaviate would not take is not wanted any more
            return
        if refused and len(items) > 1:  # by themselves, to tell a bad object from one in bad company
            for index in refused:
                await self._index([items[index]])
        elif refused:
            items[0].refuse("index", refused[0])
        for index, item in enumerate(items):
            if index not in refused and item.result is None:
                item.result = "indexed"

    async def _take_back(self, batch: Batch) -> None:
        """What was written so late that another owner may have undone its generation before: it is deleted."""
        await self._judge.refresh()
        for items in batch.jobs().values():
            late = [item for item in items if item.result == "indexed" and self._judge.undone(item)]
            if not late:
                continue
            command, chunks = late[0].command, [item.event for item in late]
            assert command is not None
            place, ids = place_of(command), [chunk.chunk_id for chunk in chunks if isinstance(chunk, Chunk)]
            log.warning("job %s: %d objects came after the undo; deleted", command.job_id, len(ids))
            await self._delete(place, ids, command)
            for item in late:
                item.result = "superseded"

    async def _delete(self, place: Tenancy, ids: list[str], command: JobCommand) -> None:
        await self._stalls.retry(lambda: self._store.delete_ids(place, ids), [command])

    async def _dead_letter(self, item: Item) -> None:
        raw, reason = item.raw, item.reason or "unknown"
        log.warning("chunks %d/%d goes to the dead letters: %s", raw.partition, raw.offset, reason)
        reasons = reason_headers(
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            connector="headrace-consumer",
            stage=item.stage,
            error="RecordRefused",
            message=reason,
        )
        await self._reports.publish(self._dead_lettered(item, reason, await self._letter(raw, reasons)), raw.partition)

    async def _letter(self, raw: RawRecord, reasons: Headers) -> Place:
        """Its place. Of a record that `dead-letters` doesn't take, the reasons alone: they say where it stands."""
        untouched = [(name, value or b"") for name, value in raw.headers]
        try:
            return await self._publish_raw(raw.key, raw.value, untouched + reasons, raw.partition)
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
        log.warning("chunks %d/%d is too large for a dead letter: it is named there", raw.partition, raw.offset)
        return await self._publish_raw(None, None, reasons, raw.partition)

    async def _publish_raw(self, key: bytes | None, value: bytes | None, headers: Headers, partition: int) -> Place:
        return await (
            await self._publisher.publish_raw(
                "dead-letters", key=key, value=value, headers=headers, partition=partition
            )
        )

    def _dead_lettered(self, item: Item, reason: str, dead_letter: Place) -> DeadLettered:
        return DeadLettered(
            job_id=item.job_id,
            chunk_id=item.event.chunk_id if isinstance(item.event, Chunk) else None,
            record_key=(item.raw.key or b"").decode(errors="replace")[:MAX_NAME],
            topic=item.raw.topic,
            place=item.place,
            dead_letter=dead_letter,
            stage=item.stage,
            reason=reason,
            dead_lettered_at=now(),
        )

    async def _take_effect(self, item: Item) -> None:
        if item.result is not None:
            return
        assert item.command is not None
        if isinstance(item.event, CrawlBegin):
            await self._lifecycle.begin(item.command, item.epoch)
            item.result = "done"
        elif isinstance(item.event, CrawlEnd):
            item.result = await self._lifecycle.end(item.command, item)
        elif isinstance(item.event, RepairEnd):
            item.result = await self._lifecycle.repair(item.command, item)
        else:
            item.result = "done"

    async def _outcomes(self, batch: Batch) -> list["asyncio.Future[Place]"]:
        futures = []
        for items in batch.jobs().values():
            event = _outcomes(items, batch.group_generation, self._reports.worker)
            futures.append(await self._publish(event, items[0].raw.partition))
        return futures

    async def _publish(self, event: Event, partition: int) -> "asyncio.Future[Place]":
        return await self._publisher.publish(event, partition=partition)


def _first(batch: Batch) -> tuple[int, int]:
    return batch.items[0].raw.partition, batch.items[0].raw.offset


def _outcomes(items: list[Item], group_generation: int, worker: str) -> Outcomes:
    first = items[0].event
    assert first is not None
    entries: tuple[Outcome, ...] = tuple(item.outcome() for item in items)
    return Outcomes(
        job_id=first.job_id,
        kb_id=first.kb_id,
        generation=first.generation,
        partition=items[0].raw.partition,
        group_generation=group_generation,
        worker=worker,
        entries=entries,
        decided_at=now(),
    )


def _stored(item: Item, command: JobCommand) -> StoredChunk:
    chunk = item.event
    assert isinstance(chunk, Chunk)
    return StoredChunk(
        chunk_id=chunk.chunk_id,
        text=chunk.text,
        url=chunk.url,
        title=chunk.title,
        heading_path=chunk.heading_path,
        doc_hash=chunk.doc_hash,
        text_hash=chunk.text_hash,
        job_id=chunk.job_id,
        born=command.generation,
        ordinal=chunk.ordinal,
    )


def _vector(item: Item) -> Vectors:
    assert item.vector is not None
    return item.vector
