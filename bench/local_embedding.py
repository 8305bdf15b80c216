"""What a chunk costs the local model, by how its texts are run; and what the consumer's event loop feels of it.

    python -m bench local_embedding [--rounds 5]

Texts are word pieces drawn at random: 100 of them, 256, and a mix of 20 to 256. Baseline of each: runs of eight texts
of like length, padded, spread over the cores by onnxruntime, in a thread of the asking process, as it was before the
model had a process of its own. Ways take turns; the best of the rounds counts, since others use the machine. Where it
is crowded, processor time tells more than the clock.
"""

import argparse
import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import psutil
from tokenizers import Tokenizer

from bench.rig import line, run
from headrace.embedded.artifacts import fetch_minilm
from headrace.embedded.progress import SilentReporter
from headrace.embedding.local import LocalEmbedder
from headrace.settings import Settings
from schemas.kb import Embedding

POOL = 32
CORES = os.cpu_count() or 1
FILES = fetch_minilm(Settings.from_env().cache_dir, SilentReporter())
WORDS = "gate water channel wheel mill river stone flow level sluice bank weir intake valve".split()


@dataclass
class Way:
    """Texts at once in a run; `intra` threads within it (0: onnxruntime's choice), `runs` side by side. `arena`: the
    memory of a run is kept for the next."""

    label: str
    batch: int
    intra: int = 1
    runs: int = 1
    arena: bool = False
    wall_s: float = float("inf")
    cpu_s: float = float("inf")
    session: Any = field(default=None, repr=False)

    def measure(self, texts: Sequence[list[int]]) -> None:
        self.session = self.session or _session(self.intra, self.arena)
        began, cpu = time.perf_counter(), time.process_time()
        _embed(self.session, texts, self.batch, self.runs)
        self.wall_s = min(self.wall_s, (time.perf_counter() - began) / len(texts))
        self.cpu_s = min(self.cpu_s, (time.process_time() - cpu) / len(texts))


def _ways() -> list[Way]:
    return [
        Way("baseline: 8 a run, padded, onnxruntime's threads", 8, intra=0),
        *(Way(f"{batch} a run, one thread", batch) for batch in (1, 2, 4, 8, 16, 32)),
        Way(f"1 a run, {CORES} threads in it", 1, intra=CORES),
        Way(f"1 a run, {CORES} runs side by side", 1, runs=CORES),
        Way(f"1 a run, {CORES} runs side by side, arena (ours)", 1, runs=CORES, arena=True),
        Way(f"8 a run, {CORES} runs side by side", 8, runs=CORES),
    ]


async def benchmark(rounds: int) -> None:
    draw = random.Random(1)
    pools = {
        "100 word pieces": [100] * POOL,
        "256 word pieces": [256] * (POOL // 2),
        "a mix of 20 to 256": [draw.randint(20, 256) for _ in range(POOL)],
    }
    for label, lengths in pools.items():
        print(f"local_embedding: {label}")
        _compare([_pieces(length, draw) for length in lengths], rounds)
    _padding(pools["a mix of 20 to 256"], draw)
    await _event_loop(draw)


def _compare(texts: list[list[int]], rounds: int) -> None:
    texts.sort(key=len, reverse=True)
    ways = _ways()
    for way in ways:
        _embed(_session(way.intra, way.arena), texts[-1:], 1, 1)
    for _ in range(rounds):
        for way in ways:
            way.measure(texts)
    baseline = ways[0]
    for way in ways:
        ratios = f"{1e3 * way.cpu_s:.1f} ms of processor; {baseline.wall_s / way.wall_s:.2f} x by the clock"
        line(f"  {way.label}", 1 / way.wall_s, "chunks/s", f"{ratios}, {baseline.cpu_s / way.cpu_s:.2f} x by processor")


def _padding(lengths: list[int], draw: random.Random) -> None:
    """Word pieces that are run and mean nothing, for runs of eight sorted by length within so many texts."""
    for pool in (8, 16, 32):
        shuffled = draw.sample(lengths, len(lengths))
        run_, real = 0, sum(shuffled)
        for some in _batched(shuffled, pool):
            for batch in _batched(sorted(some), 8):
                run_ += len(batch) * max(batch)
        line(f"  padding, 8 a run, sorted within {pool}", 100 * (run_ - real) / real, "%")


async def _event_loop(draw: random.Random) -> None:
    """The longest that a task which sleeps for 5 ms was late, while 32 texts of 256 word pieces are embedded thrice."""
    texts = [" ".join(draw.choices(WORDS, k=240)) for _ in range(32)]
    print("local_embedding: how late the event loop's turns come, 32 texts of some 240 word pieces, thrice")
    idle = await _late(lambda: asyncio.sleep(2.0))
    line("  idle", 1e3 * idle[1], "ms at worst", f"{1e3 * idle[0]:.1f} ms in the 99th percentile")
    with ThreadPoolExecutor(1) as thread:
        before = await _late(lambda: _before(thread, texts))
    line("  baseline: in a thread", 1e3 * before[1], "ms at worst", f"{1e3 * before[0]:.1f} ms in the 99th percentile")
    embedder = LocalEmbedder(Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384), Settings.from_env())
    ours = await _late(lambda: _ours(embedder, texts))
    line("  in a process", 1e3 * ours[1], "ms at worst", f"{1e3 * ours[0]:.1f} ms in the 99th percentile")
    assert embedder.process_id is not None
    line("  memory of that process", psutil.Process(embedder.process_id).memory_info().rss / 1e6, "MB")
    await embedder.stop()


async def _before(thread: ThreadPoolExecutor, texts: list[str]) -> None:
    """Loads the model too, as a first call did."""

    def embed() -> None:
        session, tokenizer = _session(0, False), Tokenizer.from_file(str(FILES.tokenizer))
        tokenizer.no_padding()
        for _ in range(3):
            _embed(session, [each.ids[:258] for each in tokenizer.encode_batch(texts)], 8, 1)

    await asyncio.get_running_loop().run_in_executor(thread, embed)


async def _ours(embedder: LocalEmbedder, texts: list[str]) -> None:
    for _ in range(3):
        await embedder.embed(texts)


async def _late(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds: the 99th percentile, and the worst."""
    late: list[float] = []
    working = asyncio.ensure_future(work())
    while not working.done():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append(time.perf_counter() - began - 0.005)
    await working
    return float(np.percentile(late, 99)), max(late)


def _session(intra: int, arena: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.enable_cpu_mem_arena, options.intra_op_num_threads = 3, arena, intra
    return onnxruntime.InferenceSession(str(FILES.model), options, providers=["CPUExecutionProvider"])


def _embed(session: Any, texts: Sequence[list[int]], batch: int, runs: int) -> None:
    batches, lock = _batched(texts, batch), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                some = next(batches, None)
            if some is None:
                return
            _run(session, some)

    with ThreadPoolExecutor(runs) as threads:
        for each in [threads.submit(work) for _ in range(runs)]:
            each.result()


def _run(session: Any, texts: Sequence[list[int]]) -> None:
    ids = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})


def _pieces(length: int, draw: random.Random) -> list[int]:
    """With the marks of beginning and end."""
    return [101, *(draw.randrange(2_000, 28_000) for _ in range(length)), 102]


def _batched(items: Sequence[Any], size: int) -> Iterator[Any]:
    return (items[start : start + size] for start in range(0, len(items), size))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    raise SystemExit(run(benchmark(parser.parse_args().rounds)))
