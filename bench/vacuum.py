"""How long it takes to undo, retire, take back and vacuum a large generation.

    python -m bench.vacuum [--objects 100000] [--dimensions 8 384]

Baseline of each: one object at a time, over a thousand of them.
"""

import argparse
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.rig import line, run
from headrace.embedded.stack import ServerStack
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore

BATCH = 1_000
SAMPLE = 1_000


async def benchmark(objects: int, dimensions: list[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        stack = ServerStack.ephemeral(Path(name), cache_dir=Settings.from_env().cache_dir)
        with stack:
            store = VectorStore(Settings.from_env(stack.environment()))
            for dimension in dimensions:
                await _measure(store, objects, dimension)
            await store.stop()


async def _measure(store: VectorStore, objects: int, dimensions: int) -> None:
    print(f"vacuum: {objects} objects of {dimensions} dimensions")
    place = Tenancy(f"Bench_{dimensions}", "bench")
    ids = await _timed("write", objects, lambda: _fill(store, place, objects, dimensions, 1))
    await _timed("list ids", objects, lambda: store.rows(place))
    await _timed("retire", objects, lambda: store.retire(place, ids, 2))
    await _timed("undo of what retired them", objects, lambda: store.undo(place, [2]))
    await store.retire(place, ids, 2)
    await _timed("vacuum", objects, lambda: store.vacuum(place, 2, frozenset(), all_of_it=False))
    sample = await _fill(store, place, SAMPLE, dimensions, 4)
    await _timed("baseline: delete one by one", SAMPLE, lambda: _one_by_one(store, place, sample))
    await _fill(store, place, objects, dimensions, 3)
    await _timed("undo of what wrote them", objects, lambda: store.undo(place, [3]))


async def _timed(what: str, objects: int, call: Callable[[], Awaitable[Any]]) -> Any:
    started = time.perf_counter()
    result = await call()
    seconds = time.perf_counter() - started
    line(what, seconds, "s", f"{objects / seconds:.0f}/s")
    return result


async def _fill(store: VectorStore, place: Tenancy, objects: int, dimensions: int, born: int) -> list[str]:
    await store.ensure(place)
    random, ids = np.random.default_rng(born), []
    for start in range(0, objects, BATCH):
        chunks = [_chunk(born, index) for index in range(start, min(start + BATCH, objects))]
        vectors = random.standard_normal((len(chunks), dimensions), dtype=np.float32)
        refused = await store.insert(place, chunks, list(vectors))
        assert not refused
        ids += [chunk.chunk_id for chunk in chunks]
    return ids


async def _one_by_one(store: VectorStore, place: Tenancy, ids: list[str]) -> None:
    for each in ids:
        await store.delete_ids(place, [each])


def _chunk(born: int, index: int) -> StoredChunk:
    return StoredChunk(
        chunk_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{born}/{index}")), text=f"what stands in chunk {index} " * 20,
        url=f"http://site/{index // 10}", title=f"Page {index // 10}", heading_path=("A", "B"), doc_hash=f"{index:064}",
        text_hash=f"{index:064}", job_id=f"job-{born}", born=born, ordinal=index % 10,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[8, 384])
    given = parser.parse_args()
    raise SystemExit(run(benchmark(given.objects, given.dimensions)))
