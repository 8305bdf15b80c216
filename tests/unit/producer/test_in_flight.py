"""What a crawl has under way at once: bounded while Kafka is away, and at its sites."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from producer.crawl import PAGES_AT_SITES, PAGES_IN_FLIGHT
from producer.visit import Visitor
from schemas.chunks import Chunk
from schemas.events import Event, Place
from schemas.pages import PageRecord
from tests.fakes.site import FakeSite
from tests.support.waiting import until
from tests.unit.producer.crawl_play import MemoryLog, Play, article

PAGES = 3 * PAGES_IN_FLIGHT


class FarLog(MemoryLog):
    """Kafka goes away behind the first page's record: it takes all, and reports nothing of chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.back = asyncio.Event()

    async def publish(self, event: Event, *, partition: int) -> Any:
        future = await super().publish(event, partition=partition)
        recorded = any(isinstance(each, PageRecord) for each in self.events)
        return asyncio.ensure_future(self._report(future.result())) if recorded and isinstance(event, Chunk) else future

    async def _report(self, place: Place) -> Place:
        await self.back.wait()
        return place


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=0) as site:
        site.put("/docs/", article("start", *map(str, range(PAGES))))
        for number in range(PAGES):
            site.put(f"/docs/{number}", article(f"page {number}"))
        yield site


async def test_while_kafka_is_away_a_crawl_asks_for_so_many_pages_and_no_more(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(monkeypatch, site.url, log=(log := FarLog()))
    crawling = asyncio.create_task(play.crawl())
    await until(lambda: _asked_for(site))
    await asyncio.sleep(0.5)  # more would come in this time
    assert await _asked_for(site) == PAGES_IN_FLIGHT
    log.back.set()
    await crawling
    assert len(play.pages) == PAGES + 1


async def _asked_for(site: FakeSite) -> int:
    """Pages beside the first; 0 while they are fewer than are allowed."""
    asked = sum(site.requests[f"/docs/{number}"] for number in range(PAGES))
    return asked if asked >= PAGES_IN_FLIGHT else 0


async def test_no_more_pages_than_memory_has_room_for_are_read_at_once(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = most = 0
    visit = Visitor.visit

    async def counted(self: Visitor, entry: Any) -> Any:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        try:
            return await visit(self, entry)
        finally:
            reading -= 1

    monkeypatch.setattr(Visitor, "visit", counted)
    play = Play(monkeypatch, site.url)
    await play.crawl()
    assert most == PAGES_AT_SITES
    assert len(play.pages) == PAGES + 1
