"""Where a process's time goes, by step of the consumer: sampled from outside by py-spy (in .venv-bench)."""

import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PY_SPY = Path(__file__).parent.parent / ".venv-bench" / "bin" / "py-spy"
RATE = 200
"""Samples a second."""

STEPS = {
    "Faust hands over": ("faust/", "mode/", "aiokafka/"),
    "decode": ("consumer/item.py", "schemas/codec.py"),
    "judge": ("consumer/judge.py", "schemas/identity.py"),
    "window": ("consumer/window.py",),
    "look up in Weaviate": ("_reuse (", "lookup (", "_vectors_of ("),
    "pack and make calls": ("consumer/calls.py", "consumer/ledger.py", "consumer/stalls.py", "headrace/embedding/"),
    "hand vectors out": ("consumer/embed.py", "consumer/vector_cache.py"),
    "write to Weaviate": ("insert (", "_index (", "_stored (consumer", "_properties (", "headrace/objects.py"),
    "tell": ("consumer/settle.py", "headrace/kafka/publisher.py", "consumer/reports.py"),
}
"""Step to what names it in a frame: `function (file:line)`. The innermost frame that any names counts."""
REST = "all else (event loop, other threads)"


@contextmanager
def sampled(pid: int) -> Iterator[list[str]]:
    """Stacks of the process while the block runs, in the list once it has ended: outermost first, and a count."""
    stacks: list[str] = []
    with tempfile.NamedTemporaryFile(prefix="headrace-bench-", suffix=".raw") as file:
        command = [str(PY_SPY), "record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw", "--nonblocking"]
        with subprocess.Popen([*command, "--output", file.name], stdout=subprocess.DEVNULL) as spy:
            yield stacks
            spy.send_signal(signal.SIGINT)
        stacks += Path(file.name).read_text().splitlines()


@contextmanager
def not_sampled() -> Iterator[list[str]]:
    yield []


def shares(stacks: Iterable[str]) -> list[tuple[str, float]]:
    """Each step's share of the samples, the largest first."""
    counts: Counter[str] = Counter()
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        if frames:  # else it was caught between two
            counts[_step(frames)] += int(count)
    return [(step, count / counts.total()) for step, count in counts.most_common()]


def _step(frames: str) -> str:
    for frame in reversed(frames.split(";")):
        for step, marks in STEPS.items():
            if any(mark in frame for mark in marks):
                return step
    return REST
