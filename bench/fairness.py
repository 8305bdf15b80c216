"""A small job behind a large one: how long it takes on another partition, on the same, and what the large one pays.

    python -m bench fairness [--chunks 20000]

A real Kafka, Weaviate and consumer; the OpenAI API is a fake in a process of its own: 300 ms, 1,536 dimensions, with
1,000,000 tokens a minute, of which the first minute's are used up, and again without limits. Chunks stand in the log
before the consumer starts. Baseline: the small job on another partition; the large job alone.
"""

import argparse
import asyncio
import functools
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from bench.embed_rig import tokens_of
from bench.embedding import TOKENS, api, chunk_texts, used_up
from bench.rig import DIMENSIONS, LATENCY_MS, fake, line, run
from headrace.embedded.stack import ServerStack
from headrace.kafka.admin import ensure_topics
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.chunks import Chunk
from schemas.facts import JobFinished
from tests.support.log import PlayedJob, definition, read_all
from tests.support.services import Service
from tests.support.waiting import until

PER_MINUTE = 1_000_000
"""Tokens."""
SMALL = 100
PAGE = 500
"""Chunks of one page."""
LONG_S = 20.0
"""For so long the large job's rate is measured."""


class BenchJob(PlayedJob):
    """Its chunks count tokens as the fake does."""

    def chunk(self, url: str, text: str, ordinal: int = 0) -> Chunk:
        return msgspec.structs.replace(super().chunk(url, text, ordinal), tokens=tokens_of(text))

    async def crawl(self, count: int) -> None:
        await self.command("running")
        await self.begin()
        every = chunk_texts(count, self.kb_id)
        for number in range(0, count, PAGE):
            await self.page(f"http://site/{number}", every[number : number + PAGE])
        await self.end()


class Round:
    """One consumer on topics of its own, with a large job on partition 0."""

    def __init__(self, settings: Settings, publisher: Publisher, url: str, large: BenchJob) -> None:
        self.settings, self.publisher, self.url, self.large = settings, publisher, url, large

    def job(self, name: str, partition: int) -> BenchJob:
        return _job(self.settings, self.publisher, name, partition)

    async def embedded(self) -> int:
        """Chunks, as the API counts."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/calls/last") as response:
            return int((await response.json())["tokens"]) // TOKENS

    async def rate(self) -> float:
        began, before = time.perf_counter(), await self.embedded()
        await asyncio.sleep(LONG_S)
        return (await self.embedded() - before) / (time.perf_counter() - began)

    async def finished(self, job: BenchJob) -> float:
        """Seconds until the job is over."""
        began = time.perf_counter()

        async def over() -> bool:
            return any(fact.job_id == job.job_id for fact in await read_all(self.settings, JobFinished))

        await until(over, within_s=3_600)
        return time.perf_counter() - began


def _job(settings: Settings, publisher: Publisher, name: str, partition: int) -> BenchJob:
    kb = f"{name}-{settings.topic_prefix.rstrip('.')}"
    return BenchJob(settings, publisher, kb, partition=partition, of=definition(dimensions=DIMENSIONS))


async def benchmark(chunks: int) -> None:
    print(f"fairness: fake OpenAI at {LATENCY_MS} ms, {DIMENSIONS} dimensions, chunks of {TOKENS} tokens")
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        stack = ServerStack.ephemeral(Path(name) / "servers", cache_dir=Settings.from_env().cache_dir)
        with stack:
            for limit in (PER_MINUTE, None):
                print(f"  with {limit:,} tokens a minute:" if limit else "  without limits:")
                for partition in (1, 0):
                    async with _round(stack, Path(name), chunks, limit) as each:
                        await _small_behind_large(each, partition, chunks)
                await _rates(stack, Path(name), chunks, limit)


async def _small_behind_large(each: Round, partition: int, chunks: int) -> None:
    small = each.job("small", partition)
    await small.crawl(SMALL)
    where = "the same" if partition == each.large.partition else "another"
    took_s, done = await each.finished(small), await each.embedded()
    line(f"  {SMALL} behind {chunks:,} on {where} partition", took_s, "s", f"{done} chunks embedded by then")


async def _rates(stack: ServerStack, directory: Path, chunks: int, limit: int | None) -> None:
    """Alone, and while it gives way to a job that has nothing to embed."""
    async with _round(stack, directory, chunks, limit) as each:
        alone = await each.rate()
    async with _round(stack, directory, chunks, limit) as each:
        await each.job("idle", each.large.partition).command("running")
        giving_way = await each.rate()
    line("  large job alone", alone, "chunks/s", f"over {LONG_S:.0f} s")
    line("  large job while it gives way", giving_way, "chunks/s", f"{100 * giving_way / alone:.0f} % of that")


@asynccontextmanager
async def _round(stack: ServerStack, directory: Path, chunks: int, limit: int | None) -> AsyncIterator[Round]:
    """The first minute's allowance is used up, or without one a tenth is done."""
    prefix = f"b{secrets.token_hex(4)}."
    with fake([*api(), *(["--tokens-per-minute", str(limit)] if limit else [])]) as url:
        environment = stack.environment() | {
            "HEADRACE_TOPIC_PREFIX": prefix, "HEADRACE_PARTITIONS": "3", "HEADRACE_LOG_LEVEL": "WARNING",
            "OPENAI_API_KEY": "sk-bench", "OPENAI_BASE_URL": url, "HEADRACE_DATA_DIR": str(directory / prefix),
        }  # fmt: skip
        settings = Settings.from_env(environment)
        ensure_topics(settings.bootstrap_servers, prefix=prefix, partitions=settings.partitions)
        publisher = Publisher(settings.bootstrap_servers, prefix=prefix, source="bench")
        await publisher.start()
        consumer = Service("consumer", environment, directory / prefix)
        try:
            large = _job(settings, publisher, "large", 0)
            await large.crawl(chunks)
            consumer.start()
            amount = 1.05 * limit if limit else chunks * TOKENS / 10
            await until(functools.partial(used_up, url, "tokens", amount), within_s=120)
            yield Round(settings, publisher, url, large)
        finally:
            consumer.close()
            await publisher.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=20_000)
    raise SystemExit(run(benchmark(parser.parse_args().chunks)))
