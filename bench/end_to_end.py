"""From the POST to a published, searchable knowledge base, against a fake OpenAI API (300 ms, 1,536 dimensions).

    python -m bench.end_to_end [--pages 200]

Baseline: a sequential loop over the same site: fetch, readability-lxml, embed ten, write ten.
"""

import argparse
import time

from bench import sequential
from bench.rig import line, rig, run


async def benchmark(pages: int) -> None:
    async with rig(pages) as built:
        print(f"end to end: {pages} pages of 40-100 KB, all services and servers on two cores")
        baseline = await sequential.crawl_and_index(
            built.settings, built.openai_url, built.site_url, max(10, pages // 10)
        )
        line("sequential loop", baseline.pages_per_s, "pages/s", f"{baseline.chunks_per_s:.1f} chunks/s")
        await built.start()
        started = time.perf_counter()
        await built.api.start("bench", built.definition())
        await built.api.until_metric("bench", "chunks_processed", 1)
        line("POST to first chunk searchable", time.perf_counter() - started, "s")
        done = await built.api.until_status("bench", "completed", within_s=600)
        seconds = time.perf_counter() - started
        chunks = done["metrics"]["chunks_processed"]
        line("POST to published", seconds, "s", f"{chunks} chunks")
        line("headrace", pages / seconds, "pages/s", f"{chunks / seconds:.0f} chunks/s")
        line("ratio, pages", pages / seconds / baseline.pages_per_s, "x")
        line("ratio, chunks", chunks / seconds / baseline.chunks_per_s, "x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
