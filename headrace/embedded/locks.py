"""Files that appear whole or not at all, and work that only one process does at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def exclusive(lock_file: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold `lock_file` (created, never deleted) against other processes; waits for its turn, or raises BlockingIOError.

    The kernel releases it when the process ends, however it ends.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def beside(path: Path, suffix: str) -> Path:
    """`<path><suffix>`; `Path.with_suffix` would take the last part of a version for a suffix."""
    return path.with_name(path.name + suffix)


@contextmanager
def replacing(target: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write that takes the name `target` when the block ends well, and vanishes when it raises."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        part.chmod(mode)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
