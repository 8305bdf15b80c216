"""A job, watched until it is over: live bars on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headrace.cli.view import COLOURS, chunk_counts, crawl_counts, duration, lag, rate, trouble
from headrace.client import ACTIVE, ControlClient, ControlProblem, ControlUnreachable, Json

POLL_S = 0.25
LINE_S = 5.0
"""Between two lines of a log, while nothing changes."""
AWAY_S = 60.0
"""Control may be restarted while a job is watched."""

Show = Callable[[Json], None]


def watch(
    client: ControlClient, kb: str, console: Console, *, until: Callable[[Json], bool] | None = None, job: str = ""
) -> Json:
    """Shows the KB's job until it is over (or `until`); the last status. `job` fixes which, else the newest."""
    finished = until or (lambda status: status.get("status") not in ACTIVE)
    with showing(console) as show:
        while True:
            status = patient_status(client, kb)
            show(status)
            if finished(status) or (job and status.get("job_id") != job):
                return status
            time.sleep(POLL_S)


def waits_for_nothing(status: Json) -> bool:
    """Over, or a person's turn: what runs by night must not wait for one."""
    return status.get("status") not in ACTIVE or waits_for_a_person(status)


def waits_for_a_person(status: Json) -> bool:
    word = status.get("status")
    return word == "needs_review" or (word == "paused" and status.get("commanded_by") == "budget")


def patient_status(client: ControlClient, kb: str, away_s: float = AWAY_S) -> Json:
    """The status; a control that is away or reads its log is waited for. Raises ControlError after `away_s`."""
    give_up_at = time.monotonic() + away_s
    while True:
        try:
            return client.status(kb)
        except (ControlUnreachable, ControlProblem) as exc:
            passes = not isinstance(exc, ControlProblem) or exc.status == 503
            if not passes or time.monotonic() > give_up_at:
                raise
            time.sleep(1.0)


@contextmanager
def showing(console: Console) -> Iterator[Show]:
    """A function that shows a status each time it is called."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    bars = Bars(console)
    with bars.progress:
        yield bars


class Bars:
    """Two bars, crawl and index, and what the job is doing."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            refresh_per_second=8,
        )
        self._crawl = self._row("crawl", "pages ")
        self._index = self._row("index", "chunks")
        self._said: set[str] = set()

    def __call__(self, status: Json) -> None:
        crawled, pages = crawl_counts(status)
        done, chunks = chunk_counts(status)
        word = str(status.get("status"))
        colour = COLOURS.get(word, "white")
        self.progress.update(
            self._crawl,
            completed=crawled,
            total=pages or None,
            detail=f"[{colour}]{word}[/] [dim]{status.get('phase')}",
        )
        facts = f"[dim]{rate(status)}, lag {lag(status)}, ETA {duration(status.get('eta_s'))}"
        self.progress.update(self._index, completed=done, total=chunks or None, detail=facts)
        for line in trouble(status) if word in ("stalled", "needs_review") else ():
            if line not in self._said:
                self._said.add(line)
                self.progress.console.print(f"[yellow]{line}", soft_wrap=True)

    def _row(self, what: str, unit: str) -> TaskID:
        return self.progress.add_task(what, total=None, what=what, unit=unit, detail="")


class _Lines:
    """For logs: a line when the state changes, and every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at, self._shown = 0.0, ("", "")

    def __call__(self, status: Json) -> None:
        state = (str(status.get("status")), str(status.get("phase")))
        now = time.monotonic()
        if state == self._shown and now - self._shown_at < LINE_S:
            return
        self._shown_at, self._shown = now, state
        crawled, pages = crawl_counts(status)
        done, chunks = chunk_counts(status)
        self._console.print(
            f"{status.get('kb_id')}: {state[0]} ({state[1]}), {crawled}/{pages} pages, {done}/{chunks} chunks, "
            f"{rate(status)}, lag {lag(status)}",
            soft_wrap=True,
        )
        for line in trouble(status):
            self._console.print(f"  {line}", soft_wrap=True)
