"""Server processes that live exactly as long as the process that started them."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headrace.embedded import ports
from headrace.embedded.errors import EmbeddedError, ServerNotReady

_LEASH = Path(__file__).with_name("leash.py")
_POLL_S = 0.05
#: In the environment of every child: the data directory that it serves, by which a leftover is told from a stranger.
OWNER_VARIABLE = "HEADRACE_SERVES_DATA_DIR"
_INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
#: A server that outlived a killed stack is shutting down by itself; a busy Kafka takes a few seconds.
_LEFTOVER_DEADLINE_S = 30.0
#: As Kafka, Java, Weaviate and Go write them.
_ERROR = re.compile(r' (ERROR|FATAL) |^Caused by: |"level":"(error|fatal|panic)"|^panic: ')
#: In what two lines of one kind differ.
_NUMBER = re.compile(r"\d+")
_LINE_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: `arguments[0]` is an absolute path, output of both kinds goes to `log_file`."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    work_dir: Path
    log_file: Path


class ChildProcess:
    """One server process: `start`, `wait_until`, `stop`.

    * In a session of its own: a Ctrl-C at the terminal reaches the parent only, which then stops the servers in order.
    * Ends with its parent, even one that is killed (see `leash`). The kernel ties a child to the *thread* that started
      it, so all children are started by one thread that ends only with the process.
    * The log of the run before is kept beside the current one, as `<name>.log.1`.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when the process exists, which is long before it serves."""
        log_file = self.command.log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        if log_file.exists():
            log_file.replace(log_file.with_name(log_file.name + ".1"))
        self._process = _children_thread().call(self._spawn)

    def wait_until(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Block until `ready()`; raises `ServerNotReady` when the process ends first, or after `deadline_s`."""
        name, give_up_at = self.command.name, time.monotonic() + deadline_s
        while not ready():
            if not self.running:
                raise ServerNotReady(
                    f"{name} ended while starting (exit code {self._started().returncode}). {self._why()}"
                )
            if time.monotonic() > give_up_at:
                raise ServerNotReady(f"{name} did not answer within {deadline_s:.0f} s. {self._why()}")
            time.sleep(_POLL_S)

    def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s`. Harmless when it is not running."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:  # it had its time
                self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash: for fault tests."""
        self._started().send_signal(signal.SIGKILL)
        self._started().wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the log; empty when there is none."""
        return "\n".join(self._log_lines()[-lines:])

    def log_errors(self, first: int = 4, last: int = 4) -> str:
        """Lines of the log that tell of errors, each kind once; empty when there are none. What came first is often the
        cause of the others."""
        kinds: dict[str, str] = {}
        for line in filter(_ERROR.search, self._log_lines()):
            kinds.setdefault(_NUMBER.sub("", line), line[:_LINE_LENGTH])
        told = list(kinds.values())
        return "\n".join(told if len(told) <= first + last else [*told[:first], "...", *told[-last:]])

    def _log_lines(self) -> list[str]:
        log_file = self.command.log_file
        return log_file.read_text(errors="replace").splitlines() if log_file.exists() else []

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self.command
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid())]
        with command.log_file.open("wb") as log:
            return subprocess.Popen(
                [*leash, *command.arguments],
                env=dict(command.environment),
                cwd=command.work_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.command.name} was not started")
        return self._process

    def _why(self) -> str:
        """A server that shuts down in good order says much after what went wrong."""
        told = self.log_errors()
        errors = f"errors in it:\n{told}\n" if told else ""
        return f"Its log is {self.command.log_file}; {errors}the end of it:\n{self.log_tail()}"


def child_environment(data_dir: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """`settings`, the mark of whose child it is, and of the parent's environment only what any program needs.

    A key meant for us is none of a server's business, and a variable meant for another Weaviate must not set up ours.
    """
    kept = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    return {**kept, OWNER_VARIABLE: str(data_dir.resolve()), **settings}


def wait_for_leftovers(port_numbers: Sequence[int], data_dir: Path) -> None:
    """Wait until servers that an earlier, killed stack started on `data_dir` have let go of these ports.

    They were told to end when their parent died. Whoever else holds a port is left for `ports.require_free` to report.
    """
    give_up_at = time.monotonic() + _LEFTOVER_DEADLINE_S
    for port in port_numbers:
        while (holder := _leftover_on(port, data_dir)) is not None:
            if time.monotonic() > give_up_at:
                raise EmbeddedError(
                    f"Process {holder.pid} ({holder.command}) is left of an earlier run on {data_dir} and doesn't end. "
                    f"Stop it with `kill {holder.pid}`, if need be `kill -9 {holder.pid}`, and start again."
                )
            time.sleep(_POLL_S)


def _leftover_on(port: int, data_dir: Path) -> ports.PortHolder | None:
    if ports.is_free(port):
        return None
    holder = ports.holder_of(port)
    if holder is None or ports.environment_of(holder.pid).get(OWNER_VARIABLE) != str(data_dir.resolve()):
        return None
    return holder


class _LastingThread:
    """Runs functions one at a time on a daemon thread that is never joined, so it ends with the process."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._calls = queue.SimpleQueue()
        threading.Thread(target=self._run, name="headrace-children", daemon=True).start()

    def call(self, function: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        result: Future[subprocess.Popen[bytes]] = Future()
        self._calls.put((function, result))
        return result.result()

    def _run(self) -> None:
        while True:
            function, result = self._calls.get()
            try:
                result.set_result(function())
            except BaseException as failure:  # the caller's to handle
                result.set_exception(failure)


@cache
def _children_thread() -> _LastingThread:
    return _LastingThread()
