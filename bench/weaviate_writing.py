"""Objects per second into a real Weaviate, by objects in a request and requests at once; and what an index costs.

    python -m bench weaviate_writing [--objects 4000] [--indexed 20000] [--dimensions 384 1536]

Baseline of the first: bare `insert_many` of 256 objects, one request after the other. Of the second: an index that
compresses nothing. Each index is filled in a server of its own; recall@10 is against the exact answer of 200
questions. Vectors have 32 dimensions that matter and noise in all: such are texts' more than what is drawn evenly.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from weaviate.classes.config import Configure, VectorDistances
from weaviate.classes.data import DataObject

from bench.rig import line, run
from headrace.embedded.ports import free_ports
from headrace.embedded.progress import SilentReporter
from headrace.embedded.weaviate import EmbeddedWeaviate
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore, _client, _properties, _schema, vector_index

Floats = npt.NDArray[np.float32]
COSINE = VectorDistances.COSINE
QUESTIONS, NEAREST = 200, 10
MATTER = 32


def _indexes() -> dict[str, Any]:
    hnsw, quantizer = Configure.VectorIndex.hnsw, Configure.VectorIndex.Quantizer
    return {
        "baseline: hnsw, uncompressed": hnsw(distance_metric=COSINE, quantizer=quantizer.none()),
        "hnsw, rotational quantisation 8 (ours)": vector_index(),
        "hnsw, ef_construction 64": hnsw(distance_metric=COSINE, ef_construction=64),
        "hnsw, rq 8, ef_construction 64, 16 connections": hnsw(
            distance_metric=COSINE, quantizer=quantizer.rq(bits=8), ef_construction=64, max_connections=16
        ),
        "flat": Configure.VectorIndex.flat(distance_metric=COSINE),
    }


async def benchmark(objects: int, indexed: int, dimensions: list[int]) -> None:
    for dimension in dimensions:
        print(f"weaviate_writing: {objects} objects of {dimension} dimensions")
        with _weaviate() as (settings, _):
            await _requests(settings, objects, dimension)
    for dimension in dimensions:
        print(f"weaviate_writing: {indexed} objects of {dimension} dimensions, four requests of 256 at once")
        for label, index in _indexes().items():
            with _weaviate() as (settings, process):
                await _index(label, settings, process, index, indexed, dimension)


@contextmanager
def _weaviate() -> Iterator[tuple[Settings, psutil.Process]]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        port, grpc = free_ports(2)
        cache = Settings.from_env().cache_dir
        server = EmbeddedWeaviate(Path(name), cache, SilentReporter(), port=port, grpc_port=grpc)
        server.start()
        try:
            assert server.pid is not None
            environment = {"WEAVIATE_URL": server.url, "HEADRACE_WEAVIATE_GRPC_PORT": str(grpc)}
            yield Settings.from_env(environment), psutil.Process(server.pid)
        finally:
            server.stop()


async def _requests(settings: Settings, objects: int, dimensions: int) -> None:
    store, vectors = VectorStore(settings), _vectors(objects, dimensions)
    baseline = await _bare(store, settings, vectors)
    line("baseline: bare insert_many, 256 a request", baseline, "objects/s")
    for size in (64, 256, 1_000):
        for at_once in (1, 2, 4, 8):
            place = Tenancy(f"Bench_{dimensions}", f"of-{size}-{at_once}")
            began = time.perf_counter()
            await _fill(store, place, vectors, size, at_once)
            rate = objects / (time.perf_counter() - began)
            line(f"{size} a request, {at_once} at once", rate, "objects/s", f"{rate / baseline:.2f} x")
    await store.stop()


async def _bare(store: VectorStore, settings: Settings, vectors: Floats) -> float:
    place = Tenancy(f"Bench_{vectors.shape[1]}", "bare")
    await store.ensure(place)
    async with _client(settings) as client:
        tenant = client.collections.use(place.collection).with_tenant(place.tenant)
        began = time.perf_counter()
        for start in range(0, len(vectors), 256):
            some = [
                DataObject(uuid=chunk.chunk_id, properties=_properties(chunk), vector=vector.tolist())
                for chunk, vector in _chunks(vectors, start, 256)
            ]
            assert not (await tenant.data.insert_many(some)).errors
        return len(vectors) / (time.perf_counter() - began)


async def _fill(store: VectorStore, place: Tenancy, vectors: Floats, size: int, at_once: int) -> None:
    await store.ensure(place)
    starts = iter(range(0, len(vectors), size))

    async def write() -> None:
        for start in starts:
            chunks, some = zip(*_chunks(vectors, start, size), strict=True)
            assert not await store.insert(place, chunks, some)

    await asyncio.gather(*(write() for _ in range(at_once)))


async def _index(
    label: str, settings: Settings, process: psutil.Process, index: Any, objects: int, dimensions: int
) -> None:
    store, vectors = VectorStore(settings), _vectors(objects + QUESTIONS, dimensions)
    stored, questions = vectors[:objects], vectors[objects:]
    place, empty = Tenancy("Bench", "bench"), process.memory_info().rss
    async with _client(settings) as client:
        await client.collections.create(
            place.collection,
            multi_tenancy_config=Configure.multi_tenancy(enabled=True),
            vector_config=Configure.Vectors.self_provided(vector_index_config=index),
            properties=_schema(),
        )
        began, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        await _fill(store, place, stored, 256, 4)
        rate = objects / (time.perf_counter() - began)
        cpu_ms = 1e3 * (sum(process.cpu_times()[:2]) - cpu) / objects
        tenant, began, found = (
            client.collections.use(place.collection).with_tenant(place.tenant),
            time.perf_counter(),
            [],
        )
        for question in questions:
            answer = await tenant.query.near_vector(question.tolist(), limit=NEAREST, return_properties=[])
            found.append({str(each.uuid) for each in answer.objects})
        ask_ms = 1e3 * (time.perf_counter() - began) / QUESTIONS
    memory = (process.memory_info().rss - empty) / 1e6
    recall = _recall(stored, questions, found)
    note = f"{cpu_ms:.2f} ms of processor, {memory:.0f} MB, recall {recall:.3f}, {ask_ms:.1f} ms a question"
    line(f"  {label}", rate, "objects/s", note)
    await store.stop()


def _recall(stored: Floats, questions: Floats, found: list[set[str]]) -> float:
    nearest = np.argsort(-(questions @ stored.T), axis=1)[:, :NEAREST]
    hits = sum(len({_id(row) for row in rows} & ids) for rows, ids in zip(nearest, found, strict=True))
    return hits / (NEAREST * len(questions))


def _vectors(count: int, dimensions: int) -> Floats:
    """float32[count, dimensions] of unit length."""
    random = np.random.default_rng(1)
    matter = random.standard_normal((count, MATTER)) @ random.standard_normal((MATTER, dimensions))
    vectors = matter + random.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _chunks(vectors: Floats, start: int, count: int) -> list[tuple[StoredChunk, Floats]]:
    return [(_chunk(start + row), vector) for row, vector in enumerate(vectors[start : start + count])]


def _chunk(index: int) -> StoredChunk:
    return StoredChunk(
        chunk_id=_id(index), text=f"what stands in chunk {index} of its page " * 30, url=f"http://site/{index // 10}",
        title=f"Page {index // 10}", heading_path=("A", "B"), doc_hash=f"{index:064}", text_hash=f"{index:064}",
        job_id="job", born=1, ordinal=index % 10,
    )  # fmt: skip


def _id(index: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(index)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=4_000)
    parser.add_argument("--indexed", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[384, 1_536])
    given = parser.parse_args()
    raise SystemExit(run(benchmark(given.objects, given.indexed, given.dimensions)))
