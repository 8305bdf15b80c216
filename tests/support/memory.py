"""How much memory something takes at its peak, wherever the process stood before."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Growth:
    """`kib`: resident memory at the peak, beyond what there was at the beginning."""

    kib = 0


@contextmanager
def growth() -> Iterator[Growth]:
    """Known at the end. The kernel's high-water mark is set back at the beginning, and what malloc holds is given back:
    else an earlier peak would hide a later one."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before, grown = _kib("VmRSS"), Growth()
    yield grown
    grown.kib = _kib("VmHWM") - before


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
