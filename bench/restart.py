"""How long a producer takes to go on with a crawl of many visited pages: from its `crawl_begin` to the first request.

    python -m bench restart [--pages 100000] [--refresh]

The records stand on a real Kafka, each with 50 links and 5 chunks. --refresh: the crawl is one on top of so many pages
of the generation before, and has visited half of them. Baseline: reading and decoding the records, nothing else.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from datetime import datetime

import psutil
from confluent_kafka import Producer

from bench.crawl_rig import PARTITIONS, PREFIX, CrawlRig, crawl_rig, definition
from bench.rig import line, run
from bench.site import Body, large, linked, listen
from headrace.embedded.ports import free_ports
from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.publisher import BASE_CONFIG
from schemas.chunks import CrawlBegin
from schemas.codec import decode, encode, headers_for, now
from schemas.identity import chunk_id, partition_for
from schemas.pages import ChunkRef, PageRecord, PageState
from tests.fakes.site_pages import path_of
from tests.support.log import PlayedJob
from tests.support.waiting import until

CHUNKS_PER_PAGE = 5
LEFT = 100
"""Pages that the first epoch had not come to."""


async def benchmark(pages: int, refresh: bool) -> None:
    (port,) = free_ports(1)
    root = f"http://127.0.0.1:{port}"
    asked_at: list[float] = []
    server = await listen(port, _noting(large(pages + LEFT), asked_at))
    async with crawl_rig() as rig:
        of = definition(root + path_of(0), max_pages=2 * pages)
        job = rig.job(of)
        await job.begin()
        records = size = 0
        for visited in (pages, pages // 2) if refresh else (pages,):
            if records:
                await rig.publish(job)
                job = rig.job(of, generation=2, base=1)
                await job.begin()
            size += await asyncio.to_thread(_fill, rig, job, root, visited)
            records += visited
        above = f", {pages // 2} of them visited again" if refresh else ""
        print(f"restart: {pages} visited pages with 50 links each{above}; {size / 1e6:.0f} MB of records")
        decoded_s = await _decoded(rig, job)
        line("reading and decoding the records", decoded_s, "s", f"{records / decoded_s:.0f} records/s")
        main = psutil.Process(rig.producer.pid)
        before_mb = main.memory_info().rss / 1e6
        await job.command("running")
        ready_s = await _ready(rig, job, asked_at)
        line("crawl_begin to the first request", ready_s, "s", f"{records / ready_s:.0f} records/s")
        line("ratio", ready_s / decoded_s, "x")
        line("memory", main.memory_info().rss / 1e6, "MB", f"{before_mb:.0f} MB before")
    server.close()


def _noting(body: Body, asked_at: list[float]) -> Body:
    def noted(path: str) -> bytes | None:
        asked_at.append(time.time())
        return body(path)

    return noted


async def _decoded(rig: CrawlRig, job: PlayedJob) -> float:
    partition, servers = partition_for(job.kb_id, PARTITIONS), rig.kafka.bootstrap_servers
    started = time.perf_counter()
    end = await end_offset(servers, "pages", partition, prefix=PREFIX)
    async for raw in stream_span(servers, "pages", partition, 0, end, prefix=PREFIX):
        decode("pages", raw.headers, raw.value)
    return time.perf_counter() - started


async def _ready(rig: CrawlRig, job: PlayedJob, asked_at: list[float]) -> float:
    async def asked() -> bool:
        return bool(asked_at)

    await until(asked, within_s=300, what="a page is asked for")
    servers = rig.kafka.bootstrap_servers
    end = await end_offset(servers, "chunks", job.partition, prefix=PREFIX)
    span = stream_span(servers, "chunks", job.partition, 0, end, prefix=PREFIX)
    begun = [event async for raw in span if isinstance(event := decode("chunks", raw.headers, raw.value), CrawlBegin)]
    return asked_at[0] - datetime.fromisoformat(begun[-1].began_at).timestamp()


def _fill(rig: CrawlRig, job: PlayedJob, root: str, pages: int) -> int:
    """Bytes of the records."""
    config = {"bootstrap.servers": rig.kafka.bootstrap_servers, "queue.buffering.max.messages": 1_000_000}
    producer, size, partition = Producer(BASE_CONFIG | config), 0, partition_for(job.kb_id, PARTITIONS)
    for page in _records(job, root, pages):
        value = encode(page)
        size += len(value)
        headers = list(headers_for(page, "bench"))
        while True:
            try:
                producer.produce(PREFIX + "pages", value, page.key().encode(), partition, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    return size


def _records(job: PlayedJob, root: str, pages: int) -> Iterator[PageRecord]:
    state: PageState = "fetched" if job.generation == 1 else "unchanged"
    for number in range(pages):
        ids = [chunk_id(job.kb_id, 1, f"{number} {ordinal}") for ordinal in range(CHUNKS_PER_PAGE)]
        yield PageRecord(
            kb_id=job.kb_id, job_id=job.job_id, generation=job.generation, epoch=job.epoch, attempt=1,
            url=root + path_of(number), state=state, status=200, depth=len(str(number)),
            discovered_from=root + path_of(number // 10),
            title=f"Page {number}", content_type="text/html; charset=utf-8", etag=f'"{number}"',
            content_hash=f"{number:064x}", bytes=10_000, duration_ms=5, chunks=tuple(ChunkRef(each, 1) for each in ids),
            links=tuple(dict.fromkeys(root + path_of(other) for other in linked(pages + LEFT, number))),
            page_end_offset=number + 1, language="en", fetched_at=now(),
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--refresh", action="store_true")
    arguments = parser.parse_args()
    raise SystemExit(run(benchmark(arguments.pages, arguments.refresh)))
