"""Rebalances that find batches still under way: what was given up comes again, and nothing is lost or acked late."""

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import window as module
from consumer.item import Batch
from tests.unit.consumer.test_window import Delivered, Message, Rig, turns


class Acks(list[tuple[int, int, int]]):
    """(generation, partition, offset) of each ack; one that comes after its generation is a fault."""

    rig: Rig

    def append(self, ack: tuple[int, int, int]) -> None:
        assert ack[0] == self.rig.generation, "acked after the partition was given away"
        super().append(ack)


class Group:
    """A partition log, an agent that submits one delivery after the other, and batches held until `release`."""

    def __init__(self) -> None:
        acks = Acks()
        self.rig = acks.rig = Rig(width=2, acks=acks)
        self.settled: list[tuple[int, int, int]] = []
        self.began: dict[tuple[int, int], int] = {}
        self.read: dict[int, int] = {}
        self.end: dict[int, int] = {}
        self._held: list[asyncio.Event] = []
        self._deliveries: asyncio.Queue[tuple[list[Delivered], int]] = asyncio.Queue()
        self.rig.prepare, self.rig.settle = self._prepare, self._settle
        self._agent = asyncio.create_task(self._submit())

    async def _submit(self) -> None:
        while True:
            await self.rig.submit(*await self._deliveries.get())

    async def _prepare(self, batch: Batch) -> None:
        go_on = asyncio.Event()
        self._held.append(go_on)
        await go_on.wait()

    def _settle(self, batch: Batch) -> None:
        self.settled += [(batch.group_generation, each.raw.partition, each.raw.offset) for each in batch.items]

    def deliver(self, partition: int, count: int, size: int) -> None:
        committed = self.rig.committed.get(partition, 0)
        first = self.read.get(partition, committed)
        self.began.setdefault((self.rig.generation, partition), committed)
        self.read[partition] = first + count
        self.end[partition] = max(self.end.get(partition, 0), first + count)
        self._deliveries.put_nowait((self.rig.events(partition, *range(first, first + count)), size))

    def release(self, which: int) -> None:
        if self._held:
            self._held.pop(which % len(self._held)).set()

    async def settle_down(self) -> None:
        for _ in range(100):
            while self._held:
                self.release(0)
            await turns(5)

    async def rebalance(self, partition: int, elsewhere: int) -> None:
        """Batches under way are given up at once; another owner then commits `elsewhere` records of a partition."""
        with patch.object(module, "DRAIN_S", 0.0):
            await self.rig.rebalance()
        committed = self.rig.committed.get(partition, 0)
        self.rig.committed[partition] = max(committed, min(committed + elsewhere, self.end.get(partition, 0)))
        self.read = {}

    async def stop(self) -> None:
        self._agent.cancel()
        await asyncio.gather(self._agent, return_exceptions=True)
        await self.rig.window.stop()

    def crashed(self) -> bool:
        return bool(self.rig.crashes) or self._agent.done()


STEPS = st.lists(
    st.tuples(st.sampled_from(["deliver", "deliver", "release", "rebalance", "turn"]), st.integers(0, 1),
              st.integers(1, 5), st.integers(1, 3)),
    max_size=30,
)  # fmt: skip


@given(steps=STEPS)
def test_what_a_bounded_drain_gives_up_is_delivered_and_settled_again(steps: list[tuple[str, int, int, int]]) -> None:
    with asyncio.Runner() as runner:
        runner.run(_played(steps))


async def _played(steps: list[tuple[str, int, int, int]]) -> None:
    group = Group()
    for what, partition, count, size in steps:
        if what == "deliver":
            group.deliver(partition, count, size)
        elif what == "release":
            group.release(count)
        elif what == "rebalance":
            await group.rebalance(partition, elsewhere=size - 1)
        else:
            await turns(count)
    await group.rebalance(0, elsewhere=0)
    before = dict(group.rig.committed)
    for partition, end in group.end.items():
        if end > before.get(partition, 0):
            group.deliver(partition, end - before.get(partition, 0), 2)
    await group.settle_down()
    await group.rig.window.drain()
    crashed = group.crashed()
    await group.stop()
    assert not crashed, group.rig.crashes
    for (generation, partition), first in group.began.items():
        acked = [o for g, p, o in group.rig.acks if (g, p) == (generation, partition)]
        settled = [o for g, p, o in group.settled if (g, p) == (generation, partition)]
        assert acked == list(range(first, first + len(acked)))
        assert settled == list(range(first, first + len(settled)))
        assert len(acked) <= len(settled)
    assert {p: group.rig.committed.get(p, 0) for p in group.end} == group.end


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.window.stop()


async def test_nothing_is_prepared_before_the_gate_opens(rig: Rig) -> None:
    prepared: list[Batch] = []
    rig.prepare = prepared.append
    rig.window.gate.clear()
    submitting = asyncio.create_task(rig.submit(rig.events(0, 0)))
    await turns()
    assert (prepared, rig.settled) == ([], [])
    rig.window.gate.set()
    await submitting
    await rig.window.drain()
    assert rig.settled == [(0, 0)]


async def test_events_that_outlived_their_generation_behind_the_gate_are_dropped(rig: Rig) -> None:
    """They are looked at after the wait, not before: the new generation delivers them again."""
    rig.window.gate.clear()
    submitting = asyncio.create_task(rig.submit(rig.events(0, 0, 1)))
    await turns()
    await rig.rebalance()
    await submitting
    await rig.submit(rig.events(0, 0, 1))
    await rig.window.drain()
    assert rig.settled == [(0, 0), (0, 1)]
    assert [generation for generation, _, _ in rig.acks] == [2, 2]


async def test_a_batch_that_waits_for_room_over_two_rebalances_is_not_prepared(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be paid for, and never be written."""
    monkeypatch.setattr(module, "DRAIN_S", 0.0)
    hold, prepared = asyncio.Event(), []

    async def prepare(batch: Batch) -> None:
        prepared.append(batch.items[0].raw.offset)
        await hold.wait()

    rig.prepare = prepare
    submitting = asyncio.create_task(rig.submit(rig.events(0, *range(5)), size=1))
    await turns()
    await rig.rebalance()
    await rig.rebalance()
    hold.set()
    await submitting
    await rig.window.drain()
    assert (prepared, rig.settled, rig.acks) == ([0, 1, 2], [], [])


async def test_a_new_generation_goes_by_what_is_committed_then(rig: Rig) -> None:
    """Another owner may have got on meanwhile: that is no hole."""
    await rig.submit(rig.events(0, 0))
    await rig.rebalance({0: 7})
    await rig.submit([Delivered(Message(0, offset, 2), rig.acks) for offset in (5, 6, 7)])
    await rig.window.drain()
    assert rig.settled == [(0, 0), (0, 7)]


async def test_what_was_given_up_while_it_was_settled_is_told_so_and_not_acked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group generation is still the same then: who comes next is not known yet."""
    monkeypatch.setattr(module, "DRAIN_S", 0.0)
    hold, term = asyncio.Event(), rig.window.term

    async def settle(batch: Batch) -> None:
        await hold.wait()

    rig.settle = settle
    await rig.submit(rig.events(0, 0))
    await turns()
    assert rig.window.term == term == rig.generation
    await rig.window.drain()
    assert rig.window.term != term == rig.generation
    hold.set()
    await turns()
    assert (rig.settled, rig.acks) == ([(0, 0)], [])
