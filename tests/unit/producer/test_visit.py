"""Visits to pages of a real site on loopback."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from producer import robots
from producer.client import Client
from producer.fetch import Fetcher
from producer.frontier import Entry
from producer.hosts import Hosts
from producer.robots import RobotsCache
from producer.visit import Visit, Visitor
from producer.work import ContentPool, PageInput, PageOutput, process_page
from schemas.kb import Crawl, Definition, Source, resolve
from schemas.pages import PageRecord
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import huge, redirect, reset, status
from tests.support.spans import errors, traced


class HerePool(ContentPool):
    async def process(self, page: PageInput) -> PageOutput:
        return process_page(page)


class Visitors:
    """Jobs of one process."""

    def __init__(self, site: FakeSite) -> None:
        self.site, self.hosts, self.robots = site, Hosts(), RobotsCache()
        self.base: dict[str, PageRecord] = {}

    def new(self, *, respect_robots: bool = True) -> Visitor:
        source = Source(urls=(self.site.url,), allow_addresses=("127.0.0.0/8",))
        definition = Definition(source=source, crawl=Crawl(respect_robots=respect_robots))
        share = self.hosts.share(definition.crawl.concurrency_per_host, definition.crawl.delay_s)
        client = Client(Fetcher("Headrace/test", source.allow_addresses), share, frozenset(source.allow_addresses))
        definition = resolve(definition, openai_available=False)
        return Visitor(definition, HerePool(1), client, self.robots, base=self.base)

    async def visits(self, *paths: str, visitor: Visitor | None = None, respect_robots: bool = True) -> list[Visit]:
        visitor = visitor or self.new(respect_robots=respect_robots)
        await visitor.start()
        try:
            return await asyncio.gather(*(visitor.visit(Entry(self.site.root + path, 0)) for path in paths))
        finally:
            await visitor.stop()


@pytest.fixture
async def visitors(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Visitors]:
    monkeypatch.setattr(robots, "BACK_OFF_S", (0.05, 0.05))
    monkeypatch.setattr("producer.visit.BACK_OFF_S", (0.05, 0.05))
    monkeypatch.setattr("producer.hosts.FIRST_BACK_OFF_S", 0.05)
    async with FakeSite(pages=40, min_kb=1, max_kb=2) as site:
        yield Visitors(site)


@pytest.mark.parametrize("unwell", [status(503), status(500), status(429), reset()])
async def test_an_unreadable_robots_txt_costs_the_host_one_wait_and_not_three_tries_a_page(
    visitors: Visitors, unwell: object
) -> None:
    visitors.site.behave("/robots.txt", unwell)  # type: ignore[arg-type]
    made = await visitors.visits(*visitors.site.paths)
    assert {(visit.state, visit.attempt) for visit in made} == {("failed", 1)}
    assert all("robots.txt is unreachable" in str(visit.reason) for visit in made)
    assert set(visitors.site.requests) == {"/robots.txt"}
    assert 3 <= visitors.site.requests["/robots.txt"] <= 6, "aiohttp asks twice where a connection drops"


async def test_pages_of_base_are_kept_while_robots_txt_can_not_be_read(visitors: Visitors) -> None:
    url = visitors.site.root + visitors.site.paths[1]
    visitors.base[url] = PageRecord(
        kb_id="kb", generation=1, job_id="before", epoch=1, attempt=1, url=url, state="fetched",
        links=(visitors.site.url,), fetched_at="2026-01-01T00:00:00.000Z",
    )  # fmt: skip
    visitors.site.behave("/robots.txt", status(500))
    (visit,) = await visitors.visits(visitors.site.paths[1])
    assert (visit.state, visit.links) == ("kept", (visitors.site.url,))


async def test_robots_txt_is_followed_over_a_redirect_and_asked_for_once_by_two_jobs(visitors: Visitors) -> None:
    visitors.site.behave("/robots.txt", redirect("/elsewhere.txt"))
    visitors.site.put("/elsewhere.txt", "User-agent: headrace\nDisallow: /docs/part-1/\n", "text/plain")
    one, other = visitors.new(), visitors.new()
    path, forbidden = visitors.site.paths[0], "/docs/part-1/x"
    for visitor in (one, other):
        made = await visitors.visits(path, forbidden, visitor=visitor)
        assert [(visit.state, visit.reason) for visit in made] == [
            ("fetched", None), ("skipped", "disallowed by robots.txt")
        ]  # fmt: skip
    assert (visitors.site.requests["/robots.txt"], visitors.site.requests[forbidden]) == (1, 0)


async def test_robots_txt_that_is_not_respected_is_not_asked_for(visitors: Visitors) -> None:
    visitors.site.behave("/robots.txt", status(503))
    (visit,) = await visitors.visits(visitors.site.paths[0], respect_robots=False)
    assert visit.state == "fetched"
    assert visitors.site.requests["/robots.txt"] == 0


async def test_a_page_is_asked_for_three_times_while_it_fails(visitors: Visitors) -> None:
    path = visitors.site.paths[3]
    visitors.site.behave(path, status(503), times=2)
    (visit,) = await visitors.visits(path)
    assert (visit.state, visit.attempt) == ("fetched", 3)
    visitors.site.behave(path, status(500))
    (visit,) = await visitors.visits(path)
    assert (visit.state, visit.attempt, visit.status) == ("failed", 3, 500)


@pytest.mark.parametrize(("code", "tries"), [(507, 3), (521, 3), (529, 3), (501, 1), (505, 1), (403, 1)])
async def test_trouble_of_the_host_is_asked_again_and_other_refusals_are_not(
    visitors: Visitors, code: int, tries: int
) -> None:
    path = visitors.site.paths[3]
    visitors.site.behave(path, status(code))
    (visit,) = await visitors.visits(path)
    assert (visit.state, visit.status, visitors.site.requests[path]) == ("failed", code, tries)


async def test_a_host_that_says_it_is_asked_too_much_does_not_cost_its_pages(visitors: Visitors) -> None:
    paths = visitors.site.paths[:6]
    for path in paths:
        visitors.site.behave(path, status(429, retry_after="0"), times=5)
    made = await visitors.visits(*paths)
    assert {(visit.state, visit.attempt) for visit in made} == {("fetched", 6)}
    visitors.site.behave(paths[0], status(429, retry_after="0"))
    (visit,) = await visitors.visits(paths[0])
    assert (visit.state, visit.attempt) == ("failed", 8)


async def test_what_an_answer_cost_is_told_whatever_it_was(visitors: Visitors) -> None:
    site = visitors.site
    site.robots = "User-agent: *\nDisallow: /forbidden"
    for path, behaviour in {
        "/away": redirect("/docs/", 302), "/gone": status(404, text="12345"), "/denied": status(403, text="123"),
        "/unwell": status(500, text="1234567"), "/huge": huge(12), "/reset": reset(),
    }.items():  # fmt: skip
        site.behave(path, behaviour)
    paths = (site.paths[0], "/away", "/gone", "/denied", "/unwell", "/huge", "/reset", "/forbidden")
    page, away, gone, denied, unwell, big, broken, forbidden = await visitors.visits(*paths)
    assert (page.state, page.received) == ("fetched", len(site._body(site.paths[0])))
    assert [(each.state, each.received) for each in (away, gone, denied, unwell)] == [
        ("redirected", 0), ("gone", 5), ("failed", 3), ("failed", 7),
    ]  # fmt: skip
    assert (big.state, big.received > 1 << 20) == ("skipped", True)
    assert (broken.state, broken.received) == ("failed", 0)
    assert all(each.duration_ms > 0 for each in (page, away, gone, denied, unwell, big, broken))
    assert (forbidden.state, forbidden.received, forbidden.duration_ms) == ("skipped", 0, 0.0)


async def test_a_page_that_was_not_asked_for_has_no_fetch_in_its_trace(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = traced(monkeypatch)
    visitors.site.behave("/robots.txt", redirect("/elsewhere.txt"))
    visitors.site.put("/elsewhere.txt", "User-agent: headrace\nDisallow: /private", "text/plain")
    await visitors.visits("/private")
    assert not ended.get_finished_spans()
    await visitors.visits(visitors.site.paths[0])
    assert [span.name for span in ended.get_finished_spans()] == ["fetch", "read"]


async def test_a_fetch_that_came_to_nothing_is_an_error_in_its_trace(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By status or kind; not where the site says that a page is gone, not for us, or to be asked for later."""
    ended = traced(monkeypatch)
    for path, behaviour in {
        "/unwell": status(503),
        "/unable": status(501),
        "/broken": reset(),
        "/gone": status(410),
        "/denied": status(403),
        "/big": huge(12),
    }.items():
        visitors.site.behave(path, behaviour)
        ended.clear()
        await visitors.visits(f"{path}?key=topsecret")
        told = [reason for name, reason in errors(ended) if name == "fetch"]
        tries = 3 if path in ("/unwell", "/broken") else 1
        assert told == tries * [{"/unwell": "status 503", "/unable": "status 501", "/broken": "connect"}.get(path)]
        assert not any("topsecret" in span.to_json() for span in ended.get_finished_spans())
    visitors.site.behave("/busy", status(429, retry_after="0"), times=1)
    ended.clear()
    await visitors.visits("/busy")
    assert ("fetch", None) in errors(ended) and all(reason is None for _, reason in errors(ended))
