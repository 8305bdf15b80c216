"""Chunks per second of the consumer into a real Weaviate, against a fake OpenAI API (300 ms, 1,536 dimensions).

    python -m bench.consumer [--pages 400]

Baseline: a sequential loop over the same texts, ten at a time. The chunks stand in the log before the consumer starts.
"""

import argparse
import time

from bench import sequential
from bench.rig import DIMENSIONS, LATENCY_MS, Rig, line, rig, run


async def benchmark(pages: int) -> None:
    async with rig(pages) as built:
        texts = [text for _, page in await sequential.crawl(built.site_url, 20) for text in page][:300]
        print(f"consumer: chunks into Weaviate, fake OpenAI at {LATENCY_MS} ms and {DIMENSIONS} dimensions")
        baseline = await sequential.index(built.settings, built.openai_url, texts)
        line("sequential loop, batches of 10", baseline.chunks_per_s, "chunks/s", f"{baseline.chunks} chunks")
        chunks, seconds = await _index(built)
        line("consumer", chunks / seconds, "chunks/s", f"{chunks} chunks, from the first outcome to completed")
        line("ratio", chunks / seconds / baseline.chunks_per_s, "x")


async def _index(built: Rig) -> tuple[int, float]:
    await built.start("producer", "control")
    await built.api.start("bench", built.definition())
    await built.api.until_metric("bench", "chunks_total", 1)
    while (await built.api.status("bench"))["phase"] == "crawling":
        pass
    built.services["producer"].close()
    await built.start("consumer")
    await built.api.until_metric("bench", "chunks_processed", 1)
    first, started = (await built.api.status("bench"))["metrics"]["chunks_processed"], time.perf_counter()
    done = await built.api.until_status("bench", "completed", within_s=600)
    return done["metrics"]["chunks_processed"] - first, time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=400)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
