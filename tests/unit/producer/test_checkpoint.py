from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.checkpoint import Manifest, links_of, mark_visited
from producer.frontier import Entry, Frontier
from producer.tally import Tally
from schemas.identity import manifest_digest
from schemas.pages import ChunkRef, PageRecord, is_error


def page(
    url: str, state: Any = "fetched", *, epoch: int = 5, attempt: int = 1, ids: str = "", **more: Any
) -> PageRecord:
    return PageRecord(
        kb_id="kb", generation=2, job_id="job", epoch=epoch, attempt=attempt, url=url, state=state,
        chunks=tuple(ChunkRef(each, 2) for each in ids), fetched_at="2026-01-01T00:00:00.000Z", **more,
    )  # fmt: skip


def manifest(*pages: PageRecord) -> Manifest:
    folded = Manifest(2, end=len(pages))
    for offset, each in enumerate(pages):
        folded.fold(offset, each)
    return folded


def test_the_highest_epoch_counts_and_of_those_the_last() -> None:
    folded = manifest(
        page("a", ids="1"), page("a", epoch=7, ids="2"), page("a", epoch=7, ids="3"), page("a", epoch=5, ids="4")
    )
    assert folded.digest() == manifest_digest(["3"])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from("xyz"))))
def test_folding_twice_changes_nothing(records: list[tuple[str, int, str]]) -> None:
    pages = [page(url, epoch=epoch, ids=ids) for url, epoch, ids in records]
    assert manifest(*pages).digest() == manifest(*pages, *pages).digest()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from("xyz"), st.booleans())))
def test_what_is_kept_whole_is_what_the_fold_has(records: list[tuple[str, int, str, bool]]) -> None:
    folded, model = Manifest(2, keep_whole=True), dict[str, PageRecord]()
    for offset, (url, epoch, link, tombstone) in enumerate(records):
        if tombstone:
            folded.forget(url)
            model.pop(url, None)
            continue
        record = page(url, epoch=epoch, ids=link, links=(link, url), title=f"{offset}", etag=f"{offset}")
        folded.fold(offset, record)
        if url not in model or epoch >= model[url].epoch:
            model[url] = record
    assert dict(folded.whole) == model
    assert folded.pages.keys() == model.keys()
    assert folded.digest() == manifest_digest(ref.id for each in model.values() for ref in each.chunks)


def test_records_of_an_earlier_owner_are_late_when_they_came_after_the_checkpoint_was_read() -> None:
    mine = [page("mine", epoch=9), page("overwritten", epoch=9)]
    folded = manifest(page("in time"), page("late"), page("overwritten"), *mine)
    assert [each.url for each in folded.late(9, read_to=1)] == ["late"]


def test_a_page_whose_last_record_is_an_earlier_owners_is_late() -> None:
    """Compaction would keep that record alone."""
    hidden = [page("hidden", epoch=9), page("hidden", epoch=5)]
    assert [each.epoch for each in manifest(*hidden).late(9, read_to=9)] == [9]
    assert not manifest(*hidden, page("hidden", epoch=9)).late(9, read_to=9)


def test_a_page_written_after_a_newer_owner_had_begun_is_stale() -> None:
    folded = manifest(
        page("in time", page_end_offset=6),
        page("between", page_end_offset=8),
        page("of the newer", epoch=7, page_end_offset=9),
    )
    assert list(folded.stale()) == ["between"]
    frontier = Frontier()
    mark_visited(frontier, folded)
    assert [url for url in folded.pages if frontier.visited(url)] == ["in time", "of the newer"]
    assert list(folded.stale(epoch=8)) == ["between", "of the newer"]
    assert [each.url for each in folded.late(8, read_to=9)] == ["between", "of the newer"]


def test_pages_of_base_that_were_only_accounted_for_are_not_visited() -> None:
    folded = manifest(page("old", "kept", attempt=0, ids="1"), page("new", ids="2"))
    assert [each.url for each in folded.visited()] == ["new"]
    assert folded.errors == 0
    assert folded.digest() == manifest_digest(["1", "2"])


def test_a_page_whose_links_did_not_all_fit_is_visited_again() -> None:
    frontier = Frontier()
    folded = manifest(page("a"), page("long", links_truncated=True))
    assert [each.url for each in mark_visited(frontier, folded)] == ["a"]
    assert not frontier.visited("long")


def test_links_lie_one_deeper_and_a_redirect_at_the_same_depth() -> None:
    assert list(links_of(page("a", depth=1), ["b"])) == [Entry("b", 2, "a")]
    assert list(links_of(page("a", "redirected", depth=1), ["b"], hops=2)) == [Entry("b", 1, "a", 3)]


@pytest.mark.parametrize(
    ("pages", "failure"),
    [
        ([], "no page could be fetched: no start URL is in scope"),
        ([page("u", "failed", reason="connection refused")], "no page could be fetched: u: connection refused"),
        ([page("u", "gone", status=404, reason="status 404")], "no page could be fetched: u: status 404"),
        ([page("u", "skipped", status=200, reason="noindex")], "the crawl found no text to index: u: noindex"),
        ([page("u", "skipped", reason="by robots.txt")], "no page could be fetched: u: by robots.txt"),
        ([page("u", "redirected", status=301, reason="redirects to v")], "no page could be fetched: u: redirects to v"),
        ([page("u", "redirected"), page("v", "failed", reason="timeout")], "no page could be fetched: v: timeout"),
        ([page("u", "kept", ids="1", reason="timeout")], "no page could be fetched: u: timeout"),
        ([page("u", "kept", ids="1", attempt=0), page("v", "gone")], "no page could be fetched: v: gone"),
        ([page("u")], "the crawl found no text to index"),
        ([page("u"), page("v", ids="1")], None),
        ([page("u", "unchanged", ids="1"), page("v", "failed")], None),
    ],
)  # fmt: skip
def test_says_why_there_is_nothing_to_publish(pages: list[PageRecord], failure: str | None) -> None:
    assert manifest(*pages).failure() == failure


def test_counts_pages_by_what_became_of_them() -> None:
    tally = Tally(2)
    for each in (
        page("a", ids="12", bytes=10), page("b", "unchanged"), page("c", "failed"), page("d", "kept"),
        page("e", "skipped", status=200), page("f", "skipped"), page("g", "redirected"), page("h", "gone"),
    ):  # fmt: skip
        tally.add(each)
    counts = tally.counts(4, {"a trap": 3, "none": 0})
    assert (counts.pages_crawled, counts.pages_unchanged, counts.pages_failed, counts.pages_skipped) == (2, 1, 2, 2)
    assert counts.pages_gone == 1
    assert (counts.pages_queued, counts.chunks_published, counts.bytes_fetched) == (4, 2, 10)
    assert tally.against_limit == 5, "redirects, missing pages and refusals by robots.txt leave room for others"


def test_pages_whose_texts_are_embedded_anew_count_as_read() -> None:
    tally = Tally(2, anew=True)
    for each in (page("a", "kept", ids="12", attempt=0), page("b", "skipped", attempt=0)):
        tally.add(each)
    counts = tally.counts(0, {})
    assert (counts.pages_crawled, counts.pages_skipped, counts.pages_failed) == (1, 1, 0)


def test_a_page_kept_behind_the_limit_is_no_error() -> None:
    assert is_error(page("a", "kept"))
    assert not is_error(page("a", "kept", attempt=0))


@given(st.data())
def test_every_page_that_can_be_read_is_stood_for_in_the_end_and_circles_by_one(data: st.DataObject) -> None:
    """Pages name each other at random; those that are bereft are read for what they are."""
    urls = [f"https://h.example/{number}" for number in range(data.draw(st.integers(1, 8)))]
    folded = Manifest(2)
    for offset, url in enumerate(urls):
        state = data.draw(st.sampled_from(["skipped", "redirected", "fetched", "gone"]))
        content_hash = data.draw(st.sampled_from([None, "x", "y"])) if state in ("skipped", "fetched") else None
        other = data.draw(st.sampled_from([each for each in (*urls, "https://h.example/unknown") if each != url]))
        more: dict[str, Any] = {"instead": other} if state == "skipped" else {}
        more |= {"links": (other,)} if state == "redirected" else {}
        ids = url[-1] if state == "fetched" else ""
        folded.fold(offset, page(url, state, ids=ids, content_hash=content_hash, **more))
    left_out = {each.url for each in folded.records() if each.instead}
    redirected = {each.url for each in folded.records() if each.state == "redirected"}
    visited: list[str] = []
    while bereft := folded.bereft():
        for each in bereft:
            visited.append(each.url)
            folded.fold(100 + len(visited), page(each.url, ids="9", content_hash=each.content_hash))
    assert len(set(visited)) == len(visited), "each is visited once more at most"
    assert set(visited) <= left_out | redirected
    onward = {each.url: each.links[0] for each in folded.records() if each.state == "redirected"}
    for at in onward:
        way = {at}
        while (at := onward.get(at, "")) in onward:
            assert at not in way, "redirects in a circle"
            way.add(at)
    for each in folded.records():
        at, steps = each, 0
        while each.instead is not None and not at.chunks:
            at, steps = folded.pages[at.instead or at.links[0]].page, steps + 1
            assert steps <= len(urls), "a circle that nobody left"
        assert each.instead is None or each.content_hash in (None, at.content_hash)
