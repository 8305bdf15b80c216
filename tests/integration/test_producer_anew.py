"""A crawl that looks again: another scope, records that were lost, an owner that was replaced."""
# ruff: noqa: F401, F811 - fixtures are shared by importing them

from collections.abc import Callable

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd
from schemas.codec import now
from schemas.identity import partition_for
from schemas.kb import GenerationState
from schemas.pages import ChunkRef, PageRecord
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import status
from tests.integration.producer_play import (
    PARTITIONS,
    NewJob,
    definition,
    ended_above,
    forget_pages,
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


async def test_a_scope_widened_after_the_crawls_end_brings_new_pages(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    narrow = definition(site.url, exclude=("**/part-3/**",))
    job = await new_job(narrow)
    first = await job.reported("finished")
    before = await job.pages()
    written = [e.chunk_id for _, e in await job.stream() if isinstance(e, Chunk)]
    await job.command("paused")
    await job.reported("holding")
    await job.command("running", definition(site.url))
    again = await job.reported("finished")
    end = await proven(job)
    pages = await job.pages()
    assert (len(before), len(pages), end.errors) == (22, 25, 0)
    assert again.epoch > first.epoch
    assert end.scope_revision == 3 == {page.scope_revision for page in pages.values()}.pop()
    assert {page.state for page in pages.values()} == {"fetched"}
    new = [e for _, e in await job.stream() if isinstance(e, Chunk) and e.chunk_id not in written]
    assert {e.url for e in new} == pages.keys() - before.keys()
    assert len([e for _, e in await job.stream() if isinstance(e, Chunk)]) == len(written) + len(new)


async def test_a_scope_narrowed_after_the_crawls_end_sends_pages_away(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    job = await new_job(definition(site.url))
    await job.reported("finished")
    await job.command("paused")
    await job.command("running", definition(site.url, exclude=("**/part-3/**",)))
    await job.reported("finished")
    end = await proven(job)
    pages = await job.pages()
    outside = {url for url, page in pages.items() if page.state == "out_of_scope"}
    assert outside == {url for url in pages if "/part-3/" in url}
    assert len(outside) == 3
    assert not [ref for url in outside for ref in pages[url].chunks]
    assert (end.pages, end.scope_revision) == (25, 3)
    assert {page.scope_revision for page in pages.values()} == {3}


async def test_another_concurrency_does_not_crawl_a_finished_site_anew(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    job = await new_job(definition(site.url))
    report = await job.reported("finished")
    records = len(await job.stream())
    await job.command("paused")
    await job.reported("holding")
    await job.command("running", definition(site.url, per_host=2))
    again = await job.reported("finished")
    assert (again.epoch, len(await job.stream())) == (report.epoch, records)


async def test_a_limit_lowered_meanwhile_keeps_what_was_recorded(
    producer: Service, site: FakeSite, new_job: NewJob
) -> None:
    job = await new_job(definition(site.url))
    await job.reported("finished")
    before = await job.pages()
    await job.command("running", definition(site.url, max_pages=5))
    await job.reported("finished")
    end = await proven(job)
    after = await job.pages()
    assert {url: page.chunks for url, page in after.items()} == {url: page.chunks for url, page in before.items()}
    assert {page.scope_revision for page in after.values()} == {2}
    assert (end.pages, end.errors, end.frontier_emptied) == (25, 0, False)


async def test_what_a_wider_scope_kept_behind_a_limit_is_not_taken_for_visited(
    site: FakeSite, new_job: NewJob, publisher: Publisher, start_producer: Callable[[], Service]
) -> None:
    """Its links are those of the older scope: the next owner, if it believed them, would call the rest gone."""
    producer = start_producer()
    site.put("/docs/", page_of("Start", "a"))
    site.put("/docs/a", page_of("a", "b"))
    site.put("/docs/b", page_of("b"))
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    second = await new_job(definition(site.url, exclude=("**/b",)), generation=2, base=1)
    await second.reported("finished")
    await second.command("running", definition(site.url, max_pages=1))
    epoch = (await second.reported("finished")).epoch
    states = {url.removeprefix(site.root): page.state for url, page in (await second.pages()).items()}
    assert states == {"/docs/": "fetched", "/docs/a": "unchanged", "/docs/b": "kept"}
    await producer.terminate()
    start_producer()
    await ended_above(second, epoch)
    end = await proven(second)
    assert (await second.pages())[site.root + "/docs/b"].state == "kept"
    assert not end.frontier_emptied


async def test_records_that_were_lost_are_crawled_again(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher, start_producer: Callable[[], Service]
) -> None:
    """The consumer's word: tombstones first, then `recrawl`. For a crawl that has ended, and after a restart."""
    job = await new_job(definition(site.url))
    epoch = (await job.reported("finished")).epoch
    for lost in (site.paths[4:7], site.paths[0:2]):
        site.forget()
        await forget_pages(job, publisher, *lost)
        await tell_state(job, publisher, epoch=epoch, recrawl=epoch)
        epoch = await ended_above(job, epoch)
        await proven(job)
        assert {path for path in site.paths if site.fetched[path]} == set(lost)
        assert len(await job.pages()) == 25
        await producer.terminate()
        start_producer()
        epoch = await ended_above(job, epoch)


async def test_records_lost_during_a_crawl_begin_it_anew(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    site.hold(after=8)
    job = await new_job(definition(site.url, per_host=2))
    await job.some_pages(6)
    epoch = (await job.reports())[-1].epoch
    lost = [url.removeprefix(site.root) for url in list(await job.pages())[:4]]
    await forget_pages(job, publisher, *lost)
    await tell_state(job, publisher, epoch=epoch, recrawl=epoch)
    site.release()
    await ended_above(job, epoch)
    end = await proven(job)
    assert (end.pages, end.failure) == (25, None)
    assert {path for path in site.paths if site.fetched[path] == 2} == set(lost)


async def test_chunks_of_base_that_are_missing_are_sent_by_the_crawl_that_begins_anew(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    """Of two pages, each with one of its chunks missing, one can't be read any more: it names what it named."""
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    before = await first.pages()
    job = await new_job(definition(site.url), generation=2, base=1)
    epoch = (await job.reported("finished")).epoch
    assert {page.state for page in (await job.pages()).values()} == {"unchanged"}
    read, failing = site.root + site.paths[3], site.root + site.paths[7]
    site.behave(site.paths[7], status(403))
    site.forget()
    await forget_pages(job, publisher, site.paths[3], site.paths[7])
    missing = tuple(before[url].chunks[0].id for url in (read, failing))
    await tell_state(job, publisher, epoch=epoch, recrawl=epoch, not_indexed=missing)
    await ended_above(job, epoch)
    await proven(job)
    after = await job.pages()
    assert +site.fetched == {site.paths[3]: 1}
    assert [each.url for each in await job.chunks()] == [read]
    assert [ref.born for ref in after[read].chunks] == [2] + [1] * (len(before[read].chunks) - 1)
    assert (after[failing].state, after[failing].chunks) == ("kept", before[failing].chunks)
    assert {page.state for url, page in after.items() if url not in (read, failing)} == {"unchanged"}


async def test_a_page_forgotten_without_a_word_ends_no_crawl(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    """Tombstones that a crawl under way has not read, and a `recrawl` that does not reach its epoch."""
    site.hold(after=8)
    job = await new_job(definition(site.url, per_host=2))
    await job.some_pages(6)
    lost = [url.removeprefix(site.root) for url in list(await job.pages())[:3]]
    await forget_pages(job, publisher, *lost)
    site.release()
    await job.reported("finished")
    end = await proven(job)
    begins = [offset for offset, e in await job.stream() if isinstance(e, CrawlBegin)]
    assert (end.pages, len(begins), end.epoch) == (25, 2, begins[-1])


async def test_what_a_replaced_producer_still_wrote_is_fetched_again(
    settings: Settings, site: FakeSite, new_job: NewJob, start_producer: Callable[[], Service]
) -> None:
    """Its epoch is lower than one that stands before its chunks, so readers drop them."""
    job = await new_job(definition(site.url))
    played, (stale, sound) = job.played, site.paths[1:3]
    older = await played.begin()
    await played.begin()
    await played.page(site.root + sound, ["sound"])
    played.epoch = older
    chunks = await played.page(site.root + stale, ["stale"], recorded=False)
    end = len(await job.stream()) - 1
    record = PageRecord(
        kb_id="kb", generation=1, job_id=played.job_id, epoch=older, attempt=1, url=site.root + stale, state="fetched",
        chunks=tuple(ChunkRef(chunk.chunk_id, 1) for chunk in chunks), page_end_offset=end, fetched_at=now(),
    )  # fmt: skip
    await played.publisher.send(record, partition=partition_for("kb", PARTITIONS))
    start_producer()
    await job.reported("finished")
    await proven(job)
    assert (site.fetched[stale], site.fetched[sound]) == (1, 0)


async def test_an_owner_that_was_outlived_begins_anew(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    """By a producer that had lost the job and did not know it yet; the consumer tells of the newer epoch."""
    job = await new_job(definition(site.url))
    await job.reported("finished")
    epoch = await job.played.begin()
    told = GenerationState(
        kb_id="kb", generation=1, job_id=job.played.job_id, state="open", base=None, collection="C", epoch=epoch,
        changed_at=now(),
    )  # fmt: skip
    await publisher.send(told, partition=partition_for("kb", PARTITIONS))

    async def ended_again() -> bool:
        ends = [e.epoch for _, e in await job.stream() if isinstance(e, CrawlEnd)]
        return ends[-1] > epoch

    await until(ended_again, what="a crawl_end of an epoch above the stranger's")
    await proven(job)
    assert all(site.fetched[path] == 1 for path in site.paths)
