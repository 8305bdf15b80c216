"""Pages per second of a producer with everything on, beside Scrapy, which extracts nothing, on the same site.

    python -m bench crawl_speed [--pages 1000] [--rounds 2] [FOLDER]

The site is a process on loopback with generated pages of 8 to 80 KB, or with the HTML files of a folder. The producer
keeps to robots.txt, extracts, cuts, and publishes to a real Kafka; Scrapy (in .venv-bench) keeps to robots.txt and
follows the links. Both ask with the same concurrency. They take turns, and the best round of each counts: what else the
machine does blurs both, and the processor's time less than the clock's. Scrapy has one process and so one core.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.crawl_rig import Crawled, CrawlRig, crawl_rig, definition
from bench.rig import fake_process, line, run

ROOT = Path(__file__).parent.parent
SCRAPY_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
CONCURRENCY = 8


async def benchmark(pages: int, rounds: int, folder: Path | None) -> None:
    if not SCRAPY_PYTHON.exists():
        sys.exit("Scrapy is missing: `make bench` installs it into .venv-bench")
    what = f"the pages of {folder.name}" if folder else f"{pages} pages of 8 to 80 KB"
    print(f"crawl speed: {what} on loopback, {CONCURRENCY} requests at once, rounds: {rounds}")
    with fake_process(["bench.site", "--pages", str(pages), *([str(folder)] if folder else [])]) as (url, site_pid):
        async with crawl_rig() as rig:
            scrapy, ours = [], []
            for number in range(rounds):
                scrapy.append(await asyncio.to_thread(_scrapy, url))
                ours.append(await _ours(rig, url, pages, number, site_pid))
    counts = {each["pages"] for each in scrapy} | {each.pages for each in ours}
    if len(counts) > 1 or (folder is None and counts != {pages}):
        sys.exit(f"not the same pages were read: {counts}")
    _show(min(scrapy, key=lambda each: float(each["seconds"])), min(ours, key=lambda each: each.seconds))


def _show(scrapy: dict[str, Any], ours: Crawled) -> None:
    pages = ours.pages
    theirs_per_s, ours_per_s = pages / scrapy["seconds"], pages / ours.seconds
    line("Scrapy", theirs_per_s, "pages/s", f"{pages} pages of {scrapy['bytes'] / pages / 1e3:.0f} KB")
    line("", 1e3 * scrapy["cpu_s"] / pages, "ms/page", "of processor")
    line("producer", ours_per_s, "pages/s", f"{ours.chunks / ours.seconds:.0f} chunks/s")
    parts = ", ".join(f"{name} {1e3 * spent / pages:.1f}" for name, spent in ours.cpu_s.items())
    line("", 1e3 * sum(ours.cpu_s.values()) / pages, "ms/page", f"of processor: {parts}")
    for step, mean_ms in ours.mean_ms.items():
        line(f"  {step}", mean_ms, "ms/page", "mean, as the clock goes")
    line("ratio", ours_per_s / theirs_per_s, "x")


async def _ours(rig: CrawlRig, url: str, pages: int, number: int, site_pid: int) -> Crawled:
    job = rig.job(definition(url, max_pages=2 * pages, per_host=CONCURRENCY), kb_id=f"bench-{number}")
    return await rig.crawl(job, site_pid=site_pid)


def _scrapy(url: str) -> dict[str, Any]:
    command = [str(SCRAPY_PYTHON), str(ROOT / "bench" / "scrapy_spider.py"), url, str(CONCURRENCY)]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("folder", type=Path, nargs="?")
    arguments = parser.parse_args()
    raise SystemExit(run(benchmark(arguments.pages, arguments.rounds, arguments.folder)))
