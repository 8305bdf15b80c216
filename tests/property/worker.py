"""A consumer whose log, objects and clock are the test's: everything between is the real thing.

Whatever it waits for (a delivery report, its own record, a dependency) waits in `waiting` until `go` lets it on.
So a test decides on every interleaving, and `crash` may come between any two steps.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import numpy as np

from consumer import parking as parking_module
from consumer.completion import Completion
from consumer.generations import Generations
from consumer.item import Batch, Item, item_of
from consumer.judge import Judge
from consumer.keeper import Keeper
from consumer.losses import Losses
from consumer.parking import SPANS_OF_A_BATCH, Parking
from consumer.reports import Reports
from consumer.settle import SettleStage
from consumer.shares import FREE_BATCHES, Shares
from consumer.stalls import Stalls
from consumer.tasks import Tasks
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from headrace.state.parked import Parked
from headrace.vectors import StoredChunk, Tenancy
from schemas.chunks import Chunk
from schemas.codec import copied_headers, with_fields
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.facts import Result
from tests.property.log import Topic

PARTITION = 0
FREE = 2
"""Chunks of a job that are read before it gives way to others."""


class Durable:
    """What outlives a crash: the topics (of one partition each), the committed offset, the objects."""

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = defaultdict(lambda: Topic(""))
        for name in ("commands", "kbs", "parked", "chunks", "events", "dead-letters"):
            self.topics[name] = Topic(name)
        self.committed = 0
        self.objects: dict[str, set[str]] = defaultdict(set)

    def records(self, topic: str) -> list[RawRecord]:
        return self.topics[topic].partitions.get(PARTITION, [])


class Worker:
    """One process from its start to its crash. `proven(command, item)` is called where a `crawl_end` takes effect."""

    def __init__(self, durable: Durable, proven: Callable[[JobCommand, Item], None]) -> None:
        self.durable = durable
        self.waiting: list[asyncio.Future[None]] = []
        self.unread: list[RawRecord] = []
        self._read_back: list[tuple[str, int, asyncio.Future[None]]] = []
        self._awaited: list[tuple[Place, asyncio.Future[None]]] = []
        self._applied: dict[str, int] = defaultdict(int)
        self.position = durable.committed
        self.batches: list[Batch] = []
        self.settling: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._assemble(proven)
        for topic in self.folds:
            for raw in durable.records(topic):
                self._apply(raw)
        self.keeper.assigned(frozenset({PARTITION}))

    def _assemble(self, proven: Callable[[JobCommand, Item], None]) -> None:
        commands = Commands(on_change=self._changed)
        kbs, self.parked = KnowledgeBases(), Parked()
        self.folds = {"commands": commands.apply, "kbs": kbs.apply, "parked": self.parked.apply}
        me: Any = self
        reports = Reports(me, "worker")
        stalls = Stalls(reports)
        self.judge = Judge(me, commands, kbs)
        self.shares = Shares(self.judge, FREE // FREE_BATCHES)
        self.tasks = Tasks()
        generations = Generations(me, me, kbs, 1)
        parking = Parking(Settings(embed_batch=2 * SPANS_OF_A_BATCH), me, me, self.parked, Losses(reports, generations))
        self.keeper = Keeper(
            commands=commands, parked=self.parked, judge=self.judge, generations=generations, parking=parking,
            stalls=stalls, store=me, probe=self._probe, reports=reports, tasks=self.tasks,
        )  # fmt: skip
        self.keeper.window = me
        completion = Proven(
            store=me, stalls=stalls, generations=generations, prover=cast(Any, Unproven()), missing=cast(Any, None),
            parking=parking, parked=self.parked, reports=reports, judge=self.judge,
        )  # fmt: skip
        completion.proven = proven
        self.settle_stage = SettleStage(
            self.judge,
            stalls,
            me,
            me,
            parking,
            completion,
            reports,
            self.keeper.parked,
            live=lambda batch: True,
            late_s=1e9,
        )

    def _changed(self, command: JobCommand) -> None:
        self.keeper.command_changed(command)

    async def crash(self) -> None:
        await self.tasks.release()
        if self.settling:
            self.settling.cancel()
            await asyncio.gather(self.settling, return_exceptions=True)

    def faults(self) -> None:
        """Raises what a task of the program raised."""
        if self.tasks.failed.done():
            self.tasks.failed.result()
        if self.settling and self.settling.done():
            self.settling.result()

    async def go(self, steps: int, choose: Callable[[int], int]) -> None:
        """Lets up to so many steps happen; `choose(n)` says which of n comes next. The first is reading a record."""
        for _ in range(steps):
            await self.spin()
            choices = len(self.waiting) + bool(self.unread)
            if not choices:
                return
            chosen = choose(choices)
            if chosen == len(self.waiting):
                self._apply(self.unread.pop(0))
            else:
                self.waiting.pop(chosen).set_result(None)
        await self.spin()

    async def spin(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)
        self.waiting = [each for each in self.waiting if not each.done()]
        self.faults()

    async def read(self, count: int) -> None:
        """Takes the next records in, as the window's `prepare` would."""
        items = [item_of(raw) for raw in self.durable.records("chunks")[self.position : self.position + count]]
        for item in items:
            self.judge.note(item)
            self.shares.note(item)
            command = self.judge.command_known(item.job_id)
            item.waits = command is not None and self.shares.waits(item, command)
            await self.judge.judge(item)
        if not items:
            return
        batch = Batch(items, [], 1)
        for of_job in batch.jobs().values():
            self.shares.set_aside(of_job)
        for item in items:
            item.vector = np.zeros(1, dtype=np.float32) if isinstance(item.event, Chunk) else None
        self.position = items[-1].raw.next_offset
        self.batches.append(batch)

    def settle(self) -> None:
        """Begins to settle the oldest batch, where none is being settled."""
        if self.batches and (self.settling is None or self.settling.done()):
            self.settling = asyncio.create_task(self._settle(self.batches.pop(0)))

    async def _settle(self, batch: Batch) -> None:
        async with self._lock:
            await self.settle_stage.settle(batch)
            self.durable.committed = batch.items[-1].raw.next_offset
        for place, future in self._awaited:
            if place.offset < self.durable.committed and not future.done():
                future.set_result(None)

    def _apply(self, raw: RawRecord) -> None:
        self._applied[raw.topic] = raw.next_offset
        self.folds[raw.topic](raw)
        for topic, offset, future in self._read_back:
            if self._applied[topic] > offset and not future.done():
                future.set_result(None)
        self._read_back = [each for each in self._read_back if not each[2].done()]

    async def _turn(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future

    # Publisher
    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        await self._turn()
        return self._delivery(self.durable.topics[event.TOPIC].append(event, PARTITION))

    async def publish_copy(
        self, event: Event, record: RawRecord, *, partition: int, **fields: Any
    ) -> "asyncio.Future[Place]":
        await self._turn()
        key, value = event.key().encode(), with_fields(record.value or b"", **fields)
        headers = tuple(copied_headers(record.headers, "worker"))
        return self._delivery(self.durable.topics[event.TOPIC].append_raw(key, value, PARTITION, headers))

    async def send(self, event: Event, *, partition: int) -> Place:
        return await (await self.publish(event, partition=partition))

    async def tombstone(self, topic: str, key: str, *, partition: int) -> "asyncio.Future[Place]":
        await self._turn()
        return self._delivery(self.durable.topics[topic].append_raw(key.encode(), None, PARTITION))

    def _delivery(self, raw: RawRecord) -> "asyncio.Future[Place]":
        if raw.topic in self.folds:
            self.unread.append(raw)
        return asyncio.ensure_future(self._reported(Place(PARTITION, raw.offset)))

    async def _reported(self, place: Place) -> Place:
        await self._turn()
        return place

    # Follower
    async def reached(self, topic: str, place: Place) -> None:
        if self._applied[topic] <= place.offset:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._read_back.append((topic, place.offset, future))
            await future

    async def catch_up(self, *topics: str) -> None:
        while self.unread:
            self._apply(self.unread.pop(0))

    # VectorStore
    async def ensure(self, place: Tenancy) -> None: ...

    async def insert(self, place: Tenancy, chunks: list[StoredChunk], vectors: list[Any]) -> dict[int, str]:
        await self._turn()
        self.durable.objects[place.tenant] |= {chunk.chunk_id for chunk in chunks}
        return {}

    async def undo(self, place: Tenancy, generations: list[int]) -> int:
        await self._turn()
        gone = self.durable.objects.pop(place.tenant, set())
        return len(gone)

    # Window
    async def quiet(self, job_id: str) -> None: ...

    async def settled_of(self, job_id: str) -> None: ...

    async def passed(self, place: Place) -> None:
        if place.offset >= self.durable.committed:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited.append((place, future))
            await future

    async def settled(self) -> None:
        async with self._lock:
            return

    async def _probe(self, command: JobCommand) -> None:
        await self._turn()


class Unproven:
    async def manifests(self, *_: Any) -> tuple[None, None]:
        return None, None

    async def difference(self, *_: Any) -> None: ...


class Proven(Completion):
    """With the proof itself left out."""

    proven: Callable[[JobCommand, Item], None]

    async def _complete(self, command: JobCommand, item: Item, end: Any) -> Result:
        if result := await self._held_up(command, item):
            return result
        self.proven(command, item)
        return await self._publish(command, cast(Any, None), cast(Any, None))

    async def _publish(self, command: JobCommand, manifest: Any, difference: Any) -> Result:
        return "done" if await self._generations.publish(command) else "superseded"


async def stream_span(*where: Any, records: Callable[[], list[RawRecord]]) -> AsyncIterator[RawRecord]:
    _, _, _, first, end = where
    for each in records()[first:end]:
        await asyncio.sleep(0)
        yield each


def reads(durable: Durable) -> None:
    """Parking reads spans of this log."""
    parking_module.stream_span = lambda *where, prefix: stream_span(  # type: ignore[assignment]
        *where, records=lambda: durable.records("chunks")
    )
