"""From start to stop under signals, with a stack that only notes what is asked of it."""

import signal
import threading
from typing import cast

import pytest

from headrace.supervisor import Stack
from headrace.supervisor.running import StopRequested, run_stack


class NotedStack:
    def __init__(self, during_start: int | None = None, during_stop: int | None = None) -> None:
        self.noted: list[str] = []
        self._during_start, self._during_stop = during_start, during_stop

    def start(self) -> None:
        self.noted.append("start")
        if self._during_start is not None:
            signal.raise_signal(self._during_start)

    def watch(self, done: threading.Event) -> None:
        done.wait()

    def say(self, text: str) -> None:
        self.noted.append("say")

    def stop(self) -> None:
        self.noted.append("stop")
        if self._during_stop is not None:
            signal.raise_signal(self._during_stop)

    def hurry(self) -> None:
        self.noted.append("hurry")

    def run(self, then_raises: int | None = None) -> list[str]:
        run_stack(cast(Stack, self), lambda: None if then_raises is None else signal.raise_signal(then_raises))
        return self.noted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_in_order(number: int) -> None:
    before = signal.getsignal(number)
    assert NotedStack().run(then_raises=number) == ["start", "say", "stop"]
    assert signal.getsignal(number) is before


def test_the_end_of_the_work_stops_too() -> None:
    assert NotedStack().run() == ["start", "stop"]


def test_another_signal_while_stopping_hurries() -> None:
    stack = NotedStack(during_stop=signal.SIGINT)
    assert stack.run(then_raises=signal.SIGINT) == ["start", "say", "stop", "hurry"]


def test_the_first_signal_during_a_stop_of_its_own_is_only_noted() -> None:
    assert NotedStack(during_stop=signal.SIGINT).run() == ["start", "stop"]


def test_a_signal_during_the_start_ends_it() -> None:
    stack = NotedStack(during_start=signal.SIGTERM)
    with pytest.raises(StopRequested):
        stack.run()
    assert stack.noted == ["start"]


def test_an_error_in_the_work_stops_in_order_and_stays_an_error() -> None:
    stack = NotedStack()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_stack(cast(Stack, stack), fail)
    assert stack.noted == ["start", "stop"]
