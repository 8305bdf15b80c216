"""Chunks per second through the real consumer, from records on Kafka into Weaviate, against a fake OpenAI API.

    python -m bench consumer [--chunks 12000] [--seconds 60]
    python -m bench consumer --alone [--chunks 1000000] [--dimensions 64] [--tokens 20]

The API is a process of its own: 300 ms, 1,536 dimensions, without limits at first, then with tokens and with requests
a minute. Baselines on the same chunks, in the same Weaviate, into collections with the same properties and index: a
sequential loop with batches of ten, LlamaIndex's IngestionPipeline and LangChain's index() (in .venv-bench), each as
their guides have it and as fast as their settings make it, and the bare client's insert_many with vectors ready.
`--alone` leaves out baselines and limits, and prints the consumer's memory along the way and its processor's time by
step. All servers and fakes share the machine's cores with what is measured.
"""

import argparse
import asyncio
import functools
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import psutil
from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject

from bench import hot_path
from bench.embed_rig import MODEL, chunk_of, command_of
from bench.embedding import counts, texts_of, used, used_up
from bench.rig import DIMENSIONS, LATENCY_MS, fake, line, run
from headrace.embedded.stack import ServerStack
from headrace.embedding.openai import OpenAIEmbedder
from headrace.kafka.admin import GroupOffsets
from headrace.kafka.publisher import Publisher
from headrace.kafka.startup import topics_ready
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore, _client, _properties, _schema, vector_index
from schemas.chunks import Chunk, CrawlBegin
from schemas.codec import now
from schemas.commands import JobCommand
from tests.fakes.openai_server import vector_of
from tests.support.services import Service
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
FRAMEWORKS = {
    "llama_index": "LlamaIndex, as its guide has it",
    "llama_index_async": "LlamaIndex, 8 calls at once",
    "langchain": "LangChain, as its guide has it",
    "langchain_large": "LangChain, batches of 800",
}
PARTITION = 0
OF_LOOP, OF_FRAMEWORK = 200, 3_000
"""Chunks that slow baselines are measured on."""
LLAMA_INDEX_ADDS = [
    Property(name=name, data_type=DataType.TEXT, index_filterable=False, index_searchable=False)
    for name in ("_node_content", "_node_type", "document_id", "doc_id", "ref_doc_id")
]
"""Not indexed here, though its own schema indexes them."""
REQUESTS = 10
"""A minute, for the run with that limit: less than Weaviate takes, in calls as large as they can be."""
READINGS = 10
"""Of memory, along the way."""


@dataclass
class Shape:
    """Of what is embedded."""

    chunks: int
    dimensions: int
    tokens: int

    def api(self, *limits: str) -> list[str]:
        options = ["--latency-ms", str(LATENCY_MS), "--dimensions", str(self.dimensions), "--estimate-tokens"]
        return ["tests.fakes.openai_server", *options, *limits]

    def texts(self, count: int) -> Iterator[str]:
        return texts_of(count, "bench", self.tokens)


@dataclass
class Run:
    """Of the consumer: seconds from its first call to its last commit."""

    chunks: int
    seconds: float
    cpu_s: float
    calls: dict[str, int]

    @property
    def rate(self) -> float:
        return self.chunks / self.seconds


class Stack:
    """The servers, for all that is compared."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment, self.directory = environment, directory
        self.settings = Settings.from_env(environment)
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def consumer(self, shape: Shape, chunks: int, openai_url: str) -> AsyncIterator["Consumer"]:
        """One that has not begun, with topics of its own on which the chunks stand."""
        name = f"bench{next(self._numbers)}"
        ours = {
            "HEADRACE_TOPIC_PREFIX": f"{name}.", "HEADRACE_PARTITIONS": "3", "OPENAI_API_KEY": "sk-bench",
            "OPENAI_BASE_URL": openai_url, "HEADRACE_LOG_LEVEL": "WARNING",
        }  # fmt: skip
        environment = self.environment | ours
        settings = Settings.from_env(environment)
        await topics_ready(settings)
        publisher = Publisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source="bench")
        await publisher.start()
        await _produce(publisher, command_of(name, PARTITION, shape.dimensions), shape.texts(chunks))
        await publisher.stop()
        consumer = Consumer(Service("consumer", environment, self.directory / name), settings)
        try:
            yield consumer
        finally:
            consumer.close()


class Consumer:
    """A process, with one partition of `chunks` to work through."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        topic = settings.topic("chunks")
        self._offsets = GroupOffsets(
            settings.bootstrap_servers, group=settings.consumer_group, topic=topic, partitions=3
        )

    async def begin(self, url: str) -> None:
        """Returns at its first call."""
        self._service.start()
        await until(functools.partial(_called, url), within_s=60, every_s=0.01)

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._service.pid)

    async def committed(self) -> int:
        offsets = await asyncio.to_thread(self._offsets.committed)
        return offsets.get(PARTITION, 0)

    async def passed(self, chunks: int) -> bool:
        assert self._service.alive, self._service.said()[-2_000:]
        return await self.committed() > chunks  # `crawl_begin` is in front of them

    def close(self) -> None:
        self._service.close()
        self._offsets.close()


async def _produce(publisher: Publisher, command: JobCommand, texts: Iterator[str]) -> None:
    begin = CrawlBegin(
        job_id=command.job_id, kb_id=command.kb_id, generation=1, base=None, owner="bench", began_at=now()
    )
    await publisher.send(command, partition=PARTITION)
    epoch = await publisher.send(begin, partition=PARTITION)
    for number, text in enumerate(texts):
        await publisher.publish(chunk_of(command, text, number, epoch.offset), partition=PARTITION)
    await publisher.drain()


async def benchmark(shape: Shape, seconds: int) -> None:
    if not PYTHON.exists():
        sys.exit("LlamaIndex and LangChain are missing: `make bench` installs them into .venv-bench")
    _header(shape)
    async with _stack() as stack:
        with fake(shape.api()) as url:
            ours = await _ours(stack, shape, url)
            baselines = await _baselines(stack, shape, url)
        bare = await _bare(stack, shape)
        line("bare insert_many, vectors ready, 256 a request", bare, "objects/s", f"{shape.chunks} objects")
        best = max(rate for name, rate in baselines.items() if name in FRAMEWORKS)
        line("ratio to the sequential loop", ours.rate / baselines["loop"], "x")
        line("ratio to the best of the frameworks", ours.rate / best, "x")
        line("of the bare insert_many", 100 * ours.rate / bare, "%")
        tokens = int(shape.chunks * shape.tokens * 60 / (60 + seconds))
        await _limited(stack, shape, shape.chunks, "tokens", tokens)
        in_a_call = OpenAIEmbedder.max_tokens // shape.tokens
        await _limited(stack, shape, int(REQUESTS * in_a_call * (1 + seconds / 60)), "requests", REQUESTS)


async def alone(shape: Shape) -> None:
    _header(shape)
    async with _stack() as stack:
        with fake(shape.api()) as url:
            await _ours(stack, shape, url, closely=True)


def _header(shape: Shape) -> None:
    print(
        f"consumer: {shape.chunks} chunks of {shape.tokens} tokens from Kafka into Weaviate, "
        f"fake OpenAI at {LATENCY_MS} ms and {shape.dimensions} dimensions"
    )


@asynccontextmanager
async def _stack() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        servers = ServerStack.ephemeral(directory / "servers", cache_dir=Settings.from_env().cache_dir)
        with servers:
            yield Stack(servers.environment(), directory)


async def _ours(stack: Stack, shape: Shape, url: str, *, closely: bool = False) -> Run:
    async with stack.consumer(shape, shape.chunks, url) as consumer:
        await consumer.begin(url)
        began, cpu_s = time.perf_counter(), _cpu_s(consumer.process)
        with hot_path.sampled(consumer.process.pid) if closely else hot_path.not_sampled() as samples:
            for reading in range(1, READINGS + 1):
                share = shape.chunks * reading // READINGS
                await until(functools.partial(consumer.passed, share), within_s=3_600)
                if closely:
                    memory_mb = consumer.process.memory_info().rss / 1e6
                    line(f"  memory after {share} chunks", memory_mb, "MB", f"{time.perf_counter() - began:.0f} s")
            took_s, cpu_s = time.perf_counter() - began, _cpu_s(consumer.process) - cpu_s
        done = Run(shape.chunks, took_s, cpu_s, await counts(url))
        assert done.calls["texts"] == shape.chunks
    note = f"{done.chunks} chunks, {1e6 * done.cpu_s / done.chunks:.0f} us of processor each"
    line("consumer", done.rate, "chunks/s", note)
    for step, share in hot_path.shares(samples):
        line(f"  {step}", 1e6 * share * done.cpu_s / done.chunks, "us/chunk")
    return done


async def _limited(stack: Stack, shape: Shape, chunks: int, unit: str, per_minute: int) -> None:
    """A full minute's allowance is there at once: what counts is what is used once that is gone, to the last call."""
    with fake(shape.api(f"--{unit}-per-minute", str(per_minute))) as url:
        async with stack.consumer(shape, chunks, url) as consumer:
            await consumer.begin(url)
            started = time.perf_counter()
            await until(functools.partial(used_up, url, unit, 1.05 * per_minute), within_s=300)
            began, before = time.perf_counter(), await counts(url)
            await until(functools.partial(_embedded, url, chunks), within_s=600)
            seconds, after = time.perf_counter() - began, await counts(url)
            await until(functools.partial(consumer.passed, chunks), within_s=600)
            took_s = time.perf_counter() - started
    share = (used(after, unit) - used(before, unit)) / (per_minute * seconds / 60)
    print(f"  with {per_minute:,} {unit} a minute:")
    line("  consumer", chunks / took_s, "chunks/s", f"{chunks} chunks, {took_s:.0f} s")
    line("  of the stated limit, once a minute's is used", 100 * share, "%", f"over {seconds:.0f} s")
    line("  answered 429", 100 * after["refused"] / after["calls"], "% of calls", f"{after['calls']} calls")


async def _baselines(stack: Stack, shape: Shape, url: str) -> dict[str, float]:
    rates = {"loop": await _loop(stack, shape, url)}
    line("sequential loop, batches of 10", rates["loop"], "chunks/s", f"{OF_LOOP} chunks")
    for name, what in FRAMEWORKS.items():
        collection = await _collection(stack, name)
        chunks = _some(shape, OF_FRAMEWORK)
        rates[name] = await asyncio.to_thread(_framework, name, url, stack.settings, collection, chunks)
        assert await _objects(stack, collection) == len(chunks), f"{name} wrote but a part, and did not say so"
        line(what, rates[name], "chunks/s", f"{OF_FRAMEWORK} chunks")
    return rates


async def _loop(stack: Stack, shape: Shape, url: str) -> float:
    """Ten texts embedded, then written, then the next ten; its first ten set up what the clients need."""
    chunks, name = _some(shape, OF_LOOP + 10), await _collection(stack, "loop")
    async with _client(stack.settings) as client, openai.AsyncOpenAI(api_key="sk-bench", base_url=url) as api:
        collection = client.collections.use(name)
        began = 0.0
        for start in range(0, len(chunks), 10):
            some = chunks[start : start + 10]
            answer = await api.embeddings.create(model=MODEL, input=[chunk.text for chunk in some])
            objects = [
                DataObject(uuid=chunk.chunk_id, properties=_fields(chunk), vector=row.embedding)
                for chunk, row in zip(some, answer.data, strict=True)
            ]
            assert not (await collection.data.insert_many(objects)).errors
            began = began or time.perf_counter()
        return OF_LOOP / (time.perf_counter() - began)


async def _bare(stack: Stack, shape: Shape) -> float:
    """One request after the other, into a tenant like ours."""
    store, place = VectorStore(stack.settings), Tenancy(f"Bare{shape.dimensions}", "bare")
    await store.ensure(place)
    await store.stop()
    chunks = _some(shape, shape.chunks)
    vectors = [vector_of(chunk.text, shape.dimensions) for chunk in chunks]
    async with _client(stack.settings) as client:
        tenant = client.collections.use(place.collection).with_tenant(place.tenant)
        began = time.perf_counter()
        for start in range(0, len(chunks), 256):
            objects = [
                DataObject(uuid=chunk.chunk_id, properties=_fields(chunk), vector=vector.tolist())
                for chunk, vector in zip(chunks[start : start + 256], vectors[start : start + 256], strict=True)
            ]
            assert not (await tenant.data.insert_many(objects)).errors
        return len(chunks) / (time.perf_counter() - began)


async def _collection(stack: Stack, name: str) -> str:
    """With our properties and our index, without tenants, which the frameworks don't know."""
    collection = f"Bench_{name}"
    async with _client(stack.settings) as client:
        vectors = Configure.Vectors.self_provided(vector_index_config=vector_index())
        await client.collections.create(collection, vector_config=vectors, properties=[*_schema(), *LLAMA_INDEX_ADDS])
    return collection


async def _objects(stack: Stack, collection: str) -> int:
    async with _client(stack.settings) as client:
        return (await client.collections.use(collection).aggregate.over_all(total_count=True)).total_count or 0


def _framework(name: str, url: str, settings: Settings, collection: str, chunks: Sequence[Chunk]) -> float:
    port = settings.weaviate.rsplit(":", 1)[1]
    script = str(ROOT / "bench" / "pipelines.py")
    command = [str(PYTHON), script, name, url, port, str(settings.weaviate_grpc_port), collection]
    given = json.dumps([_fields(chunk) for chunk in chunks])
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2_000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["chunks"] == len(chunks)
    return float(len(chunks) / figures["seconds"])


def _some(shape: Shape, count: int) -> list[Chunk]:
    command = command_of("baseline", PARTITION, shape.dimensions)
    return [chunk_of(command, text, number) for number, text in enumerate(shape.texts(count))]


def _fields(chunk: Chunk) -> dict[str, Any]:
    names = set(StoredChunk.__struct_fields__) - {"born", "retired"}
    return _properties(StoredChunk(born=1, **{name: getattr(chunk, name) for name in names}))


async def _called(url: str) -> bool:
    return (await counts(url))["calls"] > 0


async def _embedded(url: str, chunks: int) -> bool:
    return (await counts(url))["texts"] >= chunks


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=12_000)
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS)
    parser.add_argument("--tokens", type=int, default=350, help="of a chunk, about")
    parser.add_argument("--seconds", type=int, default=60, help="about how long the runs with a limit take")
    parser.add_argument("--alone", action="store_true", help="the consumer alone, closely")
    given = parser.parse_args()
    shape = Shape(given.chunks, given.dimensions, given.tokens)
    raise SystemExit(run(alone(shape) if given.alone else benchmark(shape, given.seconds)))
