"""Whole crawls of a site on loopback, with a log in memory in place of Kafka."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from headrace.settings import Settings
from producer import epoch
from producer.base import Ground
from producer.checkpoint import Manifest
from producer.crawl import Crawl
from producer.epoch import Ending
from producer.metrics import Metrics
from producer.report import Reports
from producer.tools import Tools
from producer.work import ContentPool, PageInput, PageOutput, process_page
from schemas.chunks import Chunk, CrawlEnd
from schemas.codec import encode
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.kb import Definition, Source, resolve
from schemas.pages import PageRecord


class HerePool(ContentPool):
    async def process(self, page: PageInput) -> PageOutput:
        return process_page(page)


class MemoryLog:
    """Every event in the order in which it came, and the manifests that they make."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lost: set[int] = set()
        """Offsets of records that readers don't see. Those behind them stay where they are, as on Kafka."""

    async def publish(self, event: Event, *, partition: int) -> Any:
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        encode(event)  # as a publisher does
        self.events.append(event)
        future.set_result(Place(partition, len(self.events)))
        return future

    async def send(self, event: Event, *, partition: int) -> Place:
        place: Place = (await self.publish(event, partition=partition)).result()
        return place

    def manifest(self, generation: int, whole: bool = False) -> Manifest:
        manifest = Manifest(generation, end=len(self.events) + 1, keep_whole=whole)
        for offset, event in enumerate(self.events, 1):
            if isinstance(event, PageRecord) and event.generation == generation and offset not in self.lost:
                manifest.fold(offset, event)
        return manifest


class Play:
    """Generations of one knowledge base; `crawl` runs one epoch to its end, over what the log holds."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *urls: str,
        log: MemoryLog | None = None,
        asked_by: str | None = None,
        **source: Any,
    ) -> None:
        self.log, self.generation, self.asked_by = log or MemoryLog(), 1, asked_by
        self.definition = Definition(source=Source(urls=urls, allow_addresses=("127.0.0.0/8",), **source))
        self._patch(monkeypatch)

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        log = self.log

        class MemoryCheckpoint:
            def __init__(self, *_: Any) -> None: ...

            async def read(self, *generations: int, whole: bool = False) -> list[Manifest]:
                return [log.manifest(each, whole) for each in generations]

        monkeypatch.setattr(epoch, "Checkpoint", MemoryCheckpoint)
        monkeypatch.setattr("producer.visit.BACK_OFF_S", (0.01, 0.01))
        monkeypatch.setattr("producer.robots.BACK_OFF_S", (0.01, 0.01))
        monkeypatch.setattr("producer.hosts.FIRST_BACK_OFF_S", 0.01)

    def new(self) -> Crawl:
        definition = resolve(self.definition, openai_available=False)
        base = self.generation - 1 or None
        command = JobCommand(
            job_id=f"job-{self.generation}", kb_id="kb", generation=self.generation, base=base, partition=0,
            desired="running", revision=1, definition=definition, issued_at="t", issued_by="test",
        )  # fmt: skip
        reports = Reports(self.log, "test")  # type: ignore[arg-type]
        tools = Tools(Settings(), self.log, HerePool(1), reports, Metrics(), 1)  # type: ignore[arg-type]

        async def ground() -> Ground:
            return Ground(definition)

        return Crawl(command, tools, ground, self.asked_by)

    async def crawl(self) -> Ending:
        ending = await self.new().run()
        assert ending is not None
        assert ending.counts.pages_queued == 0
        return ending

    async def refresh(self) -> Ending:
        self.generation += 1
        return await self.crawl()

    @property
    def pages(self) -> dict[str, PageRecord]:
        """Of the newest generation, by path and query."""
        whole = self.log.manifest(self.generation, whole=True).whole
        return {"/" + page.url.split("/", 3)[3]: page for page in whole.values()}

    @property
    def end(self) -> CrawlEnd:
        return [event for event in self.log.events if isinstance(event, CrawlEnd)][-1]

    @property
    def states(self) -> dict[str, str]:
        return {path: page.state for path, page in self.pages.items()}

    def texts(self) -> set[str]:
        """All that a search sees at the newest generation."""
        named = self.log.manifest(self.generation).named()
        return {event.text for event in self.log.events if isinstance(event, Chunk) and event.chunk_id in named}

    def forget(self, paths: Iterable[str]) -> None:
        """The log as if these pages had never been recorded: a crash in the middle of the crawl."""
        self.log.lost |= {
            offset
            for offset, event in enumerate(self.log.events, 1)
            if isinstance(event, PageRecord) and "/" + event.url.split("/", 3)[3] in set(paths)
        }


def article(subject: str, *links: str, head: str = "") -> str:
    """A page that is long enough not to be taken for empty."""
    text = f"This page is all about {subject}. " * 12
    anchors = "".join(f'<a href="{link}">to {link}</a> ' for link in links)
    title = f"<title>{subject}</title>"
    return (
        f"<html><head>{title}{head}</head><body><nav>{anchors}</nav><main><h1>{subject}</h1><p>{text}</p></main></body>"
    )


def canonical(url: str) -> str:
    return f'<link rel="canonical" href="{url}">'
