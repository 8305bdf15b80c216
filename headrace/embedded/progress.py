"""How long-running preparation (downloads, a build) is shown, on a terminal and in a log.

A `Reporter` makes a `Step` per piece of work; steps may be driven from several threads at once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from headrace.embedded.errors import EmbeddedError

#: In a log without a terminal, a step says how far it is this often, so that a CI job is seen to be alive.
LOG_INTERVAL_S = 10.0


class Step(Protocol):
    """One piece of work that is being shown."""

    def advance(self, amount: float = 1.0, *, detail: str | None = None) -> None:
        """Count `amount` more units; `detail` replaces the text behind the bar."""

    def resize(self, total: float | None) -> None:
        """Set the number of units that make the step complete; None shows it as of unknown length."""


class Reporter(Protocol):
    """Shows steps."""

    def step(self, label: str, *, total: float | None = None, hint: str = "") -> AbstractContextManager[Step]:
        """Show `label` while the context is open."""

    def note(self, message: str) -> None:
        """Print one line that stays."""


class SilentReporter:
    """Shows nothing: for tests and for calls whose output is read by a script."""

    @contextmanager
    def step(self, label: str, *, total: float | None = None, hint: str = "") -> Iterator[Step]:
        yield _SilentStep()

    def note(self, message: str) -> None:
        return None


class _SilentStep:
    def advance(self, amount: float = 1.0, *, detail: str | None = None) -> None:
        return None

    def resize(self, total: float | None) -> None:
        return None


class LogReporter:
    """One line at the beginning and the end of a step and every `LOG_INTERVAL_S` between: for logs and CI."""

    def __init__(self, stream: TextIO | None = None, interval_s: float = LOG_INTERVAL_S) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._lock = threading.Lock()

    @contextmanager
    def step(self, label: str, *, total: float | None = None, hint: str = "") -> Iterator[Step]:
        started = time.monotonic()
        self.note(f"{label} …" + (f" ({hint})" if hint else ""))
        yield _LogStep(self, label, total, self._interval_s)
        self.note(f"{label}: done in {time.monotonic() - started:.1f} s")

    def note(self, message: str) -> None:
        with self._lock:
            print(message, file=self._stream or sys.stderr, flush=True)


class _LogStep:
    def __init__(self, reporter: LogReporter, label: str, total: float | None, interval_s: float) -> None:
        self._reporter, self._label, self._total = reporter, label, total
        self._done, self._interval_s, self._shown_at = 0.0, interval_s, time.monotonic()

    def advance(self, amount: float = 1.0, *, detail: str | None = None) -> None:
        self._done += amount
        if time.monotonic() - self._shown_at < self._interval_s:
            return
        self._shown_at = time.monotonic()
        share = f"{100 * self._done / self._total:.0f} %" if self._total else f"{self._done:.0f}"
        self._reporter.note(f"{self._label}: {share}" + (f", {detail}" if detail else ""))

    def resize(self, total: float | None) -> None:
        self._total = total


class RichReporter:
    """Live bars on a terminal; the display runs while at least one step is open."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._lock = threading.Lock()
        self._open_steps = 0

    @contextmanager
    def step(self, label: str, *, total: float | None = None, hint: str = "") -> Iterator[Step]:
        self._opened()
        task = self._progress.add_task(label, total=total, detail=hint)
        try:
            yield _RichStep(self._progress, task)
        finally:
            self._progress.remove_task(task)
            self._closed()

    def note(self, message: str) -> None:
        self._progress.console.print(message, highlight=False)

    def _opened(self) -> None:
        with self._lock:
            self._open_steps += 1
            if self._open_steps == 1:
                self._progress.start()

    def _closed(self) -> None:
        with self._lock:
            self._open_steps -= 1
            if self._open_steps == 0:
                self._progress.stop()


class _RichStep:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: float = 1.0, *, detail: str | None = None) -> None:
        if detail is None:
            self._progress.update(self._task, advance=amount)
        else:
            self._progress.update(self._task, advance=amount, detail=detail)

    def resize(self, total: float | None) -> None:
        self._progress.update(self._task, total=total)


class Interrupted(EmbeddedError):
    """The work was given up because its owner stops."""


class InterruptibleReporter:
    """Passes on to another reporter until `interrupt`; from then on, work ends where it next reports progress.

    Work that runs in threads can't be told to stop by a signal; but all of it that takes long reports often.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        self._interrupted.set()

    @contextmanager
    def step(self, label: str, *, total: float | None = None, hint: str = "") -> Iterator[Step]:
        with self._reporter.step(label, total=total, hint=hint) as step:
            yield _InterruptibleStep(step, self._interrupted)

    def note(self, message: str) -> None:
        self._reporter.note(message)


class _InterruptibleStep:
    def __init__(self, step: Step, interrupted: threading.Event) -> None:
        self._step, self._interrupted = step, interrupted

    def advance(self, amount: float = 1.0, *, detail: str | None = None) -> None:
        if self._interrupted.is_set():
            raise Interrupted("Stopped before everything was ready; the next start goes on from here.")
        self._step.advance(amount, detail=detail)

    def resize(self, total: float | None) -> None:
        self._step.resize(total)


def default_reporter() -> Reporter:
    """Bars on a terminal, lines elsewhere; both on stderr, so that stdout stays the command's own."""
    return RichReporter() if sys.stderr.isatty() else LogReporter()
