"""One stack per data directory: a pid file that is locked while its owner lives."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from headrace.embedded.errors import DataDirInUse

_PID_FILE = "headrace.pid"


class DataDirLock:
    """`acquire`, `release`. The kernel releases it when the owner ends, however it ends; a stale pid means nothing."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._held: BinaryIO | None = None

    def acquire(self) -> None:
        """Raises `DataDirInUse`, which names the owner."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        held = (self._data_dir / _PID_FILE).open("a+b")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            held.close()
            raise DataDirInUse(
                f"A Headrace stack (process {_pid_in(self._data_dir) or 'unknown'}) already runs on {self._data_dir}. "
                f"Stop it with `headrace down`, or give this one its own directory and ports "
                f"(HEADRACE_DATA_DIR, HEADRACE_KAFKA_PORT, HEADRACE_WEAVIATE_PORT, HEADRACE_WEAVIATE_GRPC_PORT)."
            ) from taken
        held.truncate(0)
        held.write(f"{os.getpid()}\n".encode())
        held.flush()
        self._held = held

    def release(self) -> None:
        """Harmless when it is not held. The file stays: removing it would let two owners lock two files."""
        if self._held is not None:
            self._held.truncate(0)
            self._held.close()
            self._held = None


def running_pid(data_dir: Path) -> int | None:
    """The process that runs a stack on `data_dir` now; None where none does."""
    with suppress(FileNotFoundError, NotADirectoryError), (data_dir / _PID_FILE).open("rb") as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody holds it: that is the answer
            return _pid_in(data_dir)
    return None


def _pid_in(data_dir: Path) -> int | None:
    text = (data_dir / _PID_FILE).read_text().strip()
    return int(text) if text.isdigit() else None
