"""A series of runs: lanes side by side on one set of servers, a line for each failing seed, a table at the end."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.embedded.stack import ServerStack
from headrace.settings import Settings
from tests.faults.lane import Lane
from tests.faults.ledger import Ledger
from tests.faults.played import Broken
from tests.faults.run import Run
from tests.faults.schedule import draw

RUNS_PER_TOPICS = 15
"""A lane begins anew, with new topics and processes, after so many runs: what services keep of old jobs stays small."""
RUN_S = 300.0
STATUSES = ("queued", "running", "stalled", "pausing", "paused", "resuming", "cancelling", "cancelled", "completed",
            "completed_with_errors")  # fmt: skip


@dataclass(frozen=True)
class Failure:
    seed: int
    broken: tuple[Broken, ...]
    directory: Path


@dataclass
class Result:
    runs: int = 0
    seconds: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)


Told = Callable[[Result, int], None]


async def run_series(seeds: Sequence[int], *, lanes: int, directory: Path, told: Told) -> Result:
    """Plays every seed once. `told(result, seed)` after each run."""
    result, waiting = Result(), list(reversed(seeds))
    stack = ServerStack.ephemeral(directory / "servers", cache_dir=Settings.from_env().cache_dir)
    built = [Lane(number, directory) for number in range(min(lanes, len(seeds)))]
    assert stack.kafka is not None
    stack.kafka.listeners = tuple(listener for lane in built for listener in lane.listeners)
    await asyncio.to_thread(stack.start)
    try:
        async with asyncio.TaskGroup() as group:
            for lane in built:
                group.create_task(_LaneRuns(lane, stack, directory, result, told).play(waiting))
    finally:
        for lane in built:
            await lane.close()
        await asyncio.to_thread(stack.stop)
    return result


class _LaneRuns:
    """One lane's share of a series."""

    def __init__(self, lane: Lane, stack: ServerStack, directory: Path, result: Result, told: Told) -> None:
        self._lane, self._stack, self._directory = lane, stack, directory
        self._result, self._told = result, told
        self._ledger: Ledger | None = None
        self._left = 0

    async def play(self, waiting: list[int]) -> None:
        while waiting:
            seed = waiting.pop()
            await self._run(seed)
            self._told(self._result, seed)
        await self._close_topics()

    async def _run(self, seed: int) -> None:
        schedule = draw(seed)
        if self._left == 0:
            await self._open_topics(schedule.partitions)
        assert self._ledger is not None
        run, began = Run(self._lane, self._ledger, schedule), time.monotonic()
        try:
            async with asyncio.timeout(RUN_S):
                await run.play()
        except TimeoutError:
            run.timeline.breaks("every job ends", f"the run was not over within {RUN_S:.0f} s")
        self._left -= 1
        self._note(run, seed, time.monotonic() - began)
        if run.timeline.broken:
            await self._close_topics()  # whatever is wrong there must not fail the next run too

    def _note(self, run: Run, seed: int, seconds: float) -> None:
        self._result.runs += 1
        self._result.seconds.append(seconds)
        self._result.counts.update(run.timeline.counts)
        self._result.met.update(run.timeline.met)
        if run.timeline.broken:
            where = self._directory / "failed" / f"seed-{seed}"
            run.write(where)
            self._result.failures.append(Failure(seed, tuple(run.timeline.broken), where))

    async def _open_topics(self, partitions: int) -> None:
        await self._close_topics()
        await self._lane.open(self._stack, partitions)
        await self._lane.man(1, 1)
        self._ledger = Ledger(self._lane.settings)
        await self._ledger.start()
        self._left = RUNS_PER_TOPICS

    async def _close_topics(self) -> None:
        if self._ledger is not None:
            await self._ledger.stop()
            await self._lane.close_topics()
            self._ledger, self._left = None, 0


def print_failure(failure: Failure) -> None:
    first = failure.broken[0]
    more = f" (and {len(failure.broken) - 1} more)" if len(failure.broken) > 1 else ""
    print(f"\rseed {failure.seed}: {first}{more}\n  replay: make faults SEED={failure.seed} RUNS=1"
          f"   timeline and logs: {failure.directory}", flush=True)  # fmt: skip


def print_table(result: Result) -> None:
    print(f"\n{result.runs} runs, {len(result.failures)} failed; "
          f"{sum(result.seconds) / max(1, len(result.seconds)):.1f} s a run in its lane\n")  # fmt: skip
    for name, count in sorted(result.counts.items()):
        print(f"  {name:<52} {count:7d}")


def print_meetings(result: Result) -> None:
    """How often each fault began while a job was in each state: the interleavings."""
    shown = [status for status in STATUSES if any(seen == status for _, seen in result.met)]
    print("\n  a fault began while a job was" + " " * 9 + "".join(f"{status[:9]:>10}" for status in shown))
    for fault in sorted({fault for fault, _ in result.met}):
        print(f"  {fault:<36}  " + "".join(f"{result.met[fault, status] or '':>10}" for status in shown))


def progress(result: Result, total: int, began: float) -> None:
    """A bar on a terminal, a line now and then elsewhere."""
    share, spent = result.runs / total, time.monotonic() - began
    left = spent / result.runs * (total - result.runs)
    bar = "#" * round(30 * share)
    text = f"[{bar:<30}] {result.runs}/{total}, {len(result.failures)} failed, {left / 60:.0f} min left"
    if sys.stderr.isatty():
        print(f"\r{text}  ", end="", file=sys.stderr, flush=True)
    elif result.runs % 10 == 0 or result.runs == total:
        print(text, file=sys.stderr, flush=True)
