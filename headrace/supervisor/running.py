"""A stack from start to stop under signals: what `headrace up`, its detached twin and the demo share."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from headrace.supervisor.stack import Stack


class StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP: raised in the main thread while it does what a request to stop should end."""


class Stopping:
    """The signal handler: the first signal asks to stop, another one hurries.

    While `interrupting` (the default), the first is raised as StopRequested in the main thread; else it is only noted.
    """

    def __init__(self, stack: Stack) -> None:
        self.requested = False
        self.interrupting = True
        self._stack = stack

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self._stack.hurry()
            return
        self.requested = True
        if self.interrupting:
            raise StopRequested


@contextmanager
def signals_to(stopping: Stopping) -> Iterator[None]:
    """SIGINT, SIGTERM, and SIGHUP of a terminal that is closed, go to `stopping` inside the block."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stopping) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_stack(stack: Stack, then: Callable[[], None]) -> None:
    """Starts the stack, calls `then`, and stops everything in order: at a signal, or when `then` returns or raises.

    Main thread only. A signal during the start raises StopRequested, once everything was stopped again.
    """
    stopping = Stopping(stack)
    with signals_to(stopping):
        stack.start()
        try:
            with _watched(stack):
                then()
        except StopRequested:  # what it is there for
            stack.say("Stopping in order; press Ctrl-C once more to hurry.")
        finally:
            stopping.interrupting = False
            stack.stop()


@contextmanager
def _watched(stack: Stack) -> Iterator[None]:
    done = threading.Event()
    watcher = threading.Thread(target=stack.watch, args=(done,), name="watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
