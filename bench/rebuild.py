"""Records per second from Kafka to finished answers when the projection is rebuilt, on a log as real jobs write it.

    python -m bench.rebuild [--pages 300000]

Baseline: one record at a time, decoded whole and inserted on its own, over a share of the same log. The rebuilt file
must answer as the one that was built while the log was written.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.rig import line, run
from control import questions
from control.ailments import Ailments
from control.projection import Projection
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.ports import free_ports
from headrace.embedded.progress import SilentReporter
from headrace.kafka.admin import ensure_topics
from headrace.kafka.publisher import BASE_CONFIG
from headrace.settings import Settings
from schemas.codec import decode, encode, headers_for, now
from schemas.events import Event
from schemas.facts import (
    CommandIssued,
    CrawlCounts,
    CrawlReport,
    HostRequests,
    IndexReport,
    JobFinished,
    Outcome,
    Outcomes,
    Request,
    RequestsMade,
)
from schemas.identity import chunk_id, new_job_id, partition_for
from schemas.pages import ChunkRef, PageRecord

JOBS = 6
CHUNKS_PER_PAGE, LINKS_PER_PAGE, BATCH_ENTRIES, PAGES_PER_S = 5, 20, 256, 100
PARTITIONS = 6
BASELINE_RECORDS = 3_000
PREFIX = "bench."


async def benchmark(pages: int) -> None:
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        kafka = EmbeddedKafka(directory / "kafka", Settings.from_env().cache_dir, SilentReporter(), port=port)
        kafka.start()
        try:
            ensure_topics(kafka.bootstrap_servers, prefix=PREFIX, partitions=PARTITIONS)
            await _measure(kafka.bootstrap_servers, directory, pages)
        finally:
            kafka.stop()


async def _measure(servers: str, directory: Path, pages: int) -> None:
    jobs = [(f"kb-{n}", new_job_id()) for n in range(JOBS)]
    incremental = await _projection(servers, directory / "incremental.duckdb")
    records = await asyncio.to_thread(_fill, servers, jobs, pages // JOBS)
    await incremental.catch_up()
    expected = await _answers(incremental, jobs)
    await incremental.stop()
    print(
        f"rebuild: {records} records of {JOBS} jobs; a page names {CHUNKS_PER_PAGE} chunks and {LINKS_PER_PAGE} links"
    )
    baseline = await asyncio.to_thread(_one_by_one, servers, directory / "baseline.duckdb")
    line("one record at a time", baseline, "records/s", f"{BASELINE_RECORDS} records")

    began, used = time.perf_counter(), time.process_time()
    rebuilt = await _projection(servers, directory / "rebuilt.duckdb")
    await rebuilt.catch_up()
    answered = await _answers(rebuilt, jobs)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    rows = await rebuilt.read(_rows)
    await rebuilt.stop()
    line("projection", records / seconds, "records/s", f"{seconds:.1f} s, answers included")
    line("", rows / seconds, "rows/s", f"{rows} rows")
    line("", 1e6 * used / records, "us/record", "processor time of this process, all threads")
    line("ratio", records / seconds / baseline, "x")
    if answered != expected:
        raise SystemExit(f"the answers differ:\n{expected}\n{answered}")
    print(
        f"  told, tally, pages and hosts of each job equal those of the file that grew with the log ({answered[0][1]})"
    )


async def _projection(servers: str, path: Path) -> Projection:
    projection = Projection(path, on_applied=lambda _: None, ailments=Ailments(lambda: None))
    await projection.open()
    await projection.start(servers, prefix=PREFIX, log_identity="bench")
    return projection


async def _answers(projection: Projection, jobs: list[tuple[str, str]]) -> list[Any]:
    def ask(cursor: duckdb.DuckDBPyConnection) -> list[Any]:
        return [
            (
                questions.told(cursor, job_id),
                questions.tally(cursor, job_id, 1, None),
                questions.page_rows(cursor, job_id, state=None, after=None, limit=1_000),
                questions.hosts(cursor, job_id),
            )
            for _, job_id in jobs
        ]

    return await projection.read(ask)


def _rows(cursor: duckdb.DuckDBPyConnection) -> int:
    found = cursor.execute("SELECT sum(estimated_size) FROM duckdb_tables()").fetchone()
    return int(found[0]) if found else 0


def _fill(servers: str, jobs: list[tuple[str, str]], pages: int) -> int:
    """Writes the jobs side by side, as they would run; gives the number of records."""
    config = {"bootstrap.servers": servers, "queue.buffering.max.messages": 1_000_000}
    producer, records = Producer(BASE_CONFIG | config), 0
    writing = [_job(kb_id, job_id, pages) for kb_id, job_id in jobs]
    while writing:
        for job in list(writing):
            event = next(job, None)
            if event is None:
                writing.remove(job)
                continue
            partition = partition_for(getattr(event, "kb_id" if event.TOPIC == "pages" else "job_id"), PARTITIONS)
            _produce(producer, event, partition)
            records += 1
    producer.flush()
    return records


def _produce(producer: Producer, event: Event, partition: int) -> None:
    value, headers = encode(event), headers_for(event, "bench/host-1")
    while True:
        try:
            producer.produce(PREFIX + event.TOPIC, value, event.key().encode(), partition, headers=list(headers))
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.1)


def _job(kb_id: str, job_id: str, pages: int) -> Iterator[Event]:
    """All that one job's services tell, in the order they would."""
    job: dict[str, Any] = {"kb_id": kb_id, "job_id": job_id, "generation": 1}
    yield CommandIssued(**job, action="start", desired="running", revision=1, issued_at=now(), issued_by="bench")
    yield IndexReport(**job, state="running", revision=1, group_generation=1, worker="w", reported_at=now())
    pending: list[Outcome] = []
    for n in range(pages):
        page = _page(job, n)
        yield page
        pending += [Outcome(offset=0, type="chunk", result="indexed", chunk_id=ref.id) for ref in page.chunks]
        pending.append(Outcome(offset=0, type="page_end", result="done"))
        if len(pending) >= BATCH_ENTRIES:
            yield _outcomes(job, pending[:BATCH_ENTRIES])
            pending = pending[BATCH_ENTRIES:]
        if n % PAGES_PER_S == 0:
            yield _report(job, "crawling", n)
            yield _requests(job, range(n, min(n + PAGES_PER_S, pages)))
    yield _outcomes(job, [*pending, Outcome(offset=0, type="crawl_end", result="done")])
    yield _report(job, "finished", pages)
    yield JobFinished(**job, outcome="completed", pages=pages, finished_at=now())


def _url(n: int) -> str:
    return f"https://docs.example.org/3/library/module-{n}/page.html"


def _page(job: dict[str, Any], n: int) -> PageRecord:
    ids = [chunk_id(job["kb_id"], 1, f"{n} {ordinal}") for ordinal in range(CHUNKS_PER_PAGE)]
    return PageRecord(
        **job, epoch=0, attempt=1, url=_url(n), state="fetched", status=200, depth=3, discovered_from=_url(n // 20),
        title=f"Module {n} of the library", content_type="text/html; charset=utf-8", etag=f'"{n}"',
        content_hash=f"{n:064x}", bytes=48_000, duration_ms=120, page_end_offset=n,
        chunks=tuple(ChunkRef(each, 1) for each in ids), links=tuple(_url(n + k) for k in range(LINKS_PER_PAGE)),
        fetched_at=now(),
    )  # fmt: skip


def _outcomes(job: dict[str, Any], entries: list[Outcome]) -> Outcomes:
    return Outcomes(
        **job, partition=0, group_generation=1, worker="consumer/host-1", entries=tuple(entries),
        texts_embedded=len(entries), tokens_embedded=300 * len(entries), calls=1, decided_at=now(),
    )  # fmt: skip


def _requests(job: dict[str, Any], numbers: range) -> RequestsMade:
    made = tuple(
        Request(at=now(), url=_url(n), purpose="page", status=200, bytes=48_000, duration_ms=120 + n % 50)
        for n in numbers
    )
    host = HostRequests(host="docs.example.org", robots="found", concurrency=8, requests=made)
    return RequestsMade(**job, epoch=0, owner="p", hosts=(host,), reported_at=now())


def _report(job: dict[str, Any], state: Any, pages: int) -> CrawlReport:
    counts = CrawlCounts(pages_crawled=pages, chunks_published=pages * CHUNKS_PER_PAGE)
    return CrawlReport(**job, state=state, revision=1, epoch=0, counts=counts, owner="p", reported_at=now())


def _one_by_one(servers: str, path: Path) -> float:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(f"{PREFIX}pages", partition, 0) for partition in range(PARTITIONS)])
    connection = duckdb.connect(str(path))
    connection.execute("CREATE TABLE pages (url VARCHAR, state VARCHAR); CREATE TABLE chunks (url VARCHAR, id VARCHAR)")
    began, records = time.perf_counter(), 0
    while records < BASELINE_RECORDS:
        message = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        headers: Any = message.headers()
        page: Any = decode("pages", headers, message.value())
        connection.execute("INSERT INTO pages VALUES (?, ?)", (page.url, page.state))
        connection.executemany("INSERT INTO chunks VALUES (?, ?)", [(page.url, ref.id) for ref in page.chunks])
        records += 1
    rate = records / (time.perf_counter() - began)
    connection.close()
    consumer.close()
    return rate


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=300_000)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
