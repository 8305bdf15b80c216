"""Whatever fails, and however long each part takes: acks never run ahead of what is settled, and nothing is skipped."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from consumer.item import Batch
from tests.unit.consumer.test_window import Rig, turns

TURNS = st.integers(0, 12)


@dataclass(frozen=True)
class Work:
    """How a batch fares: turns of the loop that it takes, and where it fails."""

    prepare: int
    settle: int
    fails: str | None


WORK = st.builds(Work, TURNS, TURNS, st.sampled_from([None] * 8 + ["prepare", "settle"]))
PLAN = st.lists(
    st.tuples(st.sampled_from(["read", "read", "again", "turn", "rebalance"]), st.integers(1, 4)), max_size=25
)


class Fault(Exception):
    """A fault of the program."""


@given(PLAN, st.lists(WORK, min_size=1, max_size=12))
def test_a_process_that_fails_leaves_all_it_did_not_settle_to_the_next(
    plan: list[tuple[str, int]], work: list[Work]
) -> None:
    with asyncio.Runner() as runner:
        runner.run(_lives(plan, work))


async def _lives(plan: list[tuple[str, int]], work: list[Work]) -> None:
    """Each life begins at the committed offset; the last one, without faults, does what is left."""
    total = sum(count for what, count in plan if what == "read")
    committed: dict[int, int] = {}
    settled: set[int] = set()
    for faulty in (True, True, False):
        rig = Rig(width=3, committed=committed)
        _burden(rig, work, faulty)
        await _live(rig, plan if faulty else [("read", total)], total)
        _check(rig)
        settled |= {offset for _, offset in rig.settled}
        committed = rig.committed
        await rig.window.stop()
        assert settled >= set(range(committed.get(0, 0))), "an offset was committed over"
    assert committed.get(0, 0) == total


def _burden(rig: Rig, work: list[Work], faulty: bool) -> None:
    def of(batch: Batch) -> Work:
        return work[batch.items[0].raw.offset % len(work)]

    async def prepare(batch: Batch) -> None:
        await turns(of(batch).prepare)
        if faulty and of(batch).fails == "prepare":
            raise Fault

    async def settle(batch: Batch) -> None:
        await turns(of(batch).settle)
        if faulty and of(batch).fails == "settle":
            raise Fault

    rig.prepare, rig.settle = prepare, settle


async def _live(rig: Rig, plan: list[tuple[str, int]], total: int) -> None:
    position = rig.committed.get(0, 0)
    for what, count in plan:
        if rig.crashes:
            return
        if what in ("read", "again"):  # again: Faust may deliver twice what is not committed yet
            start = position if what == "read" else rig.committed.get(0, 0)
            end = min(position + count, total) if what == "read" else position
            submitting = asyncio.ensure_future(rig.submit(rig.events(0, *range(start, end)), size=2))
            await _until(lambda done=submitting: _taken(done, rig) or bool(rig.crashes))  # type: ignore[misc]
            submitting.cancel()
            position = end
        elif what == "rebalance":
            await rig.rebalance()
            position = rig.committed.get(0, 0)
        else:
            await turns(count)
    await rig.window.drain()


def _taken(submitting: "asyncio.Future[None]", rig: Rig) -> bool:
    return submitting.done() and not rig.window.waiting


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the window hangs")


def _check(rig: Rig) -> None:
    for generation in range(1, rig.generation + 1):
        acked = [offset for g, _, offset in rig.acks if g == generation]
        assert acked == list(range(acked[0], acked[0] + len(acked))) if acked else True
    settled = [offset for _, offset in rig.settled]
    assert len(settled) == len(set(settled)), "a drained window leaves nothing to be settled twice"
    assert {offset for _, _, offset in rig.acks} <= set(settled), "acked before it was settled"
