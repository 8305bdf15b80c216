"""Every offset of the current generation is settled and acked once, in order, whatever is delivered, however often."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import window as module
from consumer.item import Batch, Item
from consumer.window import HoleInLog, StrayCancel, Window, split
from schemas.events import Place
from tests.unit.consumer.made import chunk, item


@dataclass
class Message:
    partition: int
    offset: int
    generation_id: int


@dataclass
class Delivered:
    message: Message
    acks: list[tuple[int, int, int]]

    def ack(self) -> None:
        self.acks.append((self.message.generation_id, self.message.partition, self.message.offset))


PARTITIONS = range(4)


@dataclass
class Rig:
    """A window whose group, preparation and settlement a test holds in its hands."""

    width: int = 3
    generation: int = 1
    committed: dict[int, int] = field(default_factory=dict)
    acks: list[tuple[int, int, int]] = field(default_factory=list)
    settled: list[tuple[int, int]] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)
    commits: int = 0
    size: int = 256
    held: list[frozenset[int]] = field(default_factory=list)
    prepare: Callable[[Batch], object] = lambda batch: None
    settle: Callable[[Batch], object] = lambda batch: None

    def __post_init__(self) -> None:
        self.window = Window(
            width=self.width,
            most_records=256,
            cut=self._cut,
            prepare=self._prepare,
            settle=self._settle,
            generation=lambda: self.generation,
            commit=self._commit,
            crash=self._crash,
            hold=self.held.append,
        )
        self.window.start()
        self.window.assigned(self.begins)
        self.window.gate.set()

    @property
    def begins(self) -> dict[int, int]:
        return {partition: self.committed.get(partition, 0) for partition in PARTITIONS}

    async def _prepare(self, batch: Batch) -> None:
        await _maybe(self.prepare(batch))

    async def _settle(self, batch: Batch) -> None:
        await _maybe(self.settle(batch))
        self.settled += [(each.raw.partition, each.raw.offset) for each in batch.items]

    async def _commit(self) -> None:
        self.commits += 1
        for _, partition, offset in self.acks:
            self.committed[partition] = max(self.committed.get(partition, 0), offset + 1)

    async def _crash(self, exc: BaseException) -> None:
        self.crashes.append(exc)

    def events(self, partition: int, *offsets: int, generation: int | None = None) -> list[Delivered]:
        return [Delivered(Message(partition, o, generation or self.generation), self.acks) for o in offsets]

    def _cut(self, events: list[Delivered]) -> list[Batch]:
        items = [item(chunk(), e.message.offset, partition=e.message.partition) for e in events]
        return split(items, events, self.generation, lambda _: self.size)

    async def submit(self, events: list[Delivered], size: int = 256) -> None:
        self.size = size
        await self.window.submit(events)

    async def rebalance(self, owned: dict[int, int] | None = None) -> None:
        self.window.gate.clear()
        await self.window.drain()
        self.generation += 1
        self.committed |= owned or {}
        self.window.assigned(self.begins)
        self.window.gate.set()


async def _maybe(result: object) -> None:
    if asyncio.iscoroutine(result):
        await result


async def turns(count: int = 20) -> None:
    """Lets every task that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.window.stop()


Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["deliver", "again", "old", "rebalance", "turn"]), st.integers(0, 2), st.integers(1, 5),
              st.integers(1, 4)),
    max_size=40,
)  # fmt: skip


@given(steps=STEPS)
def test_any_interleaving_settles_and_acks_every_offset_once_and_in_order(steps: list[Step]) -> None:
    with asyncio.Runner() as runner:
        runner.run(_interleaved(steps))


async def _interleaved(steps: list[Step]) -> None:
    rig = Rig()
    read: dict[int, int] = {}
    for what, partition, count, size in steps:
        first = read.get(partition, rig.committed.get(partition, 0))
        if what == "deliver":
            read[partition] = first + count
            await rig.submit(rig.events(partition, *range(first, first + count)), size)
        elif what == "again":  # Faust rewound to the committed offset after a rebalance
            start = rig.committed.get(partition, 0)
            await rig.submit(rig.events(partition, *range(start, first)), size)
        elif what == "old":
            stale = rig.events(partition, *range(first, first + count), generation=rig.generation - 1 or -1)
            await rig.submit(stale, size)
        elif what == "rebalance":
            await rig.rebalance()
            read = {}
        else:
            await turns(count)
    await rig.window.drain()
    await rig.window.stop()
    assert rig.crashes == []
    for generation in range(1, rig.generation + 1):
        for partition in range(3):
            offsets = [o for g, p, o in rig.acks if (g, p) == (generation, partition)]
            assert offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True
    for partition in range(3):
        settled = [o for p, o in rig.settled if p == partition]
        assert settled == list(range(len(settled))), "a drained window leaves nothing to be done twice"
        assert rig.committed.get(partition, 0) == len(settled)


async def test_preparing_side_by_side_settles_in_order(rig: Rig) -> None:
    ready = [asyncio.Event() for _ in range(3)]
    rig.prepare = lambda batch: ready[batch.items[0].raw.offset].wait()
    for offset in range(3):
        await rig.submit(rig.events(0, offset))
    for offset in (2, 1):
        ready[offset].set()
        await turns()
        assert rig.settled == []
    ready[0].set()
    await rig.window.drain()
    assert rig.settled == [(0, 0), (0, 1), (0, 2)]
    assert [offset for _, _, offset in rig.acks] == [0, 1, 2]


async def test_a_place_is_passed_once_its_record_is_acked(rig: Rig) -> None:
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait() if batch.items[0].raw.offset == 1 else None
    await rig.submit(rig.events(0, 0, 1), size=1)
    passing = [asyncio.create_task(rig.window.passed(Place(0, offset))) for offset in (0, 1)]
    await turns()
    assert [each.done() for each in passing] == [True, False]
    hold.set()
    await asyncio.gather(*passing)


async def test_no_more_than_its_width_is_under_way(rig: Rig) -> None:
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait()
    await rig.submit(rig.events(0, *range(10)), size=1)
    await turns()
    assert rig.window.in_flight == 3
    hold.set()
    await turns(200)
    assert len(rig.settled) == 10 and rig.window.in_flight == 0


async def test_what_stands_first_on_a_partition_waits_for_none_on_another(rig: Rig) -> None:
    """Behind 1,000 records of partition 0 that nobody answers for."""
    rig.prepare = lambda batch: asyncio.Event().wait() if batch.items[0].raw.partition == 0 else None
    await rig.submit(rig.events(0, *range(1_000)), size=10)
    await turns()
    await rig.submit(rig.events(1, *range(5)), size=10)
    await turns()
    assert rig.settled == [(1, offset) for offset in range(5)]
    assert rig.window.in_flight == 3


async def test_room_goes_to_the_partition_that_has_least_of_it(rig: Rig) -> None:
    hold = asyncio.Event()
    began: list[int] = []

    def prepare(batch: Batch) -> object:
        began.append(batch.items[0].raw.partition)
        return hold.wait()

    rig.prepare = prepare
    await rig.submit(rig.events(0, *range(20)), size=1)
    await rig.submit(rig.events(1, *range(20)), size=1)
    await turns()
    assert began == [0, 0, 0, 1]
    hold.set()
    await turns(300)
    assert sorted(began[4:10]) == [0, 0, 0, 1, 1, 1]
    assert [offset for partition, offset in rig.settled if partition == 1] == list(range(20))


async def test_what_waits_is_bounded_for_each_partition_and_read_on_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    monkeypatch.setattr(module, "SHARE_WAITING", 20)
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait()
    await rig.submit(rig.events(0, *range(120)), size=1)
    await turns()
    assert rig.held == [frozenset({0})]
    await rig.submit(rig.events(1, *range(10)), size=1)
    assert len(rig.held) == 1, "the other is read on"
    await rig.submit(rig.events(1, *range(10, 30)), size=1)
    assert rig.held[-1] == frozenset({0, 1})
    hold.set()
    await turns(2_000)
    assert rig.held[-1] == frozenset() and rig.window.waiting == 0
    assert len(rig.settled) == 150


async def test_what_waits_is_forgotten_with_its_group_generation(rig: Rig) -> None:
    """It is delivered again."""
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait()
    await rig.submit(rig.events(0, *range(10)), size=1)
    await turns()
    draining = asyncio.create_task(rig.window.drain())
    await turns()
    assert rig.window.waiting == 0
    hold.set()
    await draining
    rig.generation += 1
    rig.window.assigned(rig.begins)
    await rig.submit(rig.events(0, *range(3, 10)), size=1)
    await turns(200)
    assert [offset for _, offset in rig.settled] == list(range(10))


async def test_a_generation_that_ends_unannounced_starts_nothing_more(rig: Rig) -> None:
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait()
    await rig.submit(rig.events(0, *range(10)), size=1)
    await turns()
    rig.generation += 1
    hold.set()
    await turns(200)
    assert (rig.settled, rig.acks, rig.window.waiting) == ([], [], 0)


async def test_a_hole_is_refused(rig: Rig) -> None:
    await rig.submit(rig.events(0, 0, 1))
    with pytest.raises(HoleInLog, match="expected 2, got 3"):
        await rig.submit(rig.events(0, 3))


async def test_starts_where_it_is_told(rig: Rig) -> None:
    rig.window.assigned({0: 7, 1: 40})
    await rig.submit(rig.events(0, 7) + rig.events(1, 40))
    await rig.window.drain()
    assert rig.settled == [(0, 7), (1, 40)]


async def test_nothing_starts_before_the_gate_opens(rig: Rig) -> None:
    rig.window.gate.clear()
    submitting = asyncio.create_task(rig.submit(rig.events(0, 0)))
    await turns()
    assert rig.window.in_flight == 0
    rig.window.gate.set()
    await submitting
    await rig.window.drain()
    assert rig.settled == [(0, 0)]


async def test_what_waits_while_partitions_go_is_left_to_its_next_owner(rig: Rig) -> None:
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait()
    await rig.submit(rig.events(0, *range(5)), size=1)
    await turns()
    rig.window.gate.clear()
    draining = asyncio.create_task(rig.window.drain())
    await turns()
    hold.set()
    await draining
    assert rig.settled == [(0, 0), (0, 1), (0, 2)] and rig.committed == {0: 3}


async def test_the_drain_is_bounded_and_nothing_is_settled_after_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 0.05)
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait()
    await rig.submit(rig.events(0, 0))
    async with asyncio.timeout(30):
        await rig.window.drain()
    hold.set()
    await turns()
    assert (rig.settled, rig.acks, rig.window.in_flight) == ([], [], 0)


async def test_a_batch_that_outlives_its_generation_is_not_acked(rig: Rig) -> None:
    hold = asyncio.Event()
    rig.settle = lambda batch: hold.wait()
    await rig.submit(rig.events(0, 0))
    await turns()
    rig.generation += 1
    hold.set()
    await turns()
    assert rig.acks == []


async def test_assigned_twice_in_a_generation_is_a_fault(rig: Rig) -> None:
    await rig.window.drain()
    with pytest.raises(RuntimeError, match="same group generation"):
        rig.window.assigned({})


@pytest.mark.parametrize("stage", ["prepare", "settle"])
async def test_a_fault_crashes_and_acks_nothing_behind_it(rig: Rig, stage: str) -> None:
    def fail(batch: Batch) -> None:
        if batch.items[0].raw.offset == 1:
            raise ZeroDivisionError

    setattr(rig, stage, fail)
    for offset in range(3):
        await rig.submit(rig.events(0, offset))
    await turns()
    async with asyncio.timeout(30):
        await rig.window.drain()
    assert [type(exc) for exc in rig.crashes] == [ZeroDivisionError]
    assert [offset for _, _, offset in rig.acks] == [0]


async def test_a_commit_that_fails_is_made_up_for_by_the_next(rig: Rig) -> None:
    commit = rig.window._commit

    async def refuse() -> None:
        raise ConnectionError

    rig.window._commit = refuse
    await rig.submit(rig.events(0, 0))
    await turns()
    rig.window._commit = commit
    await rig.submit(rig.events(0, 1))
    await turns()
    assert rig.committed == {0: 2}


@pytest.mark.parametrize("stage", ["prepare", "settle"])
async def test_a_cancel_that_nobody_asked_for_is_a_fault_and_no_stop(rig: Rig, stage: str) -> None:
    def cancelled(batch: Batch) -> None:
        raise asyncio.CancelledError

    setattr(rig, stage, cancelled)
    await rig.submit(rig.events(0, 0))
    await turns()
    assert [type(crash) for crash in rig.crashes] == [StrayCancel]
    async with asyncio.timeout(30):
        await rig.window.drain()


async def test_a_commit_that_is_cut_off_is_made_up_for(rig: Rig) -> None:
    async def cut_off() -> None:
        raise asyncio.CancelledError

    commit, rig.window._commit = rig.window._commit, cut_off
    await rig.submit(rig.events(0, 0))
    await turns()
    rig.window._commit = commit
    await rig.submit(rig.events(0, 1))
    await turns()
    assert rig.committed == {0: 2}


async def test_stopping_is_no_crash(rig: Rig) -> None:
    rig.settle = lambda batch: asyncio.Event().wait()
    await rig.submit(rig.events(0, 0))
    await turns()
    await rig.window.stop()
    assert rig.crashes == []


async def test_quiet_waits_for_the_jobs_batches_and_no_others(rig: Rig) -> None:
    hold = asyncio.Event()
    rig.prepare = lambda batch: hold.wait()
    await rig.submit(rig.events(0, 0))
    await rig.window.quiet("another")
    quiet = asyncio.create_task(rig.window.quiet("job"))
    await turns()
    assert not quiet.done()
    hold.set()
    await quiet
    await rig.window.settled_of("job")
    assert rig.settled == [(0, 0)]
    assert not rig.window._preparing and not rig.window._under_way, "jobs that are over are forgotten"


async def test_stopping_leaves_no_preparation_behind(rig: Rig) -> None:
    rig.prepare = lambda batch: asyncio.Event().wait()
    for offset in range(3):
        await rig.submit(rig.events(0, offset))
    await turns()
    await rig.window.stop()
    assert not rig.window._prepares


async def test_stopping_before_starting_is_no_fault() -> None:
    async def nothing(*_: object) -> None: ...

    window = Window(
        width=1, most_records=1, cut=lambda events: [], prepare=nothing, settle=nothing, generation=lambda: 1,
        commit=nothing, crash=nothing, hold=lambda partitions: None,
    )  # fmt: skip
    await window.stop()


@given(st.lists(st.sampled_from([1, 4, 16])))
def test_split_keeps_order_and_sizes(sizes: list[int]) -> None:
    """`sizes`: the most that a batch may hold, by item."""
    items = [item(chunk(), offset) for offset in range(len(sizes))]

    def size_of(each: Item) -> int:
        return sizes[each.raw.offset]

    batches = split(items, list(range(len(items))), 7, size_of)
    assert [each for batch in batches for each in batch.items] == items
    assert [event for batch in batches for event in batch.events] == list(range(len(items)))
    for batch in batches:
        assert batch.group_generation == 7
        for size in set(sizes):
            of_size = [each for each in batch.items if size_of(each) == size]
            assert len(of_size) <= size
