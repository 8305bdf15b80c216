"""A large generated site crawled to its end, with what the producer's memory does meanwhile.

    python -m bench crawl_large [--pages 10000] [--refresh]

Pages of about 10 KB with 50 links each, made on request by a process of its own on loopback; robots.txt, extraction,
cutting, publication to a real Kafka. --refresh: then once more on top of it, when every page answers "not modified".
Memory is resident memory of the producer's main process. Baseline: what it takes before the first page.
"""

import argparse
from collections.abc import Sequence

from bench.crawl_rig import Crawled, Sample, crawl_rig, definition
from bench.rig import fake_process, line, run

ROWS = 24
BAR = 40


async def benchmark(pages: int, refresh: bool, per_host: int) -> None:
    print(f"crawl large: {pages} pages of about 10 KB with 50 links each, {per_host} requests at once")
    with fake_process(["bench.site", "--kind", "large", "--pages", str(pages)]) as (url, site_pid):
        of = definition(url, max_pages=pages, per_host=per_host)
        async with crawl_rig() as rig:
            job = rig.job(of)
            crawled = await rig.crawl(job, site_pid=site_pid)
            _show("crawl", crawled)
            if refresh:
                await rig.publish(job)
                again = await rig.crawl(rig.job(of, generation=2, base=1), site_pid=site_pid)
                _show("refresh", again)


def _show(what: str, crawled: Crawled) -> None:
    samples = crawled.samples
    peak, before = max(each.main_mb for each in samples), samples[0].main_mb
    print(f"  {what}:  seconds    pages  waiting   main MB  workers MB")
    for each in _thinned(samples):
        bar = "#" * round(BAR * each.main_mb / peak)
        row = f"{each.at_s:10.0f} {each.pages:8d} {each.queued:8d} {each.main_mb:9.0f} {each.workers_mb:11.0f}"
        print(f"{' ' * (len(what) + 3)} {row}  {bar}")
    line(what, crawled.pages / crawled.seconds, "pages/s", f"{crawled.pages} pages, {crawled.chunks} chunks")
    line("memory before", before, "MB")
    line("memory at most", peak, "MB")
    line("ratio", peak / before, "x", f"{1e3 * (peak - before) / crawled.pages:.1f} KB a page")
    parts = ", ".join(f"{name} {1e3 * spent / crawled.pages:.1f}" for name, spent in crawled.cpu_s.items())
    line("processor", 1e3 * sum(crawled.cpu_s.values()) / crawled.pages, "ms/page", parts)


def _thinned(samples: Sequence[Sample]) -> list[Sample]:
    step = max(1, -(-len(samples) // ROWS))
    return [*samples[:-1:step], samples[-1]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--refresh", action="store_true")
    parser.add_argument("--per-host", type=int, default=8)
    arguments = parser.parse_args()
    raise SystemExit(run(benchmark(arguments.pages, arguments.refresh, arguments.per_host)))
