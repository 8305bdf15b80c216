"""A refresh of a published generation, by a producer whose control and consumer are played by the test."""
# ruff: noqa: F401, F811 - fixtures are shared by importing them

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from headrace.kafka.publisher import Publisher
from schemas.chunks import Chunk, CrawlEnd
from schemas.codec import now
from schemas.identity import partition_for
from schemas.kb import Definition
from schemas.pages import ChunkRef, PageRecord
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import body, huge, redirect, status
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
    tell_state,
)
from tests.support.services import Service
from tests.support.waiting import until


@dataclass
class Refresh:
    site: FakeSite
    end: CrawlEnd
    before: dict[str, PageRecord]
    after: dict[str, PageRecord]
    new: list[Chunk]

    def state(self, path: str) -> str:
        return self.after[self.site.root + path].state

    def chunks(self, path: str) -> tuple[ChunkRef, ...]:
        return self.after[self.site.root + path].chunks

    def stands(self, *paths: str) -> bool:
        """Whether the pages' chunks are those of base, and are some."""
        urls = [self.site.root + path for path in paths]
        return all(self.before[url].chunks and self.after[url].chunks == self.before[url].chunks for url in urls)


Refreshed = Callable[..., Awaitable[Refresh]]


@pytest.fixture
def refreshed(new_job: NewJob, publisher: Publisher, site: FakeSite) -> Callable[..., Awaitable[Refresh]]:
    """Crawls, publishes, lets the site change, and refreshes."""

    async def run(change: Callable[[], Any], *, then: Definition | None = None, **published: Any) -> Refresh:
        first = await new_job(definition(site.url))
        await first.reported("finished")
        await publish_generation(first, publisher, **published)
        changing = change()
        if isinstance(changing, Awaitable):
            await changing
        site.forget()
        second = await new_job(then or definition(site.url), generation=2, base=1)
        await until(second.ended, within_s=120, every_s=0.2, what="the refresh ends")  # hosts are left alone after 503
        return Refresh(site, await proven(second), await first.pages(), await second.pages(), await second.chunks())

    return run


async def test_a_refresh_keeps_what_did_not_change(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    edited, removed, broken = site.paths[3], site.paths[24], site.paths[7]
    site.edit(edited)
    site.remove(removed)
    site.behave(broken, status(500))
    site.forget()
    second = await new_job(definition(site.url), generation=2, base=1)
    await second.reported("finished")
    end = await proven(second)
    before, after = await first.pages(), await second.pages()
    states = {url.removeprefix(site.root): page.state for url, page in after.items()}
    assert (states.pop(edited), states.pop(removed), states.pop(broken)) == ("fetched", "gone", "kept")
    assert set(states.values()) == {"unchanged"}
    assert end.errors == 1
    assert after[site.root + broken].chunks == before[site.root + broken].chunks
    assert site.fetched.total() == 1, "all but the edited page are asked for conditionally"
    births = {ref.born for ref in after[site.root + edited].chunks}
    assert births == {1, 2}
    new = [e for _, e in await second.stream() if isinstance(e, Chunk)]
    assert {chunk.url for chunk in new} == {site.root + edited}


async def test_a_refresh_behind_a_limit_keeps_what_it_did_not_reach(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    second = await new_job(definition(site.url, max_pages=5), generation=2, base=1)
    await second.reported("finished")
    end = await proven(second)
    after = await second.pages()
    assert (end.pages, end.errors, end.frontier_emptied) == (25, 0, False)
    assert sum(page.state == "kept" for page in after.values()) == 20
    assert all(page.chunks for page in after.values())


async def test_what_lies_deeper_than_a_new_max_depth_is_kept(
    producer: Service, site: FakeSite, refreshed: Refreshed
) -> None:
    site.put("/docs/", page_of("Start", "a", "lost"))
    for name, below in (("a", "b"), ("b", "c"), ("c", "d"), ("d", "lost-below")):
        site.put(f"/docs/{name}", page_of(name, below))
    for name in ("lost", "lost-below"):
        site.put(f"/docs/{name}", page_of(name))
    got = await refreshed(lambda: site.put("/docs/", page_of("Start", "a")), then=definition(site.url, max_depth=2))
    assert got.stands("/docs/a", "/docs/b", "/docs/c", "/docs/d", "/docs/lost-below")
    assert {got.state(f"/docs/{name}") for name in ("c", "d", "lost-below")} == {"kept"}
    assert got.after[site.root + "/docs/c"].reason == "deeper than max_depth"
    assert got.after[site.root + "/docs/d"].reason == "only linked by pages that a limit cut off"
    assert (got.state("/docs/lost"), got.chunks("/docs/lost")) == ("gone", ())
    assert (got.end.errors, got.end.frontier_emptied) == (0, True)


async def test_what_hangs_below_pages_that_fail_now_is_not_gone(
    producer: Service, site: FakeSite, refreshed: Refreshed
) -> None:
    """A redirect, a page that is not to be indexed itself, and one that grew beyond the limit."""
    site.put("/docs/", page_of("Start", "moved", "list", "hub"))
    site.behave("/docs/moved", redirect("/docs/target"))
    site.put("/docs/target", page_of("target", "below-moved"))
    site.put("/docs/list", '<meta name="robots" content="noindex">' + page_of("list", "below-list"))
    site.put("/docs/hub", page_of("hub", "below-hub"))
    below = ("/docs/target", "/docs/below-moved", "/docs/below-list", "/docs/below-hub")
    for path in below[1:]:
        site.put(path, page_of(path))

    def fail() -> None:
        site.behave("/docs/moved", status(500))
        site.behave("/docs/list", status(500))
        site.behave("/docs/hub", huge(11))

    got = await refreshed(fail)
    assert [got.state(f"/docs/{name}") for name in ("moved", "list", "hub")] == ["kept", "kept", "kept"]
    assert got.stands("/docs/hub", *below)
    assert got.chunks("/docs/list") == ()
    assert got.after[site.root + "/docs/hub"].links == got.before[site.root + "/docs/hub"].links
    assert {got.state(path) for path in below} == {"unchanged"}
    assert got.end.errors == 3


async def test_what_hung_below_a_page_that_moved_to_where_it_fails_is_asked_for(
    producer: Service, site: FakeSite, refreshed: Refreshed
) -> None:
    site.put("/docs/", page_of("Start", "hub", "old-hub"))
    site.put("/docs/hub", page_of("hub", "below", "removed"))
    site.put("/docs/old-hub", page_of("old-hub", "below-old"))
    for name in ("below", "removed", "below-old"):
        site.put(f"/docs/{name}", page_of(name))

    def move() -> None:
        site.behave("/docs/hub", redirect("/docs/hub/v2"))
        site.put("/docs/", page_of("Start", "hub", "new-hub"))
        for path in ("/docs/hub/v2", "/docs/new-hub"):
            site.behave(path, status(503))
        site.remove("/docs/removed")

    got = await refreshed(move)
    assert {got.state(f"/docs/{name}") for name in ("hub/v2", "new-hub")} == {"failed"}
    assert {got.state(f"/docs/{name}") for name in ("below", "old-hub", "below-old")} == {"unchanged"}
    assert got.stands("/docs/below", "/docs/old-hub", "/docs/below-old")
    assert (got.state("/docs/removed"), got.after[site.root + "/docs/removed"].status) == ("gone", 404)


async def test_not_modified_is_only_believed_where_it_was_asked_for(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    """A cache before the site answers 304 to everyone."""
    first = await new_job(definition(site.url))
    await first.reported("finished")
    before = await first.pages()
    missing, sound = (site.root + path for path in site.paths[7:9])
    await publish_generation(first, publisher, not_indexed=(before[missing].chunks[0].id,))
    for path in site.paths[7:9]:
        site.behave(path, status(304))
    second = await new_job(definition(site.url), generation=2, base=1)
    await second.reported("finished")
    end, after = await proven(second), await second.pages()
    assert (after[sound].state, after[missing].state, end.errors) == ("unchanged", "kept", 1)


async def test_a_site_whose_rules_can_not_be_read_retires_nothing(
    producer: Service, site: FakeSite, refreshed: Refreshed
) -> None:
    site.put("/docs/", page_of("Start", "a"))
    site.put("/docs/a", page_of("a", "b"))
    site.put("/docs/b", page_of("b"))

    async def fail() -> None:
        site.behave("/robots.txt", status(503))
        await producer.terminate()
        producer.start()  # it doesn't know the rules of before

    got = await refreshed(fail)
    assert got.stands("/docs/", "/docs/a", "/docs/b")
    assert {page.state for page in got.after.values()} == {"kept"}
    assert "robots.txt is unreachable" in str(got.end.failure)


async def test_a_host_whose_name_resolves_no_more_retires_nothing(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    site.put("/docs/", page_of("Start"))
    other = "http://gone.invalid/docs/"
    of = definition(site.url, other)
    first = await new_job(of)
    await first.reported("finished")
    for url, links in ((other, (other + "a",)), (other + "a", ())):
        page = PageRecord(
            kb_id="kb", generation=1, job_id=first.played.job_id, epoch=10**6, attempt=1, url=url, state="fetched",
            chunks=(ChunkRef("0" * 32, 1),), links=links, fetched_at=now(),
        )  # fmt: skip
        await publisher.send(page, partition=partition_for("kb", PARTITIONS))
    await publish_generation(first, publisher)
    second = await new_job(of, generation=2, base=1)
    await second.reported("finished")
    assert (await proven(second)).errors == 2
    after = await second.pages()
    assert [(after[url].state, len(after[url].chunks)) for url in (other, other + "a")] == [("kept", 1)] * 2


async def test_chunks_that_are_not_in_the_index_are_sent_again(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url))
    await first.reported("finished")
    read, failing = site.root + site.paths[3], site.root + site.paths[7]
    before = await first.pages()
    lost = [before[url].chunks[0] for url in (read, failing)]
    await publish_generation(first, publisher, not_indexed=tuple(ref.id for ref in lost))
    site.behave(site.paths[7], status(500))
    site.forget()
    second = await new_job(definition(site.url), generation=2, base=1)
    await second.reported("finished")
    await proven(second)
    after = await second.pages()
    assert +site.fetched == {site.paths[3]: 1}, "a 304 would hide that it must be sent again"
    assert [each.url for each in await second.chunks()] == [read]
    assert [ref.born for ref in after[read].chunks] == [2] + [1] * (len(before[read].chunks) - 1)
    assert after[read].state == "fetched"
    kept = after[failing]
    assert (kept.state, kept.chunks) == ("kept", before[failing].chunks[1:])
    assert (kept.etag, kept.last_modified, kept.content_hash) == (None, None, None)
    await publish_generation(second, publisher)
    site.heal(site.paths[7])
    site.forget()
    third = await new_job(definition(site.url), generation=3, base=2)
    await third.reported("finished")
    assert +site.fetched == {site.paths[7]: 1}
    assert [each.url for each in await third.chunks()] == [failing]


async def test_the_content_hash_tells_what_validators_do_not(
    producer: Service, site: FakeSite, refreshed: Refreshed
) -> None:
    html = page_of("Bare").encode()
    site.put("/docs/", page_of("Start", "bare", "renamed"))
    site.behave("/docs/bare", body(html, "text/html"))
    site.put("/docs/renamed", page_of("Renamed"))

    def another_etag() -> None:
        site.put("/docs/renamed", page_of("Renamed") + "<!-- built again -->")

    got = await refreshed(another_etag)
    assert got.new == []
    assert {page.state for page in got.after.values()} == {"unchanged"}
    assert +site.fetched == {"/docs/bare": 1, "/docs/renamed": 1}
    assert got.stands("/docs/", "/docs/bare", "/docs/renamed")
    assert got.after[site.root + "/docs/renamed"].etag != got.before[site.root + "/docs/renamed"].etag


async def test_a_refresh_in_a_wider_scope_finds_what_unchanged_pages_link_to(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url, exclude=("**/part-3/**",)))
    await first.reported("finished")
    await publish_generation(first, publisher)
    second = await new_job(definition(site.url), generation=2, base=1)
    await second.reported("finished")
    before, after = await first.pages(), await second.pages()
    assert {url for url, page in after.items() if page.state == "unchanged"} == set(before)
    assert {each.url for each in await second.chunks()} == after.keys() - before.keys()
    assert len(after) == 25


async def test_a_cancelled_refresh_leaves_no_trace_for_the_next(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    site.edit(site.paths[3])
    undone = await new_job(definition(site.url), generation=2, base=1)
    await undone.reported("finished")
    await undone.command("cancelled")
    await undone.reported("holding")
    await tell_state(undone, publisher, state="undone")
    site.forget()
    third = await new_job(definition(site.url), generation=3, base=1)
    await third.reported("finished")
    await proven(third)
    assert +site.fetched == {site.paths[3]: 1}
    births = {ref.born for page in (await third.pages()).values() for ref in page.chunks}
    assert births == {1, 3}
    assert {each.url for each in await third.chunks()} == {site.root + site.paths[3]}


async def test_without_a_base_nothing_of_the_published_generation_is_used(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    site.forget()
    second = await new_job(definition(site.url), generation=2)
    await second.reported("finished")
    await proven(second)
    assert all(site.fetched[path] == 1 for path in site.paths)
    assert {ref.born for page in (await second.pages()).values() for ref in page.chunks} == {2}
