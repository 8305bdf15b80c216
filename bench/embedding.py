"""Chunks per second through the consumer's embedding alone, against a fake OpenAI API.

    python -m bench embedding [--chunks 12000]
    python -m bench embedding --memory [--chunks 1000000]

The API is a process of its own: 300 ms, 1,536 dimensions. Records come from memory and are counted where Weaviate would
be written. Baseline: a sequential loop with batches of ten. `bench consumer` compares the whole way, and keeps limits.
`--memory`: what the process holds along the way, of short texts and 64 dimensions, in jobs of 20,000 chunks.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator

import aiohttp
import openai
import psutil

from bench.embed_rig import EmbedRig, Job, embed_rig, timed, tokens_of
from bench.rig import DIMENSIONS, LATENCY_MS, fake, line, run

WORDS = "gate water channel wheel mill river stone flow level sluice bank weir turbine intake penstock valve".split()
TOKENS = 350
"""Of a chunk, about."""
OF_JOB = 20_000
"""Chunks of a job, where memory is looked at."""


async def benchmark(chunks: int) -> None:
    print(f"embedding: fake OpenAI API at {LATENCY_MS} ms, {DIMENSIONS} dimensions, chunks of {TOKENS} tokens")
    with fake(api()) as url:
        ours, cpu_s = await _ours(url, chunks)
        line("consumer", chunks / ours, "chunks/s", f"{chunks} chunks")
        line("", 1e6 * cpu_s / chunks, "us/chunk", "of processor")
        loop = await asyncio.to_thread(_sequential, url, chunk_texts(200, "loop"))
        line("sequential loop, batches of 10", loop, "chunks/s", "200 chunks")
        line("ratio to the sequential loop", chunks / ours / loop, "x")


async def memory(chunks: int) -> None:
    """The rig's own share is small: it makes records as they are asked for, and forgets a job that is done."""
    print(f"embedding: memory over {chunks} chunks of 20 tokens, 64 dimensions, in jobs of {OF_JOB}")
    with fake(api(64)) as url:
        async with embed_rig(url, dimensions=64) as rig:
            began = time.perf_counter()
            for number in range(1, chunks // OF_JOB + 1):
                job = Job(rig, number % 3, list(texts_of(OF_JOB, f"job {number}", 20)))
                rig.add(job)
                await job.finished.wait()
                rig.forget(job)
                if number % max(1, chunks // OF_JOB // 10) == 0:
                    held_mb, took_s = psutil.Process().memory_info().rss / 1e6, time.perf_counter() - began
                    line(f"  after {number * OF_JOB} chunks", held_mb, "MB", f"{number * OF_JOB / took_s:.0f} chunks/s")


async def used_up(url: str, unit: str, amount: float) -> bool:
    return used(await counts(url), unit) >= amount


def used(counts: dict[str, int], unit: str) -> int:
    return counts["tokens"] if unit == "tokens" else counts["calls"] - counts["refused"]


async def _ours(url: str, chunks: int) -> tuple[float, float]:
    """Seconds, and seconds of processor."""
    async with embed_rig(url) as rig:
        await _one(rig)
        job = Job(rig, 0, chunk_texts(chunks, "ours"))
        rig.add(job)
        cpu, took_s = time.process_time(), await timed(job)
        assert rig.texts == chunks + 1 and not rig.stalls
        return took_s, time.process_time() - cpu


async def _one(rig: EmbedRig) -> None:
    """A first call, which sets up what the SDK needs."""
    job = Job(rig, 7, ["first"])
    rig.add(job)
    await job.finished.wait()


def _sequential(url: str, texts: list[str]) -> float:
    with openai.OpenAI(api_key="sk-bench", base_url=url) as client:
        client.embeddings.create(model="text-embedding-3-small", input=["first"])
        began = time.perf_counter()
        for start in range(0, len(texts), 10):
            client.embeddings.create(model="text-embedding-3-small", input=texts[start : start + 10])
        return len(texts) / (time.perf_counter() - began)


async def counts(url: str) -> dict[str, int]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/calls/last") as response:
        return dict(await response.json())


def api(dimensions: int = DIMENSIONS) -> list[str]:
    options = ["--latency-ms", str(LATENCY_MS), "--dimensions", str(dimensions)]
    return ["tests.fakes.openai_server", *options, "--estimate-tokens", "--pooled-vectors"]


def chunk_texts(count: int, seed: str) -> list[str]:
    return list(texts_of(count, seed))


def texts_of(count: int, seed: str, tokens: int = TOKENS) -> Iterator[str]:
    """Of so many tokens each, about, and no two alike."""
    draw = random.Random(seed)
    for number in range(count):
        text = f"{seed} {number}"
        while tokens_of(text) < tokens:
            text += " " + " ".join(draw.choices(WORDS, k=40))
        yield text[: 4 * tokens]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, help="default: 12000, or 1000000 with --memory")
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    raise SystemExit(run(memory(given.chunks or 1_000_000) if given.memory else benchmark(given.chunks or 12_000)))
