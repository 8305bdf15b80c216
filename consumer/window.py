"""A window of batches: prepared side by side, settled one after the other, acked in order, fair among partitions.

The discipline that makes Faust at-least-once (docs/decisions/2026-11-24-faust-discipline.md):
  * one agent, `noack_take`, every event acked here and nowhere else, whole batches, in order;
  * an event of the current group generation is never dropped, an event of an older one always is: it comes again;
  * every offset exactly once per generation: Faust may deliver one twice after a rebalance (skipped), and a hole would
    be committed over (crash);
  * nothing starts until the gate is open: awaiting in `on_partitions_assigned` does not hold events back.

A batch is of one partition. What was read waits in a lane for each, and the lane with the fewest batches under way is
next; one with none need not wait for room. So what stands first on a partition waits for nothing on another.
"""

import asyncio
import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consumer.item import Batch, Item
from schemas.events import Place

log = logging.getLogger(__name__)

DRAIN_S = 15.0
"""Longest wait for batches under way when partitions are taken away; below Faust's rebalance timeout."""
MOST_WAITING = 16_384
"""Records read and waiting, of all partitions: at least 2.5 x records/s, since Faust sleeps a second where it may fetch
nothing. Beyond it, nothing is read of a partition with more than its share, until it or the whole is down to half."""
SHARE_WAITING = 2_048

_NOBODYS = -1


class HoleInLog(RuntimeError):
    """An offset is missing between two deliveries: acking on would lose it."""


class StrayCancel(RuntimeError):
    """Something under a batch was cancelled by itself. Taken for a stop, it would end the settling in silence."""


@dataclass(slots=True, eq=False)
class _Lane:
    """A partition's records in order: read, cut into batches, under way. When last it was given room, and settled."""

    events: deque[Any] = field(default_factory=deque)
    batches: deque[Batch] = field(default_factory=deque)
    under_way: "deque[tuple[Batch, asyncio.Task[None]]]" = field(default_factory=deque)
    turn: int = 0
    settled: int = 0

    @property
    def waiting(self) -> int:
        return len(self.events) + sum(len(batch.events) for batch in self.batches)

    @property
    def prepared(self) -> bool:
        return bool(self.under_way) and self.under_way[0][1].done()

    def forget(self) -> None:
        """What waits is of an older group generation: it is delivered again."""
        self.events.clear()
        self.batches.clear()


class Window:
    """`start`, `submit` events, `drain` before partitions go, `stop`.

    cut(events): into batches; of one partition. prepare(batch): may run for several batches at once. settle(batch): one
    at a time, in order of each partition; it looks at `term` and returns early where another may own the batch, which
    is not acked then. generation(): the group generation now. commit(): commits what is acked.
    hold(partitions): nothing more should be read of these, and of all others again.
    """

    def __init__(
        self,
        *,
        width: int,
        most_records: int,
        cut: Callable[[list[Any]], list[Batch]],
        prepare: Callable[[Batch], Awaitable[None]],
        settle: Callable[[Batch], Awaitable[None]],
        generation: Callable[[], int],
        commit: Callable[[], Awaitable[Any]],
        crash: Callable[[BaseException], Awaitable[None]],
        hold: Callable[[frozenset[int]], None],
    ) -> None:
        self._width, self._most_records, self._cut = width, most_records, cut
        self._prepare, self._settle, self._generation = prepare, settle, generation
        self._commit, self._crash, self._hold = commit, crash, hold
        self._lanes: dict[int, _Lane] = {}
        self._turns = itertools.count(1)
        self._held: frozenset[int] = frozenset()
        self._ready = asyncio.Event()
        self._in_flight = 0
        self._preparing: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._to_commit = asyncio.Event()
        self._settling = asyncio.Lock()
        self._closed: int | None = None
        self._given_up: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._prepares: set[asyncio.Task[None]] = set()
        self._expected: dict[int, int] = {}
        self._acked: dict[int, int] = {}
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
    def waiting(self) -> int:
        """Records that were read and are not under way."""
        return sum(lane.waiting for lane in self._lanes.values())

    @property
    def term(self) -> int:
        """Changes when another may own what was being worked at; it never comes back."""
        generation = self._generation()
        return _NOBODYS if generation == self._given_up else generation

    def assigned(self, begins: Mapping[int, int]) -> None:
        """A new group generation: `begins` is each partition's next offset. Opens nothing: the gate does."""
        if self._closed == self._generation():
            raise RuntimeError("partitions were assigned again in the same group generation")
        self._expected, self._acked, self._held = dict(begins), dict(begins), frozenset()
        for lane in self._lanes.values():
            lane.forget()

    async def submit(self, events: list[Any]) -> None:
        """Takes events in; waits for the gate."""
        await self.gate.wait()
        # Looked at after the wait, on purpose: what is of an older generation now is delivered again.
        if self._generation() != self._closed:
            for event in self._fresh(self._live(events)):
                self._lanes.setdefault(event.message.partition, _Lane()).events.append(event)
            self._fill()

    def _fill(self) -> None:
        """Puts batches under way while there is room."""
        while lane := self._next_lane():
            if batch := self._next_batch(lane):
                self._begin(lane, batch)
        held = self._to_hold()
        if held != self._held:
            self._held = held
            self._hold(held)

    def _next_lane(self) -> _Lane | None:
        room = self._in_flight < self._width
        lanes = [each for each in self._lanes.values() if each.waiting and (room or not each.under_way)]
        return min(lanes, key=lambda lane: (len(lane.under_way), lane.turn), default=None)

    def _next_batch(self, lane: _Lane) -> Batch | None:
        generation = self._generation()
        if self._closed == generation or generation != self.term:
            lane.forget()
        elif not lane.batches:
            events = [lane.events.popleft() for _ in range(min(self._most_records, len(lane.events)))]
            lane.batches.extend(self._cut(live) if (live := self._live(events)) else [])
        if lane.batches and lane.batches[0].group_generation != generation:
            lane.forget()
        return lane.batches.popleft() if lane.batches else None

    def _begin(self, lane: _Lane, batch: Batch) -> None:
        if not self._in_flight:
            self.progressed_at = time.monotonic()  # an idle time before is no lack of progress
        self._in_flight += 1
        self._preparing.update(batch.jobs().keys())
        self._under_way.update(batch.jobs().keys())
        prepared = asyncio.create_task(self._prepared(batch))
        self._prepares.add(prepared)
        prepared.add_done_callback(self._prepares.discard)
        prepared.add_done_callback(lambda _: self._ready.set())
        lane.under_way.append((batch, prepared))
        lane.turn = next(self._turns)

    def _to_hold(self) -> frozenset[int]:
        waiting = {partition: lane.waiting for partition, lane in self._lanes.items()}
        if sum(waiting.values()) < (MOST_WAITING // 2 if self._held else MOST_WAITING):
            return frozenset()
        return frozenset(
            partition
            for partition, count in waiting.items()
            if count >= (SHARE_WAITING // 2 if partition in self._held else SHARE_WAITING)
        )

    async def quiet(self, job_id: str) -> None:
        """Returns once no batch is being prepared (embedded) that has records of the job."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._preparing[job_id])

    async def settled_of(self, job_id: str) -> None:
        """Returns once no batch is under way that has records of the job."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._under_way[job_id])

    async def passed(self, place: Place) -> None:
        """Returns once the record at `place` is acked."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._acked.get(place.partition, 0) > place.offset)

    async def settled(self) -> None:
        """Returns once the batch that is being settled now, if any, is done."""
        async with self._settling:
            return

    async def drain(self) -> None:
        """Lets the batches under way finish, for `DRAIN_S` at most, and commits; none starts after, nor is settled."""
        self._closed = self._generation()
        for lane in self._lanes.values():
            lane.forget()
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
                lane = await self._next_prepared()
                batch, prepared = lane.under_way[0]
                await prepared
                async with self._settling:
                    await self._settle_and_ack(batch)
                lane.under_way.popleft()
                await self._finished(batch)
                self._fill()
        except asyncio.CancelledError as exc:
            if _asked_to_stop():
                raise
            await self._fail(StrayCancel("a batch was cancelled, and nobody stops the window"), exc)
        except BaseException as exc:  # prepare and settle retry what can be retried: this is a fault of the program
            await self._fail(exc)

    async def _next_prepared(self) -> _Lane:
        """In turn, of the lanes whose first batch is prepared."""
        while True:
            self._ready.clear()
            lanes = [lane for lane in self._lanes.values() if lane.prepared]
            if lanes:
                lane = min(lanes, key=lambda lane: lane.settled)
                lane.settled = next(self._turns)
                return lane
            await self._ready.wait()

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
                self._acked[event.message.partition] = event.message.offset + 1
            self._to_commit.set()

    async def _finished(self, batch: Batch) -> None:
        self.progressed_at = time.monotonic()
        async with self._changed:
            self._in_flight -= 1
            _subtract(self._under_way, batch)
            self._changed.notify_all()

    async def _commits(self) -> None:
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
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
