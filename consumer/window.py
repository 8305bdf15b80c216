"""A window of batches: prepared side by side, settled one after the other, acked in order.

The discipline that makes Faust at-least-once (docs/decisions/2026-11-24-faust-discipline.md):
  * one agent, `noack_take`, every event acked here and nowhere else, whole batches, in order;
  * an event of the current group generation is never dropped, an event of an older one always is: it comes again;
  * every offset exactly once per generation: Faust may deliver one twice after a rebalance (skipped), and a hole would
    be committed over (crash);
  * nothing starts until the gate is open: awaiting in `on_partitions_assigned` does not hold events back.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from consumer.item import Batch, Item

log = logging.getLogger(__name__)

DRAIN_S = 15.0
"""Longest wait for batches under way when partitions are taken away; below Faust's rebalance timeout."""


_NOBODYS = -1


class HoleInLog(RuntimeError):
    """An offset is missing between two deliveries: acking on would lose it."""


class StrayCancel(RuntimeError):
    """Something under a batch was cancelled by itself. Taken for a stop, it would end the settling in silence."""


class Window:
    """`start`, `submit` batch after batch, `drain` before partitions go, `stop`.

    prepare(batch): may run for several batches at once. settle(batch): one at a time, in order of submission; it
    looks at `term` and returns early where another may own the batch, which is not acked then.
    generation(): the group generation now. commit(): commits what is acked.
    """

    def __init__(
        self,
        *,
        width: int,
        prepare: Callable[[Batch], Awaitable[None]],
        settle: Callable[[Batch], Awaitable[None]],
        generation: Callable[[], int],
        commit: Callable[[], Awaitable[Any]],
        crash: Callable[[BaseException], Awaitable[None]],
    ) -> None:
        self._prepare, self._settle, self._generation = prepare, settle, generation
        self._commit, self._crash = commit, crash
        self._slots = asyncio.Semaphore(width)
        self._queue: asyncio.Queue[tuple[Batch, asyncio.Task[None]]] = asyncio.Queue()
        self._in_flight = 0
        self._preparing: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._acked = asyncio.Event()
        self._settling = asyncio.Lock()
        self._closed: int | None = None
        self._given_up: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._prepares: set[asyncio.Task[None]] = set()
        self._expected: dict[int, int] = {}
        self.gate = asyncio.Event()
        self.progressed_at = time.monotonic()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="settle"),
            asyncio.create_task(self._commits(), name="commit"),
        ]

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._prepares]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def term(self) -> int:
        """Changes when another may own what was being worked at; it never comes back."""
        generation = self._generation()
        return _NOBODYS if generation == self._given_up else generation

    def assigned(self, begins: Mapping[int, int]) -> None:
        """A new group generation: `begins` is each partition's next offset. Opens nothing: the gate does."""
        if self._closed == self._generation():
            raise RuntimeError("partitions were assigned again in the same group generation")
        self._expected = dict(begins)

    async def submit(self, batches: Callable[[list[Any]], list[Batch]], events: list[Any]) -> None:
        """Takes events in; waits for room and for the gate. `batches` cuts them into batches, after the waits."""
        await self.gate.wait()
        # Looked at after the wait, on purpose: what is of an older generation now is delivered again.
        fresh = [] if self._generation() == self._closed else self._fresh(self._live(events))
        for batch in batches(fresh) if fresh else []:
            await self._slots.acquire()
            if self._closed == batch.group_generation or batch.group_generation != self.term:
                self._slots.release()
                return
            if not self._in_flight:
                self.progressed_at = time.monotonic()  # an idle time before is no lack of progress
            self._in_flight += 1
            self._preparing.update(batch.jobs().keys())
            self._under_way.update(batch.jobs().keys())
            prepared = asyncio.create_task(self._prepared(batch))
            self._prepares.add(prepared)
            prepared.add_done_callback(self._prepares.discard)
            self._queue.put_nowait((batch, prepared))

    async def quiet(self, job_id: str) -> None:
        """Returns once no batch is being prepared (embedded) that has records of the job."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._preparing[job_id])

    async def settled_of(self, job_id: str) -> None:
        """Returns once no batch is under way that has records of the job."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._under_way[job_id])

    async def settled(self) -> None:
        """Returns once the batch that is being settled now, if any, is done."""
        async with self._settling:
            return

    async def drain(self) -> None:
        """Lets the batches under way finish, for `DRAIN_S` at most, and commits; none starts after, nor is settled."""
        self._closed = self._generation()
        try:
            async with asyncio.timeout(DRAIN_S), self._changed:
                await self._changed.wait_for(lambda: not self._in_flight)
        except TimeoutError:
            self._given_up = self._closed  # from here on another may own the records
            log.warning("gave up on %d batches: their records will be delivered again", self._in_flight)
        await self._commit()

    def _live(self, events: list[Any]) -> list[Any]:
        generation = self._generation()
        return [event for event in events if event.message.generation_id == generation]

    def _fresh(self, events: list[Any]) -> list[Any]:
        fresh = []
        for event in events:
            message = event.message
            expected = self._expected[message.partition]
            if message.offset > expected:
                raise HoleInLog(f"partition {message.partition}: expected {expected}, got {message.offset}")
            if message.offset == expected:
                self._expected[message.partition] = expected + 1
                fresh.append(event)
        return fresh

    async def _prepared(self, batch: Batch) -> None:
        try:
            await self._prepare(batch)
        finally:
            async with self._changed:
                _subtract(self._preparing, batch)
                self._changed.notify_all()

    async def _run(self) -> None:
        try:
            while True:
                batch, prepared = await self._queue.get()
                await prepared
                async with self._settling:
                    await self._settle_and_ack(batch)
                await self._finished(batch)
        except asyncio.CancelledError as exc:
            if _asked_to_stop():
                raise
            await self._fail(StrayCancel("a batch was cancelled, and nobody stops the window"), exc)
        except BaseException as exc:  # prepare and settle retry what can be retried: this is a fault of the program
            await self._fail(exc)

    async def _fail(self, exc: BaseException, cause: BaseException | None = None) -> None:
        exc.__cause__ = cause or exc.__cause__
        self._closed, self._in_flight = self._generation(), 0
        async with self._changed:
            self._changed.notify_all()
        await self._crash(exc)

    async def _settle_and_ack(self, batch: Batch) -> None:
        if batch.group_generation != self.term:
            return
        await self._settle(batch)
        if batch.group_generation == self.term:
            for event in batch.events:
                event.ack()
            self._acked.set()

    async def _finished(self, batch: Batch) -> None:
        self._slots.release()
        self.progressed_at = time.monotonic()
        async with self._changed:
            self._in_flight -= 1
            _subtract(self._under_way, batch)
            self._changed.notify_all()

    async def _commits(self) -> None:
        while True:
            await self._acked.wait()
            self._acked.clear()
            try:
                await self._commit()
            except asyncio.CancelledError:
                if _asked_to_stop():
                    raise
                log.warning("a commit was cut off: what is acked goes with the next one")
            except Exception as exc:  # Kafka is unwell: what is acked goes with the next commit, or with Faust's own
                log.warning("can't commit: %r", exc)


def _asked_to_stop() -> bool:
    """Whether it is this very task that was cancelled, and not something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _subtract(counted: Counter[str], batch: Batch) -> None:
    """Jobs counted down to nothing are forgotten: ever more come for as long as the process runs."""
    for job_id in batch.jobs():
        counted[job_id] -= 1
        if not counted[job_id]:
            del counted[job_id]


def split(items: list[Item], events: list[Any], generation: int, size_of: Callable[[Item], int]) -> list[Batch]:
    """Cuts items into batches of at most `size_of(item)` items: small ones where embedding is slow."""
    batches: list[Batch] = []
    for item, event in zip(items, events, strict=True):
        last = batches[-1] if batches else None
        if last is None or len(last.items) >= min(size_of(item), size_of(last.items[-1])):
            last = Batch([], [], generation)
            batches.append(last)
        last.items.append(item)
        last.events.append(event)
    return batches
