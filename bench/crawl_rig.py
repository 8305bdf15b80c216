"""One producer, its Kafka and its site, each a process, for crawls without anyone who indexes."""

import asyncio
import re
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.ports import free_ports
from headrace.embedded.progress import SilentReporter
from headrace.kafka.admin import ensure_topics
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.codec import decode, now
from schemas.facts import CrawlReport
from schemas.identity import partition_for
from schemas.kb import Chunking, Crawl, Definition, Embedding, GenerationState, Source, resolve
from tests.support.log import PlayedJob
from tests.support.services import Service

PARTITIONS = 3
PREFIX = "bench."
KB_ID = "bench"


@dataclass(frozen=True)
class Sample:
    """One look at the producer: seconds since the command, MB resident, pages recorded, URLs that wait."""

    at_s: float
    main_mb: float
    workers_mb: float
    pages: int
    queued: int


@dataclass
class Crawled:
    """`cpu_s`: processor time by process; `mean_ms`: by step."""

    pages: int
    chunks: int
    seconds: float
    first_page_s: float
    cpu_s: dict[str, float]
    mean_ms: dict[str, float]
    samples: list[Sample] = field(default_factory=list)


class CrawlRig:
    def __init__(self, kafka: EmbeddedKafka, directory: Path) -> None:
        (self._health_port,) = free_ports(1)
        self.kafka = kafka
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "HEADRACE_TOPIC_PREFIX": PREFIX,
            "HEADRACE_PARTITIONS": str(PARTITIONS),
            "HEADRACE_DATA_DIR": str(directory / "data"),
            "HEADRACE_PRODUCER_HEALTH_PORT": str(self._health_port),
            "HEADRACE_LOG_LEVEL": "WARNING",
        }
        self.settings = Settings.from_env(self.environment)
        self.producer = Service("producer", self.environment, directory)
        self.publisher = Publisher(kafka.bootstrap_servers, prefix=PREFIX, source="bench")
        self._reports: dict[str, CrawlReport] = {}
        self._follower = Follower(kafka.bootstrap_servers, {"events": self._told}, prefix=PREFIX)

    async def start(self) -> None:
        ensure_topics(self.kafka.bootstrap_servers, prefix=PREFIX, partitions=PARTITIONS)
        await self.publisher.start()
        self._follower.start()
        self.producer.start()
        await asyncio.to_thread(self._healthy)

    async def close(self) -> None:
        self.producer.close()
        await self._follower.stop()
        await self.publisher.stop()

    def job(self, of: Definition, *, generation: int = 1, base: int | None = None, kb_id: str = KB_ID) -> PlayedJob:
        return PlayedJob(self.settings, self.publisher, kb_id, generation=generation, base=base, of=of)

    async def crawl(
        self, job: PlayedJob, *, site_pid: int | None = None, sample_every_s: float = 5.0, within_s: float = 3_600
    ) -> Crawled:
        """From the command to `finished`. Raises AssertionError where the crawl fails or does not end in time."""
        before, times = self._cpu(site_pid), self._sums()
        started, first_page_s = time.perf_counter(), 0.0
        samples: list[Sample] = []
        await job.command("running")
        while (report := self._report(job)) is None or report.state == "crawling":
            await asyncio.sleep(0.05)
            seconds = time.perf_counter() - started
            assert self.producer.alive, self.producer.said()
            assert seconds < within_s, f"not crawled within {within_s:.0f} s: {report}"
            if report is not None and not first_page_s and report.counts.pages_crawled:
                first_page_s = seconds
            if not samples or seconds - samples[-1].at_s >= sample_every_s:
                samples.append(self._sample(seconds, report))
        assert report.state == "finished", report.reason
        seconds = time.perf_counter() - started
        samples.append(self._sample(seconds, report))
        cpu_s = {name: spent - before.get(name, 0.0) for name, spent in self._cpu(site_pid).items()}
        counts = report.counts
        return Crawled(
            counts.pages_crawled, counts.chunks_published, seconds, first_page_s, cpu_s,
            _means(times, self._sums()), samples,
        )  # fmt: skip

    async def publish(self, job: PlayedJob) -> None:
        """What the consumer tells once the generation is indexed: it can be base of the next."""
        state = GenerationState(
            kb_id=job.kb_id, generation=job.generation, job_id=job.job_id, state="published", base=job.base,
            collection="C", changed_at=now(),
        )  # fmt: skip
        await self.publisher.send(state, partition=partition_for(job.kb_id, PARTITIONS))

    def _told(self, raw: RawRecord) -> None:
        event = decode("events", raw.headers, raw.value)
        if isinstance(event, CrawlReport):
            self._reports[event.job_id] = event

    def _report(self, job: PlayedJob) -> CrawlReport | None:
        return self._reports.get(job.job_id)

    def _sample(self, at_s: float, report: CrawlReport | None) -> Sample:
        main = psutil.Process(self.producer.pid)
        workers = sum(_rss(each) for each in main.children(recursive=True))
        pages, queued = (report.counts.pages_crawled, report.counts.pages_queued) if report else (0, 0)
        return Sample(at_s, main.memory_info().rss / 1e6, workers / 1e6, pages, queued)

    def _cpu(self, site_pid: int | None) -> dict[str, float]:
        main = psutil.Process(self.producer.pid)
        spent = {"main": _cpu_s(main), "workers": sum(_cpu_s(each) for each in main.children(recursive=True))}
        for name, pid in (("Kafka", self.kafka.pid), ("site", site_pid)):
            if pid is not None:
                spent[name] = _cpu_s(psutil.Process(pid))
        return spent

    def _healthy(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._get("/healthz") and None
            except OSError:
                assert time.monotonic() < deadline and self.producer.alive, self.producer.said()
                time.sleep(0.1)

    def _sums(self) -> dict[str, float]:
        lines = self._get("/metrics").splitlines()
        found = (re.fullmatch(r"headrace_producer_(\w+_(?:sum|count)) (\S+)", each) for each in lines)
        return {each[1]: float(each[2]) for each in found if each}

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._health_port}{path}", timeout=10) as answer:
            return str(answer.read().decode())


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _means(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    steps = [name.removesuffix("_seconds_count") for name in grown if name.endswith("_seconds_count")]
    return {
        step: 1e3 * grown[f"{step}_seconds_sum"] / count if (count := grown[f"{step}_seconds_count"]) else 0.0
        for step in steps
    }


def definition(url: str, *, max_pages: int, per_host: int = 8) -> Definition:
    source = Source(urls=(url,), max_pages=max_pages, allow_addresses=("127.0.0.0/8",))
    crawl, embedding = (
        Crawl(concurrency_per_host=per_host),
        Embedding(provider="openai", model="text-embedding-3-small"),
    )
    of = Definition(source=source, crawl=crawl, chunking=Chunking(), embedding=embedding)
    return resolve(of, openai_available=True)


@asynccontextmanager
async def crawl_rig() -> AsyncIterator[CrawlRig]:
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        kafka = EmbeddedKafka(directory / "kafka", Settings.from_env().cache_dir, SilentReporter(), port=port)
        await asyncio.to_thread(kafka.start)
        rig = CrawlRig(kafka, directory)
        try:
            await rig.start()
            yield rig
        finally:
            await rig.close()
            await asyncio.to_thread(kafka.stop)
