"""A file that only its owner reads, which commands edit and a service reads again when it has changed."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

Stamp = tuple[int, ...]


@contextlib.contextmanager
def editing(path: Path) -> Iterator[None]:
    """One editor at a time. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def replace(path: Path, content: bytes) -> None:
    """A reader sees all of a change or nothing of it. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if path.exists():  # whoever could read it, such as control under its own user, still can
            kept = path.stat()
            os.fchmod(file.fileno(), kept.st_mode & 0o7777)
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), kept.st_uid, kept.st_gid)
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
