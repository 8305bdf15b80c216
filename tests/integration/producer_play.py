"""Playing control and consumer around a producer, on a real broker and with a real site on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.kafka.admin import ensure_topics
from headrace.kafka.follower import end_offset, read_span
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.state.manifest import PageFold, fold_pages
from schemas.chunks import Chunk, CrawlEnd
from schemas.codec import decode, now
from schemas.events import Event
from schemas.facts import CrawlReport
from schemas.identity import manifest_digest, page_key, partition_for
from schemas.kb import Chunking, Crawl, Definition, Embedding, GenerationState, Source, resolve
from schemas.pages import PageRecord
from tests.fakes.site import FakeSite
from tests.support.log import PlayedJob, read_all
from tests.support.services import Service
from tests.support.waiting import until

PARTITIONS = 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    ensure_topics(settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=PARTITIONS)
    return settings


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=25, min_kb=4, max_kb=20) as site:
        yield site


@pytest.fixture
def start_producer(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], Service]]:
    services: list[Service] = []

    def start() -> Service:
        services.append(Service("producer", environment, tmp_path / str(len(services))).start())
        return services[-1]

    yield start
    for service in services:
        service.close()


@pytest.fixture
def producer(settings: Settings, start_producer: Callable[[], Service]) -> Service:
    return start_producer()


@dataclass
class Job:
    """A job whose control and consumer are this test."""

    played: PlayedJob
    settings: Settings

    async def command(self, desired: str, definition: Definition | None = None) -> int:
        if definition is not None:
            self.played.definition = definition
        return await self.played.command(desired)  # type: ignore[arg-type]

    async def reported(self, state: str, *, revision: int | None = None, within_s: float = 60) -> CrawlReport:
        async def found() -> CrawlReport | None:
            wanted = revision or self.played.revision
            return next((r for r in await self.reports() if r.state == state and r.revision == wanted), None)

        return await until(found, within_s=within_s, every_s=0.2, what=f"the job reports {state}")

    async def reports(self) -> list[CrawlReport]:
        return [r for r in await read_all(self.settings, CrawlReport) if r.job_id == self.played.job_id]

    async def pages(self, *, before: int | None = None) -> dict[str, PageRecord]:
        """By URL, as every reader folds them; all, or those before an offset."""
        partition = partition_for(self.played.kb_id, PARTITIONS)
        end = await end_offset(self.settings.bootstrap_servers, "pages", partition, prefix=self.settings.topic_prefix)
        fold = PageFold(self.played.generation)
        await fold_pages(self.settings, self.played.kb_id, partition, end if before is None else before, [fold])
        return {url: each.page for url, each in fold.pages.items()}

    async def stream(self) -> list[tuple[int, Event]]:
        """The job's records on `chunks`, with their offsets."""
        where = (self.settings.bootstrap_servers, "chunks", self.played.partition)
        end = await end_offset(*where, prefix=self.settings.topic_prefix)
        span = await read_span(*where, 0, end, prefix=self.settings.topic_prefix)
        events = [(raw.offset, decode("chunks", raw.headers, raw.value)) for raw in span]
        return [(offset, e) for offset, e in events if getattr(e, "job_id", None) == self.played.job_id]

    async def chunks(self) -> list[Chunk]:
        return [event for _, event in await self.stream() if isinstance(event, Chunk)]

    async def ended(self) -> bool:
        return any(isinstance(event, CrawlEnd) for _, event in await self.stream())

    async def some_pages(self, least: int) -> int:
        async def found() -> int:
            count = len(await self.pages())
            return count if count >= least else 0

        return await until(found, what=f"{least} pages have a record")


def definition(
    *urls: str, max_pages: int = 1_000, max_depth: int | None = None, exclude: tuple[str, ...] = (), per_host: int = 8
) -> Definition:
    source = Source(
        urls=urls, max_pages=max_pages, max_depth=max_depth, exclude=exclude, allow_addresses=("127.0.0.0/8",)
    )
    return resolve(
        Definition(
            source=source,
            crawl=Crawl(concurrency_per_host=per_host),
            chunking=Chunking(),
            embedding=Embedding(provider="local"),
        ),
        openai_available=False,
    )


def page_of(title: str, *links: str) -> str:
    anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
    return f"<main><h1>{title}</h1><p>What {title} has to say.</p>{anchors}</main>"


NewJob = Callable[..., Awaitable[Job]]


@pytest.fixture
def new_job(settings: Settings, publisher: Publisher) -> NewJob:
    async def start(of: Definition, kb_id: str = "kb", **more: int) -> Job:
        job = Job(PlayedJob(settings, publisher, kb_id, of=of, **more), settings)
        await job.command("running")
        return job

    return start


async def proven(job: Job, *, epoch: int | None = None) -> CrawlEnd:
    """The last `crawl_end` (of an epoch), held against what stands on the log as the consumer does it."""
    stream = await job.stream()
    end = [e for _, e in stream if isinstance(e, CrawlEnd) and epoch in (None, e.epoch)][-1]
    pages = await job.pages(before=end.pages_end_offset)
    ids = [ref.id for page in pages.values() for ref in page.chunks]
    assert (end.pages, end.digest) == (len(pages), manifest_digest(ids))
    assert end.pages_partition == partition_for(job.played.kb_id, PARTITIONS)
    written = {e.chunk_id for _, e in stream if isinstance(e, Chunk)}
    assert {ref.id for page in pages.values() for ref in page.chunks if ref.born == job.played.generation} <= written
    return end


async def publish_generation(job: Job, publisher: Publisher, **more: Any) -> None:
    """What the consumer does at the end."""
    await tell_state(job, publisher, state="published", **more)


async def forget_pages(job: Job, publisher: Publisher, *paths: str) -> None:
    site = next(iter(await job.pages())).partition("/docs/")[0]
    for path in paths:
        key = page_key(job.played.kb_id, job.played.generation, site + path).encode()
        partition = partition_for(job.played.kb_id, PARTITIONS)
        await (await publisher.publish_raw("pages", key=key, value=None, headers=[], partition=partition))


async def tell_state(job: Job, publisher: Publisher, **more: Any) -> None:
    """The consumer's word on the generation."""
    state = GenerationState(
        kb_id=job.played.kb_id, generation=job.played.generation, job_id=job.played.job_id,
        **({"state": "open", "base": job.played.base, "collection": "C", "changed_at": now()} | more),
    )  # fmt: skip
    await publisher.send(state, partition=partition_for(job.played.kb_id, PARTITIONS))


async def ended_above(job: Job, epoch: int) -> int:
    async def found() -> int | None:
        ends = [e.epoch for _, e in await job.stream() if isinstance(e, CrawlEnd)]
        return ends[-1] if ends and ends[-1] > epoch else None

    return int(await until(found, within_s=60, every_s=0.2, what=f"a crawl_end above epoch {epoch}") or 0)
