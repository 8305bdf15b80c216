"""stdout as every command has it: what its encoding lacks is replaced, and where it can't be written that is told."""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Unwritten(OSError):
    """What stdout leads to takes no more. A reader that has gone is none of it: BrokenPipeError says so."""


class _Raw(io.FileIO):
    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError as exc:
            if exc.errno == errno.EPIPE:
                raise
            raise Unwritten(*exc.args) from exc


def take_over() -> None:
    """From here on writing to stdout raises Unwritten."""
    before = sys.stdout
    if isinstance(before, io.TextIOWrapper):
        raw = _Raw(before.fileno(), "wb", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), before.encoding, errors="replace", line_buffering=before.line_buffering
        )


def flush() -> None:
    """Raises Unwritten."""
    if sys.stdout is not None:
        sys.stdout.flush()


def give_up() -> None:
    """So that the interpreter, which would try again at its end, has nothing to say."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
