"""When a crashed process is started again, and when that is given up."""

import itertools
from pathlib import Path

from headrace.supervisor.watched import CRASH_LIMIT, STEADY_S, Watched


class Machine:
    """A process that runs when told, and a clock that moves when told."""

    def __init__(self) -> None:
        self.pid: int | None = 1
        self.starts, self.now, self.dies_at_once = 0, 0.0, False
        self.said: list[str] = []
        self.watched = Watched("producer", self, Path("producer.log"), self.said.append, clock=lambda: self.now)

    def start(self) -> None:
        self.starts += 1
        self.pid = None if self.dies_at_once else 100 + self.starts

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.watched.check()


def test_a_running_process_is_left_alone() -> None:
    machine = Machine()
    machine.later(1)
    assert (machine.starts, machine.said) == (0, [])


def test_a_crash_is_said_and_mended_after_a_second() -> None:
    machine = Machine()
    machine.pid = None
    machine.later(0)
    machine.later(0.5)
    assert machine.starts == 0
    machine.later(0.5)
    assert machine.starts == machine.watched.restarts == 1
    assert machine.said == [
        "producer ended unexpectedly; it is started again in 1 s. Its log: producer.log",
        "producer is started again (process 101)",
    ]


def test_delays_double_and_then_it_stays_down() -> None:
    machine = Machine()
    machine.dies_at_once, machine.pid = True, None
    started_at = []
    for _ in range(1_000):
        before = machine.starts
        machine.later(0.1)
        if machine.starts > before:
            started_at.append(machine.now)
    gaps = [round(later - sooner) for sooner, later in itertools.pairwise(started_at)]
    assert gaps == [2, 4, 8, 16]
    assert machine.starts == CRASH_LIMIT - 1
    assert machine.watched.given_up
    assert "6 times in a row and stays down" in machine.said[-1]
    assert "headrace down" in machine.said[-1]


def test_a_crash_after_a_steady_time_counts_as_the_first() -> None:
    machine = Machine()
    for _ in range(2 * CRASH_LIMIT):
        machine.later(STEADY_S)
        machine.pid = None
        machine.later(0)
        machine.later(1)
    assert machine.starts == 2 * CRASH_LIMIT
    assert not machine.watched.given_up
