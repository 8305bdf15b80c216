"""A file that is there once all of it is."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


class UnwritableFile(Exception):
    """A file that was asked for can't be written; the message names it and says what to do."""


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Takes what is to stand at `path`. It is opened at once, and takes its place at an end without an error; without
    such an end there is no trace of it, and what stood there before stays. Who could read that can read this.

    What is there and no file, such as a pipe, is written as it comes. Raises UnwritableFile.
    """
    with _told(path):
        place = Path(os.path.realpath(path))
        as_it_comes = path.exists() and not path.is_file()
        written = path if as_it_comes else place.with_name(f".{place.name}.{os.getpid()}")
        file = written.open("wb")

    def write(content: bytes) -> None:
        with _told(path):
            file.write(content)

    try:
        with _told(path):
            if not as_it_comes and place.exists():
                keep_readers(file, place)
        yield write
        with _told(path):
            file.close()
            if not as_it_comes:
                written.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        if not as_it_comes:
            written.unlink(missing_ok=True)
        raise


def keep_readers(file: BinaryIO, old: Path) -> None:
    """Whoever could read `old`, such as a service under its own user, and nobody else, can read what takes its place.

    Raises OSError.
    """
    kept = old.stat()
    os.fchmod(file.fileno(), kept.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.fchown(file.fileno(), kept.st_uid, kept.st_gid)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        says = exc.strerror or type(exc).__name__
        raise UnwritableFile(f"{path} can't be written: {says}. Name a file in a directory that takes one.") from exc
