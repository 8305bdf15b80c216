"""A file that only its owner reads, which commands edit and a service reads again when it has changed."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from headrace.whole_file import keep_readers

Stamp = tuple[int, ...]
Entry = TypeVar("Entry")


class Entries(Generic[Entry]):
    """How files with a list of one kind are read and edited: JSON, the list under the name of what it holds.

    `check` raises ValueError where a hand has written what can't be. Whatever is wrong with a file is raised as
    `invalid`, with the path in its message.
    """

    def __init__(self, what: str, kind: type[Entry], check: Callable[[Entry], None], invalid: type[Exception]) -> None:
        self._what, self._check, self._invalid = what, check, invalid
        self._file = msgspec.defstruct(what, [(what, tuple[kind, ...], ())], forbid_unknown_fields=True)  # type: ignore[valid-type]

    def read(self, path: Path) -> tuple[Entry, ...]:
        """None at all where there is no file yet."""
        try:
            found: tuple[Entry, ...] = getattr(msgspec.json.decode(path.read_bytes(), type=self._file), self._what)
            for each in found:
                self._check(each)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as exc:
            raise self._invalid(f"{path} can't be read as a file of {self._what}: {exc}") from exc
        return found

    @contextlib.contextmanager
    def editing(self, path: Path) -> Iterator[list[Entry]]:
        """The entries, to be changed; they are written at the end, unless something was raised."""
        try:
            with _alone(path):
                entries = list(self.read(path))
                yield entries
                _replace(path, msgspec.json.format(msgspec.json.encode({self._what: entries})))
        except OSError as exc:
            raise self._invalid(f"{path} can't be written: {exc}") from exc


def time_text(time: datetime) -> str:
    """As times stand in such a file; `time` in UTC."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(text: str) -> datetime:
    """Raises ValueError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return time


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One editor at a time. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, content: bytes) -> None:
    """A reader sees all of a change or nothing of it. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if path.exists():
            keep_readers(file, path)
        file.write(content + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def stamp_of(path: Path) -> Stamp | None:
    """Differs once the file was replaced or written, or has other readers; None where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_mode, stat.st_uid, stat.st_gid
