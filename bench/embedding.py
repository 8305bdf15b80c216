"""Chunks per second through the consumer's embedding, against a fake OpenAI API; and how limits are kept.

    python -m bench embedding [--chunks 12000] [--seconds 60]

The API is a process of its own: 300 ms, 1,536 dimensions, first without limits, then with tokens and with requests a
minute. Records come from memory and are counted where Weaviate would be written, so embedding alone is measured.
Baselines on the same chunks: a sequential loop with batches of ten, LlamaIndex's IngestionPipeline and LangChain's
index() (in .venv-bench), each as their guides have it and as fast as their settings make it.
"""

import argparse
import asyncio
import functools
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import openai

from bench.embed_rig import EmbedRig, Job, embed_rig, timed, tokens_of
from bench.rig import DIMENSIONS, LATENCY_MS, fake, line, run
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
WORDS = "gate water channel wheel mill river stone flow level sluice bank weir turbine intake penstock valve".split()
TOKENS = 350
"""Of a chunk, about."""
FRAMEWORKS = {
    "llama_index": "LlamaIndex, as its guide has it",
    "llama_index_async": "LlamaIndex, 8 calls at once",
    "langchain": "LangChain, as its guide has it",
    "langchain_large": "LangChain, batches of 800",
}


async def benchmark(chunks: int, seconds: int) -> None:
    if not PYTHON.exists():
        sys.exit("LlamaIndex and LangChain are missing: `make bench` installs them into .venv-bench")
    print(f"embedding: fake OpenAI API at {LATENCY_MS} ms, {DIMENSIONS} dimensions, chunks of {TOKENS} tokens")
    await _unlimited(chunks)
    tokens = chunks * TOKENS * 60 // (60 + seconds)
    await _limited(f"{tokens:,} tokens a minute", ["--tokens-per-minute", str(tokens)], chunks, "tokens", tokens)
    await _limited("20 requests a minute", ["--requests-per-minute", "20"], 2 * chunks, "requests", 20)


async def _unlimited(chunks: int) -> None:
    with fake(api()) as url:
        ours, cpu_s = await _ours(url, chunks)
        line("consumer", chunks / ours, "chunks/s", f"{chunks} chunks")
        line("", 1e6 * cpu_s / chunks, "us/chunk", "of processor")
        loop = await asyncio.to_thread(_sequential, url, chunk_texts(200, "loop"))
        line("sequential loop, batches of 10", loop, "chunks/s", "200 chunks")
        best = 0.0
        for name, what in FRAMEWORKS.items():
            texts = chunk_texts(4_000, name)
            theirs = await asyncio.to_thread(_framework, name, url, texts)
            best = max(best, theirs)
            line(what, theirs, "chunks/s", f"{len(texts)} chunks")
        line("ratio to the sequential loop", chunks / ours / loop, "x")
        line("ratio to the best of the frameworks", chunks / ours / best, "x")


async def _limited(what: str, options: list[str], chunks: int, unit: str, per_minute: int) -> None:
    """A full minute's allowance is there at once: what counts is what is used once that is gone, until the end."""
    with fake([*api(), *options]) as url:
        running = asyncio.create_task(_ours(url, chunks))
        await until(functools.partial(used_up, url, unit, 1.05 * per_minute), within_s=120)
        began, before = time.perf_counter(), await _counts(url)
        took_s, _ = await running
        seconds, counts = time.perf_counter() - began, await _counts(url)
    share = (_used(counts, unit) - _used(before, unit)) / (per_minute * seconds / 60)
    print(f"  with {what}:")
    line("  chunks", chunks / took_s, "chunks/s", f"{took_s:.0f} s")
    line("  of the stated limit, once a minute's is used", 100 * share, "%", f"over {seconds:.0f} s")
    line("  answered 429", 100 * counts["refused"] / counts["calls"], "% of calls", f"{counts['calls']} calls")


async def used_up(url: str, unit: str, amount: float) -> bool:
    return _used(await _counts(url), unit) >= amount


def _used(counts: dict[str, int], unit: str) -> int:
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


def _framework(name: str, url: str, texts: list[str]) -> float:
    command = [str(PYTHON), str(ROOT / "bench" / "embedding_pipelines.py"), name, url]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2_000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["texts"] == len(texts)
    return float(len(texts) / figures["seconds"])


async def _counts(url: str) -> dict[str, int]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/calls/last") as response:
        return dict(await response.json())


def api() -> list[str]:
    options = ["--latency-ms", str(LATENCY_MS), "--dimensions", str(DIMENSIONS)]
    return ["tests.fakes.openai_server", *options, "--estimate-tokens", "--pooled-vectors"]


def chunk_texts(count: int, seed: str) -> list[str]:
    """Of `TOKENS` each, about, and no two alike."""
    draw = random.Random(seed)
    texts = []
    for number in range(count):
        text = f"{seed} {number}"
        while tokens_of(text) < TOKENS:
            text += " " + " ".join(draw.choices(WORDS, k=40))
        texts.append(text[: 4 * TOKENS])
    return texts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=12_000)
    parser.add_argument("--seconds", type=int, default=60, help="about how long the runs with a limit take")
    given = parser.parse_args()
    raise SystemExit(run(benchmark(given.chunks, given.seconds)))
