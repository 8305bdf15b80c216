"""The producer against a real broker and a real site on loopback; control and consumer are played by the test."""
# ruff: noqa: F401, F811 - fixtures are shared by importing them

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable

import msgspec
import psutil
import pytest
from aiohttp import web

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd, PageEnd
from schemas.facts import CrawlReport, RequestsMade
from tests.fakes.pdf import pdf
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import hang, huge, redirect, status
from tests.integration.producer_play import (
    PARTITIONS,
    NewJob,
    definition,
    new_job,
    page_of,
    producer,
    proven,
    publish_generation,
    settings,
    site,
    start_producer,
)
from tests.support.log import read_all
from tests.support.services import Service
from tests.support.waiting import until


async def test_a_whole_crawl_stands_on_the_log_in_order(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    job = await new_job(definition(site.url))
    report = await job.reported("finished")
    end = await proven(job)
    stream = await job.stream()
    first, begin = stream[0]
    assert isinstance(begin, CrawlBegin)
    assert isinstance(stream[-1][1], CrawlEnd)
    assert {e.epoch for _, e in stream[1:]} == {first} == {report.epoch}  # type: ignore[attr-defined]
    assert (end.pages, end.errors, end.frontier_emptied, end.failure) == (25, 0, True, None)
    before_end: dict[str, set[str]] = {}
    for _, event in stream:
        if isinstance(event, Chunk):
            before_end.setdefault(event.url, set()).add(event.chunk_id)
        elif isinstance(event, PageEnd):
            assert before_end[event.url] == set(event.chunk_ids)
    pages = await job.pages()
    assert {url: {ref.id for ref in page.chunks} for url, page in pages.items()} == before_end
    assert {page.state for page in pages.values()} == {"fetched"}
    assert all(site.fetched[path] == 1 for path in site.paths)
    assert (report.counts.pages_crawled, report.counts.pages_queued) == (25, 0)
    assert report.counts.chunks_published == sum(isinstance(e, Chunk) for _, e in stream)


async def test_pause_holds_and_resume_fetches_no_recorded_page_again(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    site.hold(after=6, each_s=1)
    job = await new_job(definition(site.url, per_host=2))
    await job.some_pages(4)
    await job.command("paused")
    held = await job.reported("holding")
    asked, recorded = site.requests.total(), await job.pages()
    records = len(await job.stream())
    assert 4 <= held.counts.pages_crawled == len(recorded) < 25
    await asyncio.sleep(1)  # nothing may happen in this time
    assert (site.requests.total(), len(await job.stream())) == (asked, records)
    site.forget()
    site.release()
    await job.command("running")
    report = await job.reported("finished")
    await proven(job)
    assert not {url.removeprefix(site.root) for url in recorded} & set(site.fetched)
    assert report.counts.pages_crawled == 25


async def test_resume_goes_by_the_new_definition(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    site.hold(after=5, each_s=1)
    job = await new_job(definition(site.url, per_host=2))
    await job.some_pages(3)
    await job.command("paused")
    recorded = (await job.reported("holding")).counts.pages_crawled
    site.release()
    await job.command("running", definition(site.url, max_pages=recorded + 2))
    await job.reported("finished")
    end = await proven(job)
    assert (end.pages, end.frontier_emptied) == (recorded + 2, False)


async def test_a_job_that_is_paused_stays_so_over_a_restart(
    producer: Service, site: FakeSite, new_job: NewJob, start_producer: Callable[[], Service]
) -> None:
    site.hold(after=5, each_s=1)
    job = await new_job(definition(site.url, per_host=2))
    await job.some_pages(3)
    await job.command("paused")
    held = await job.reported("holding")
    assert await producer.terminate() == 0
    asked, told = site.requests.total(), len(await job.reports())
    start_producer()

    async def told_again() -> CrawlReport | None:
        reports = (await job.reports())[told:]
        return reports[-1] if reports else None

    again = await until(told_again, what="the new owner reports")
    assert (again.state, again.revision) == ("holding", held.revision)
    assert again.counts.pages_crawled == held.counts.pages_crawled
    assert site.requests.total() == asked


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_the_next_producer_goes_on_where_one_was_ended(
    producer: Service, site: FakeSite, new_job: NewJob, start_producer: Callable[[], Service], how: signal.Signals
) -> None:
    site.hold(after=10, each_s=1)
    job = await new_job(definition(site.url, per_host=2))
    await job.some_pages(8)
    children = psutil.Process(producer.pid).children(recursive=True)
    os.kill(producer.pid, how)
    assert producer.process is not None
    await asyncio.to_thread(producer.process.wait, 20)
    recorded = await job.pages()
    assert 8 <= len(recorded) < 25
    site.forget()
    site.release()
    start_producer()
    report = await job.reported("finished")
    end = await proven(job)
    assert (end.pages, report.counts.pages_crawled) == (25, 25)
    assert not {url.removeprefix(site.root) for url in recorded} & set(site.fetched)
    begins = [offset for offset, e in await job.stream() if isinstance(e, CrawlBegin)]
    assert begins[-1] == end.epoch > begins[0]
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert not alive, "processes outlived their producer"


async def test_cancel_stops_and_answers(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    site.hold(after=5, each_s=1)
    job = await new_job(definition(site.url, per_host=2))
    await job.some_pages(3)
    await job.command("cancelled")
    await job.reported("holding")
    assert not [e for _, e in await job.stream() if isinstance(e, CrawlEnd)]


async def test_a_published_generation_is_left_alone(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher, start_producer: Callable[[], Service]
) -> None:
    job = await new_job(definition(site.url))
    await job.reported("finished")
    await publish_generation(job, publisher)
    await producer.terminate()
    records, told = len(await job.stream()), len(await job.reports())
    start_producer()
    other = await new_job(definition(site.url), kb_id="other", partition=job.played.partition)
    await other.reported("finished")
    assert (len(await job.stream()), len(await job.reports())) == (records, told)


async def test_pausing_a_finished_crawl_is_answered_and_resuming_it_too(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    job = await new_job(definition(site.url))
    await job.reported("finished")
    records = len(await job.stream())
    await job.command("paused")
    await job.reported("holding")
    await job.command("running")
    await job.reported("finished")
    assert len(await job.stream()) == records


async def test_an_unreachable_site_fails_with_the_reason(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    url = site.url
    await site.stop()
    job = await new_job(definition(url))
    report = await job.reported("failed")
    end = await proven(job)
    assert end.failure == report.reason
    assert report.reason is not None
    assert report.reason.startswith(f"no page could be fetched: {url}: ")
    assert "onnect" in report.reason


async def test_a_site_of_errors_only_fails(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    site.behave("/docs/", status(500))
    job = await new_job(definition(site.url))
    report = await job.reported("failed")
    assert report.reason == f"no page could be fetched: {site.url}: status 500"
    assert (await proven(job)).errors == 1
    assert site.requests["/docs/"] == 3


async def test_a_site_without_text_fails(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    site.put("/docs/", "<html><body></body></html>")
    job = await new_job(definition(site.url))
    assert (await job.reported("failed")).reason == "the crawl found no text to index"


async def test_pages_that_go_wrong_get_a_record_that_says_how(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    linked = ("moved", "away", "none", "bad", "big", "secret", "flaky")
    start = "".join(f'<a href="{name}">{name}</a>' for name in linked)
    site.put("/docs/", f"<main><h1>Start</h1><p>Text here.</p>{start}</main>")
    site.put("/docs/new", "<main><h1>New</h1><p>The new place.</p></main>")
    site.put("/docs/flaky", "<main><h1>Flaky</h1><p>At the second time.</p></main>")
    site.behave("/docs/moved", redirect("/docs/new"))
    site.behave("/docs/away", redirect("https://elsewhere.example/"))
    site.behave("/docs/bad", status(403))
    site.behave("/docs/big", huge(11))
    site.behave("/docs/flaky", status(503, retry_after="1"), times=1)
    site.robots = "User-agent: *\nDisallow: /docs/secret\n"
    job = await new_job(definition(site.url))
    await job.reported("finished")
    end = await proven(job)
    pages = {url.removeprefix(site.url): page for url, page in (await job.pages()).items()}
    assert {name: page.state for name, page in pages.items()} == {
        "": "fetched", "new": "fetched", "flaky": "fetched", "moved": "redirected", "away": "redirected",
        "none": "gone", "bad": "failed", "big": "skipped", "secret": "skipped",
    }  # fmt: skip
    assert (pages["moved"].links, pages["away"].links) == ((site.url + "new",), ())
    assert (pages["flaky"].attempt, pages["bad"].status, pages["none"].status) == (2, 403, 404)
    assert pages["secret"].reason == "disallowed by robots.txt"
    assert site.requests["/docs/secret"] == 0
    assert (end.errors, end.frontier_emptied) == (1, True)


async def test_a_crawl_that_begins_at_a_feed_reads_what_it_lists_in_any_format(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    items = "".join(f"<item><link>{site.url}{name}</link></item>" for name in ("notes.md", "mill.pdf", "data.json"))
    site.put("/docs/feed.xml", f"<rss><channel>{items}</channel></rss>", "application/rss+xml")
    front = "---\ntitle: Notes\ndescription: On gates.\ndate: 2026-03-04\nlang: en\n---\n"
    site.put("/docs/notes.md", front + "# Gates\n\nSee [the wheel](wheel.txt).", "text/markdown")
    site.put("/docs/mill.pdf", pdf([[(50, 700, 10, "The mill turns.")]], info={"Title": "Mill"}), "application/pdf")
    site.put("/docs/wheel.txt", "The wheel is of oak.", "text/plain")
    site.put("/docs/data.json", "{}", "application/json")
    job = await new_job(definition(site.url + "feed.xml"))
    await job.reported("finished")
    await proven(job)
    pages = {url.removeprefix(site.url): page for url, page in (await job.pages()).items()}
    assert {name: (page.state, page.reason) for name, page in pages.items()} == {
        "feed.xml": ("skipped", "an RSS feed: 3 links"), "notes.md": ("fetched", None), "mill.pdf": ("fetched", None),
        "wheel.txt": ("fetched", None), "data.json": ("skipped", "JSON that is no feed"),
    }  # fmt: skip
    notes = pages["notes.md"]
    assert (notes.title, notes.description, notes.published_on, notes.language) == (
        "Notes", "On gates.", "2026-03-04", "en",
    )  # fmt: skip
    assert pages["mill.pdf"].title == "Mill"
    assert all(len(pages[name].chunks) == 1 for name in ("notes.md", "mill.pdf", "wheel.txt"))


async def test_limits_of_depth_and_patterns_are_kept(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    job = await new_job(definition(site.url, max_depth=1, exclude=("**/part-3/**",)))
    await job.reported("finished")
    pages = await job.pages()
    assert max(page.depth for page in pages.values()) == 1
    assert not [url for url in pages if "/part-3/" in url]
    assert (await proven(job)).frontier_emptied


async def test_depth_is_the_shortest_way_whichever_page_answers_first(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    """B to C to D is quick, A to D is slow; E hangs below D."""

    async def late(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1)
        return web.Response(text=page_of("a", "d"), content_type="text/html")

    site.behave("/docs/a", late)
    for name, below in (("b", "c"), ("c", "d"), ("d", "e"), ("e", "f"), ("f", "g")):
        site.put(f"/docs/{name}", page_of(name, below))
    job = await new_job(definition(site.url + "a", site.url + "b", max_depth=2))
    await job.reported("finished")
    depths = {url.removeprefix(site.url): page.depth for url, page in (await job.pages()).items()}
    assert depths == {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2}


async def test_two_knowledge_bases_go_side_by_side(producer: Service, site: FakeSite, new_job: NewJob) -> None:
    async with FakeSite(pages=10, min_kb=4, max_kb=8, seed=2) as other_site:
        site.behave("/docs/", hang())
        stuck = await new_job(definition(site.url), kb_id="stuck", partition=1)
        other = await new_job(definition(other_site.url), kb_id="other", partition=1)
        await other.reported("finished")
        assert (await proven(other)).pages == 10
        assert await stuck.pages() == {}
        await stuck.command("paused")
        await stuck.reported("holding")


async def test_two_producers_share_the_jobs_and_one_takes_over_from_the_other(
    producer: Service, site: FakeSite, new_job: NewJob, start_producer: Callable[[], Service]
) -> None:
    second = start_producer()
    site.hold(after=10)
    jobs = [
        await new_job(definition(site.url, per_host=1), kb_id=f"kb{number}", partition=number)
        for number in range(PARTITIONS)
    ]

    async def owners() -> set[str] | None:
        newest = [(await job.reports())[-1:] for job in jobs]
        found = {report.owner for reports in newest for report in reports}
        return found if len(found) == 2 else None

    assert len(await until(owners, what="both producers report")) == 2
    second.kill()
    site.release()
    for job in jobs:
        await job.reported("finished")
        assert (await proven(job)).pages == 25


async def test_garbage_on_commands_disturbs_nothing(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    for value in (b"{", b'{"job_id": "x"}', b"\xff\xfe"):
        await (await publisher.publish_raw("commands", key=b"x", value=value, headers=[], partition=0))
    job = await new_job(definition(site.url, max_pages=3))
    await job.reported("finished")


async def test_an_unusable_pattern_fails_the_job_with_the_reason(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    of = definition(site.url)
    broken = msgspec.structs.replace(of, source=msgspec.structs.replace(of.source, include=("https://*.example/",)))
    job = await new_job(broken)
    assert "wildcards" in str((await job.reported("failed")).reason)


async def test_every_request_stands_once_in_the_ledger(
    producer: Service, site: FakeSite, new_job: NewJob, settings: Settings
) -> None:
    site.robots = "user-agent: *\ndisallow: /docs/secret\n"
    site.behave(site.paths[7], status(503), times=1)
    job = await new_job(definition(site.url))
    report = await job.reported("finished")
    told = [each for each in await read_all(settings, RequestsMade) if each.job_id == job.played.job_id]
    assert {(each.epoch, each.owner) for each in told} == {(report.epoch, report.owner)}
    hosts = [host for each in told for host in each.hosts]
    assert {host.host for host in hosts} == {site.root.removeprefix("http://")}
    assert hosts[-1].robots == "found"
    made = [request for host in hosts for request in host.requests]
    asked = Counter((visit.path, visit.status) for visit in site.visits)
    assert Counter((request.url.removeprefix(site.root), request.status) for request in made) == asked
    assert (sum(asked.values()), asked[site.paths[7], 503]) == (25 + 3, 1), "robots.txt, sitemap.xml, one page twice"
    assert {request.purpose for request in made} == {"page", "robots", "sitemap"}
    assert sum(request.bytes for request in made if request.purpose == "page") >= report.counts.bytes_fetched > 0
    assert [request.attempt for request in made if request.url.endswith(site.paths[7])] == [1, 2]
    assert sorted(each.reported_at for each in told) == [each.reported_at for each in told]


async def test_two_knowledge_bases_on_one_host_share_its_limits_and_its_rules(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    site.robots = "user-agent: *\ncrawl-delay: 0.1\n"
    jobs = [await new_job(definition(site.url, max_pages=12), kb_id=kb) for kb in ("one", "other")]
    for job in jobs:
        await job.reported("finished")
    assert site.requests["/robots.txt"] == 1
    starts = sorted(visit.at_s for visit in site.visits if visit.path.startswith("/docs/"))
    assert len(starts) == 24
    assert starts[-1] - starts[0] >= 23 * 0.1 * 0.9


async def test_a_host_that_wants_to_be_asked_slowly_does_not_hold_up_the_others_of_its_job(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    async with FakeSite(pages=60, min_kb=2, max_kb=4, robots="user-agent: *\ncrawl-delay: 1\n") as slow:
        slow.put("/docs/", "<main><p>All.</p>" + "".join(f'<a href="{path}">{path}</a>' for path in slow.paths))
        site.latency_s = 0.3
        job = await new_job(definition(slow.url, site.url))

        async def read() -> bool:
            return all(site.fetched[path] for path in site.paths)

        await until(read, within_s=30, what="the other host's pages")
        assert slow.fetched.total() < 20
        await job.command("cancelled")
