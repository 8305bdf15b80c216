"""Bytes on disk that belong to this process alone."""

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path


class SpillError(Exception):
    """The disk is full or failing; the message says which directory can't be used, and why."""


class SpillFile:
    """Opened with the first `append`, without a name: however the process ends, its file is gone.

    `directory` is made where it is missing; None: the system's temporary one. Everything raises SpillError.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._fd: int | None = None
        self.size = 0

    def append(self, data: bytes) -> int:
        """Where it begins."""
        with self._trouble_named():
            fd, place = self._opened(), self.size
            view = memoryview(data)
            while view:
                written = os.pwrite(fd, view, self.size)
                self.size += written
                view = view[written:]
            return place

    def read(self, place: int, size: int) -> bytes:
        assert self._fd is not None and place + size <= self.size
        with self._trouble_named():
            return os.pread(self._fd, size, place)

    def clear(self) -> None:
        """Gives its room back."""
        if self._fd is not None:
            with self._trouble_named():
                os.ftruncate(self._fd, 0)
            self.size = 0

    @contextlib.contextmanager
    def _trouble_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            where = self._directory or tempfile.gettempdir()
            raise SpillError(f"{where} can't be written or read: {exc.strerror}") from exc

    def _opened(self) -> int:
        if self._fd is None:
            if self._directory is not None:
                self._directory.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=self._directory, buffering=0)
            weakref.finalize(self, file.close)
            self._fd = file.fileno()
        return self._fd
