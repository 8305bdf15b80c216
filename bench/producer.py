"""Pages per second of the producer, from fetch to published, extraction included.

    python -m bench.producer [--pages 600]

Baseline: a sequential loop over the same site (fetch, readability-lxml, 512-token slices, publish, flush).
"""

import argparse
import time

from bench import sequential
from bench.rig import Rig, line, rig, run
from tests.support.waiting import until


async def benchmark(pages: int) -> None:
    async with rig(pages) as built:
        print(f"producer: {pages} pages of 40-100 KB on loopback, two cores for everything")
        baseline = await sequential.crawl_to_kafka(built.settings, built.site_url, min(pages, 60))
        line("sequential loop", baseline.pages_per_s, "pages/s", f"{baseline.pages} pages")
        pages_per_s, chunks_per_s = await _crawl(built, pages)
        line("producer", pages_per_s, "pages/s", f"{chunks_per_s:.0f} chunks/s")
        line("ratio", pages_per_s / baseline.pages_per_s, "x")


async def _crawl(built: Rig, pages: int) -> tuple[float, float]:
    await built.start("producer", "control")
    started = time.perf_counter()
    await built.api.start("bench", built.definition())

    async def crawled() -> dict[str, object] | None:
        status = await built.api.status("bench")
        return status if status["crawl"]["pages_crawled"] >= pages else None

    status = await until(crawled, within_s=300, what="all pages crawled")
    seconds = time.perf_counter() - started
    chunks: int = status["metrics"]["chunks_total"]  # type: ignore[index]
    return pages / seconds, chunks / seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=600)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
