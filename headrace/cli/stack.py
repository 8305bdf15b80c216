"""`headrace up` and `headrace down`."""

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from headrace.cli.root import CONFLICT, FAILED, App, Failure, pass_app
from headrace.settings import Settings
from headrace.supervisor import Stack, StackProblem, read_state, running_stack
from headrace.supervisor.pausing import paused_kbs
from headrace.supervisor.running import StopRequested, run_stack
from headrace.supervisor.state import StackState, log_dir

STOP_S = 150.0
"""The bounds of an orderly stop: pausing 15 s, three services 15 s each, servers 30 s, and something over."""
_POLL_S = 0.2
_OF_A_DIRECTORY = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT
)  # fmt: skip


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Return once everything serves, and leave it running.")
@pass_app
def up(app: App, detach: bool) -> None:
    """Start Kafka, Weaviate and the three services. Ctrl-C stops them in order.

    With KAFKA_BOOTSTRAP_SERVERS or WEAVIATE_URL set, that server is used and the embedded one stays off.
    The first start downloads Kafka and builds Weaviate (a few minutes); both are kept for the next.

    \b
    Examples:
      headrace up
      headrace up -d && headrace ingest https://example.org/docs/
      HEADRACE_DATA_DIR=/tmp/other HEADRACE_KAFKA_PORT=9192 headrace up
    """
    refuse_second(app.settings)
    if detach:
        _detached(app)
        return
    run_foreground(app, lambda stack: _stay(app, stack))


def run_foreground(app: App, then: Callable[[Stack], None]) -> None:
    """The stack in this process, with `then` at work inside; errors as Failure."""
    from headrace.embedded import EmbeddedError, default_reporter

    stack = Stack(app.settings, default_reporter())
    try:
        run_stack(stack, lambda: then(stack))
        app.err.print("Headrace is down.")
    except StopRequested:
        raise Failure("stopped before everything was up") from None
    except (EmbeddedError, StackProblem) as exc:
        raise Failure("\n".join([str(exc), *getattr(exc, "__notes__", ())])) from exc
    except OSError as exc:
        raise _unusable(app.settings.data_dir, exc) from exc


def _unusable(data_dir: Path, exc: OSError) -> Exception:
    """The error as it is, where it isn't the data directory's."""
    if exc.errno not in _OF_A_DIRECTORY:
        return exc
    return Failure(
        f"the data directory {data_dir} can't be used: {exc.strerror} ({exc.filename or 'while writing'}). "
        "Free some space or mend it, or choose another by HEADRACE_DATA_DIR."
    )


def refuse_second(settings: Settings) -> None:
    pid = running_stack(settings.data_dir)
    if pid is None:
        return
    state = read_state(settings.data_dir)
    where = f" at {state.url} ({state.phase})" if state else ""
    raise Failure(
        f"Headrace is up already{where}, as process {pid}. See `headrace status`; stop it with `headrace down`. "
        "Another one beside it needs its own HEADRACE_DATA_DIR and ports (`headrace settings`).",
        CONFLICT,
    )


def summary(console: Console, state: StackState, data_dir: Path) -> None:
    """Where everything is, and what to do next."""
    console.print()
    console.print("[bold green]Headrace is up.[/]")
    for name, place in (
        ("control", f"{state.url}   (/openapi.json describes it)"),
        ("Kafka", state.kafka),
        ("Weaviate", state.weaviate),
        ("logs", str(log_dir(data_dir))),
    ):
        console.print(f"  {name:<10}{place}", soft_wrap=True)


def on_the_path() -> tuple[str, ...]:
    """What a terminal needs first, where `headrace` is not on its path."""
    return () if shutil.which("headrace") else (f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH",)


def tell_paused(app: App) -> None:
    """Says which KBs wait to be resumed since the last stop."""
    paused = paused_kbs(app.client)
    if paused:
        verb = "knowledge base is" if len(paused) == 1 else "knowledge bases are"
        app.err.print(f"[yellow]{len(paused)} {verb} paused: " + ", ".join(f"headrace resume {kb}" for kb in paused))


def _stay(app: App, stack: Stack) -> None:
    state = read_state(app.settings.data_dir)
    if state:
        summary(app.err, state, app.settings.data_dir)
    tell_paused(app)
    app.err.print("Next, in another terminal [dim](Ctrl-C here stops)[/]:", soft_wrap=True)
    for line in (*on_the_path(), "headrace ingest https://example.org/docs/"):
        app.err.print(f"  {line}", markup=False, soft_wrap=True)
    while True:
        signal.pause()


def _detached(app: App) -> None:
    logs = log_dir(app.settings.data_dir)
    log_file = logs / "supervisor.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        log = log_file.open("wb")
    except OSError as exc:
        raise _unusable(app.settings.data_dir, exc) from exc
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        state = _until_ready(app, process, log_file)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    summary(app.err, state, app.settings.data_dir)
    tell_paused(app)
    app.err.print("Stop it with: headrace down")


def _until_ready(app: App, process: "subprocess.Popen[bytes]", log_file: Path) -> StackState:
    """Repeats the log of the detached process until it is ready; Failure when it ends before."""
    shown = 0
    while True:
        ended = process.poll() is not None
        text = log_file.read_text(errors="replace")
        if text[shown:].strip():
            app.err.print(text[shown:].rstrip("\n"), markup=False, soft_wrap=True)
        shown = len(text)
        if ended:
            raise Failure(f"the stack ended while starting; its log is {log_file}", FAILED)
        state = read_state(app.settings.data_dir)
        if state and state.pid == process.pid and state.phase == "ready":
            return state
        time.sleep(_POLL_S)


@click.command()
@pass_app
def down(app: App) -> None:
    """Stop what `headrace up` or `headrace demo` started.

    Running jobs are paused first (reason: shutdown) and stay so until they are resumed. Nothing is lost.
    """
    data_dir = app.settings.data_dir
    pid = running_stack(data_dir)
    if pid is None:
        app.err.print("Headrace is not up: nothing to stop.")
        return
    _signal(pid)
    try:
        stopped = _until_stopped(app, data_dir)
    except KeyboardInterrupt:
        _signal(pid)  # as a second Ctrl-C in its own terminal: hurry
        stopped = _until_stopped(app, data_dir)
    if not stopped:
        raise Failure(f"process {pid} has not ended after {STOP_S:.0f} s; logs: {log_dir(data_dir)}", FAILED)
    app.err.print("Headrace is down.")


def _until_stopped(app: App, data_dir: Path) -> bool:
    give_up_at = time.monotonic() + STOP_S
    with app.err.status("stopping") as shown:
        while time.monotonic() < give_up_at:
            if running_stack(data_dir) is None:
                return True
            state = read_state(data_dir)
            shown.update(state.message if state and state.message else "stopping")
            time.sleep(_POLL_S)
    return False


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:  # it ended meanwhile, as it should
        return
