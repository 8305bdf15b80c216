"""A fault in each gap of the numbered protocols of `producer/crawl.py` and `producer/publication.py`.

Owners run in this process, on the real broker: one dies or sleeps at the point that is tested, another takes over. What
counts is read from the log, as the consumer reads it.
"""
# ruff: noqa: F401, F811 - fixtures are shared by importing them

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from producer.base import Ground
from producer.crawl import PAGES_IN_FLIGHT, Crawl
from producer.epoch import Ending
from producer.metrics import Metrics
from producer.report import Reports
from producer.tools import Tools
from producer.work import ContentPool, PageInput, PageOutput, process_page
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd, PageEnd
from schemas.events import Event, Place
from schemas.kb import Definition
from schemas.pages import PageRecord
from tests.fakes.site import FakeSite
from tests.integration.producer_play import PARTITIONS, Job, definition, proven, settings, site
from tests.support.log import PlayedJob

Point = Callable[[Event], bool]


class Killed(Exception):
    """The process is no more."""


class Mortal(Publisher):
    """Hands on what an owner writes until the event at which it dies, or sleeps until it is woken.

    `before`: that event does not reach the log; `after`: it does, and nobody learns of it.
    """

    def __init__(
        self, settings: Settings, *, before: Point | None = None, after: Point | None = None, sleeps: bool = False
    ) -> None:
        super().__init__(settings.bootstrap_servers, prefix=settings.topic_prefix, source="owner")
        self._before, self._after, self._sleeps = before, after, sleeps
        self._dead, self.asleep, self._awake = False, asyncio.Event(), asyncio.Event()

    def wake(self) -> None:
        self._awake.set()

    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        if self._before is not None and not self._dead and self._before(event):
            await self._fall()
        await self._must_live()
        future = await super().publish(event, partition=partition)
        if self._after is not None and self._after(event):
            await future
            await self._fall()
            await self._must_live()
        return future

    async def _fall(self) -> None:
        self._dead = not self._sleeps
        self.asleep.set()

    async def _must_live(self) -> None:
        if self._dead:
            raise Killed
        if self.asleep.is_set():
            await self._awake.wait()


class HerePool(ContentPool):
    """Reads pages in this process: nothing of it is under test, and processes take seconds to start."""

    async def start(self) -> None:
        pass

    async def process(self, page: PageInput) -> PageOutput:
        return await asyncio.to_thread(process_page, page)


@dataclass
class Owners:
    """Producers of one job, one after the other, and what they leave on the log."""

    settings: Settings
    job: Job
    started: list[Publisher] = field(default_factory=list)
    definition: Definition | None = None

    async def crawl(self, publisher: Publisher | None = None) -> Ending | None:
        """A whole epoch, or until its owner dies."""
        publisher = publisher or Mortal(self.settings)
        await publisher.start()
        self.started.append(publisher)
        tools = Tools(
            self.settings, publisher, HerePool(1), Reports(publisher, "owner"), Metrics(), PARTITIONS
        )  # fmt: skip
        return await Crawl(self.job.played.newest, tools, self._ground).run()

    async def die(self, **where: Point) -> None:
        with pytest.raises(Killed):
            await self.crawl(Mortal(self.settings, **where))

    def sleeper(self, **where: Point) -> Mortal:
        """For `crawl`: falls asleep at a point, instead of dying."""
        return Mortal(self.settings, **where, sleeps=True)

    async def _ground(self) -> Ground:
        return Ground(self.definition or self.job.played.definition)

    async def effective(self) -> list[tuple[int, Event]]:
        """The stream without what a newer owner's `crawl_begin` made stale."""
        stream = await self.job.stream()
        begins = [offset for offset, event in stream if isinstance(event, CrawlBegin)]
        return [
            (offset, event) for offset, event in stream
            if not any(getattr(event, "epoch", offset) < begin < offset for begin in begins)
        ]  # fmt: skip

    async def prove(self, pages: int) -> CrawlEnd:
        """The manifest equals what the log holds, no page is lost, one `crawl_end` counts per epoch."""
        effective = await self.effective()
        ends = Counter(event.epoch for _, event in effective if isinstance(event, CrawlEnd))
        assert set(ends.values()) == {1}
        end = await proven(self.job, epoch=max(ends))
        assert (end.pages, end.errors, end.failure) == (pages, 0, None)
        written = {event.chunk_id for _, event in effective if isinstance(event, Chunk)}
        manifest = await self.job.pages(before=end.pages_end_offset)
        own = {ref.id for page in manifest.values() for ref in page.chunks if ref.born == self.job.played.generation}
        assert own <= written
        return end


@pytest.fixture
async def owners(settings: Settings, publisher: Publisher, site: FakeSite) -> AsyncIterator[Owners]:
    job = Job(PlayedJob(settings, publisher, "kb", of=definition(site.url)), settings)
    await job.command("running")
    owners = Owners(settings, job)
    yield owners
    for each in owners.started:
        await each.stop()


def nth(kind: type[Event], number: int, which: Callable[[Any], bool] = lambda event: True) -> Point:
    """The `number`th event of a kind, from 1."""
    seen = 0

    def reached(event: Event) -> bool:
        nonlocal seen
        seen += isinstance(event, kind) and which(event)
        return isinstance(event, kind) and which(event) and seen == number

    return reached


GAPS: dict[str, Callable[[], dict[str, Point]]] = {
    "crawl 1-2: after crawl_begin": lambda: {"after": nth(CrawlBegin, 1)},
    "publication 1-2: after some chunks": lambda: {"after": nth(Chunk, 20)},
    "publication 1-2: all chunks, no page_end": lambda: {"before": nth(PageEnd, 5)},
    "publication 2-3: page_end, its report not seen": lambda: {"after": nth(PageEnd, 5)},
    "publication 3-4: no record": lambda: {"before": nth(PageRecord, 5)},
    "publication 4-5: record, not counted": lambda: {"after": nth(PageRecord, 5)},
    "crawl 5-6: no crawl_end": lambda: {"before": nth(CrawlEnd, 1)},
    "crawl 6: crawl_end, nobody told": lambda: {"after": nth(CrawlEnd, 1)},
}


@pytest.mark.parametrize("gap", GAPS)
async def test_the_next_owner_completes_what_one_left_at_any_point(gap: str, owners: Owners, site: FakeSite) -> None:
    await owners.die(**GAPS[gap]())
    recorded = {url.removeprefix(site.root) for url in await owners.job.pages()}
    site.forget()
    ending = await owners.crawl()
    end = await owners.prove(25)
    assert ending is not None
    assert ending.epoch == end.epoch
    assert not recorded & set(+site.fetched), "a page with a record is never fetched again"
    assert ending.counts.pages_crawled == 25


async def test_owners_that_die_one_after_the_other_lose_nothing(owners: Owners, site: FakeSite) -> None:
    """At every point in turn, the last time in a crawl whose pages have all been recorded already."""
    for gap in GAPS.values():
        await owners.die(**gap())
    await owners.crawl()
    await owners.prove(25)
    twice = sum(times - 1 for path, times in site.fetched.items() if path in site.paths and times > 1)
    assert twice <= PAGES_IN_FLIGHT * len(GAPS)


async def test_a_kill_costs_no_more_than_the_pages_in_flight(owners: Owners, site: FakeSite) -> None:
    site.latency_s = 0.05
    await owners.die(before=nth(PageRecord, 12))
    recorded = await owners.job.pages()
    first = +site.fetched
    await owners.crawl()
    again = {path for path, times in site.fetched.items() if times > 1 and path in site.paths}
    assert not again & {url.removeprefix(site.root) for url in recorded}
    assert len(again) <= min(PAGES_IN_FLIGHT, sum(first.values()) - len(recorded))
    await owners.prove(25)


REFRESH_GAPS: dict[str, Callable[[], dict[str, Point]]] = {
    "crawl 3-4: nothing accounted for": lambda: {"before": nth(PageRecord, 1, lambda page: page.attempt == 0)},
    "crawl 4: some accounted for": lambda: {"after": nth(PageRecord, 2, lambda page: page.attempt == 0)},
    "crawl 4-6: all accounted for": lambda: {"before": nth(CrawlEnd, 1)},
    "crawl 6: crawl_end, nobody told": lambda: {"after": nth(CrawlEnd, 1)},
}


@pytest.mark.parametrize("gap", REFRESH_GAPS)
async def test_pages_of_base_are_accounted_for_by_the_next_owner(
    gap: str, owners: Owners, site: FakeSite, publisher: Publisher
) -> None:
    """Three pages are out of scope now; all others stay."""
    await owners.crawl()
    before = await owners.job.pages()
    narrow = definition(site.url, exclude=("**/part-3/**",))
    job = Job(PlayedJob(owners.settings, publisher, "kb", of=narrow, generation=2, base=1), owners.settings)
    await job.command("running")
    refresh = Owners(owners.settings, job, owners.started, definition=owners.job.played.definition)
    await refresh.die(**REFRESH_GAPS[gap]())
    await refresh.crawl()
    end = await refresh.prove(25)
    after = await job.pages()
    outside = {url for url in before if "/part-3/" in url}
    assert {url for url, page in after.items() if page.state == "out_of_scope"} == outside
    assert all(after[url].chunks == page.chunks for url, page in before.items() if url not in outside)
    assert end.frontier_emptied


@pytest.mark.parametrize("at", ["page_end", "record", "crawl_end"])
async def test_an_owner_that_wakes_after_it_was_replaced_changes_nothing(
    at: str, owners: Owners, site: FakeSite
) -> None:
    """It slept through its replacement's whole crawl, and goes on with its own."""
    points = {"page_end": nth(PageEnd, 5), "record": nth(PageRecord, 5), "crawl_end": nth(CrawlEnd, 1)}
    sleeper = owners.sleeper(before=points[at])
    sleeping = asyncio.create_task(owners.crawl(sleeper))
    await sleeper.asleep.wait()
    ending = await owners.crawl()
    before = await owners.prove(25)
    sleeper.wake()
    late = await sleeping
    after = await owners.prove(25)
    assert ending is not None
    assert (before, before.epoch) == (after, ending.epoch)
    assert (late is not None) == (at == "crawl_end"), "it looks once more before it ends"
    assert await owners.job.pages() == await owners.job.pages(before=after.pages_end_offset)


@pytest.mark.parametrize("newer_is", ["about to read the checkpoint", "crawling", "recording"])
async def test_what_an_owner_writes_while_its_replacement_is_at_work_is_not_counted_on(
    newer_is: str, owners: Owners
) -> None:
    """Its chunks stand behind the newer one's beginning: readers drop them, so the newer one fetches these pages."""
    sleeper = owners.sleeper(before=nth(PageEnd, 5))
    sleeping = asyncio.create_task(owners.crawl(sleeper))
    await sleeper.asleep.wait()
    newer = {
        "about to read the checkpoint": lambda: owners.sleeper(after=nth(CrawlBegin, 1)),
        "crawling": lambda: owners.sleeper(before=nth(PageRecord, 1)),
        "recording": lambda: owners.sleeper(after=nth(PageRecord, 3)),
    }[newer_is]()
    replacing = asyncio.create_task(owners.crawl(newer))
    await newer.asleep.wait()
    sleeper.wake()
    await sleeping
    newer.wake()
    ending = await replacing
    assert ending is not None
    end = await owners.prove(25)
    assert end.epoch == ending.epoch
    assert ending.counts.pages_crawled == 25, "a page that is visited again is counted once"


async def test_pages_recorded_late_are_visited_beyond_the_limit(owners: Owners, site: FakeSite) -> None:
    """Else they would stand in the manifest for ever, with chunks that nobody indexes."""
    await owners.job.command("running", definition(site.url, max_pages=8))
    sleeper = owners.sleeper(before=nth(PageRecord, 1))
    sleeping = asyncio.create_task(owners.crawl(sleeper))
    await sleeper.asleep.wait()
    site.put("/docs/", "<main><p>Now</p>" + "".join(f'<a href="new-{n}">n</a>' for n in range(9)) + "</main>")
    for number in range(9):
        site.put(f"/docs/new-{number}", f"<main><p>Page {number}</p></main>")
    newer = owners.sleeper(after=nth(PageRecord, 3))
    replacing = asyncio.create_task(owners.crawl(newer))
    await newer.asleep.wait()
    sleeper.wake()
    await sleeping
    newer.wake()
    assert await replacing is not None
    pages = await owners.job.pages()
    end = await owners.prove(len(pages))
    assert end.pages > 8
    assert all(page.epoch == end.epoch or (page.page_end_offset or 0) < end.epoch for page in pages.values())
