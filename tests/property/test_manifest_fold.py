"""A manifest is one set of ids, whatever order, cut or owner its records came in."""

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from headrace.state.manifest import PageFold
from producer.checkpoint import Manifest
from schemas.identity import manifest_digest
from schemas.pages import ChunkRef, PageRecord, PageState

URLS = "abc"
Change = PageRecord | str
"""A page's record, or the URL that a tombstone forgets."""


def page(url: str, epoch: int, ids: list[str], state: Any) -> PageRecord:
    return PageRecord(
        kb_id="kb", generation=2, job_id="job", epoch=epoch, attempt=1, url=url, state=state,
        chunks=tuple(ChunkRef(each, 2) for each in ids), fetched_at="2026-01-01T00:00:00.000Z",
    )  # fmt: skip


IDS = st.lists(st.sampled_from("123456789"), max_size=3)
PAGES = st.builds(page, st.sampled_from(URLS), st.integers(0, 3), IDS, st.sampled_from(get_args(PageState)))
LOGS: st.SearchStrategy[list[Change]] = st.lists(PAGES | st.sampled_from(URLS), max_size=25)


def fold(into: PageFold, changes: list[Change], start: int = 0) -> PageFold:
    for offset, change in enumerate(changes, start):
        if isinstance(change, str):
            into.forget(change)
        else:
            into.fold(offset, change)
    return into


def standing(changes: list[Change], url: str) -> PageRecord | None:
    """By definition: behind the last tombstone, of the highest epoch the last."""
    forgotten = max((i for i, each in enumerate(changes) if each == url), default=-1)
    mine = [each for each in changes[forgotten + 1 :] if isinstance(each, PageRecord) and each.url == url]
    newest = max((each.epoch for each in mine), default=0)
    return next((each for each in reversed(mine) if each.epoch == newest), None)


@given(LOGS)
def test_it_is_the_last_record_of_the_highest_epoch_behind_the_last_tombstone(changes: list[Change]) -> None:
    folded = {url: each.page for url, each in fold(PageFold(2), changes).pages.items()}
    wanted = {url: standing(changes, url) for url in URLS}
    assert folded == {url: each for url, each in wanted.items() if each is not None}


@given(LOGS, st.data())
def test_the_cut_into_batches_and_records_read_twice_do_not_show(changes: list[Change], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(changes)))
    again = data.draw(st.integers(0, cut))
    whole, pieces = fold(PageFold(2), changes), fold(PageFold(2), changes[:cut])
    fold(pieces, changes[again:], again)
    assert pieces.pages == whole.pages


@given(LOGS)
def test_producer_and_consumer_find_the_same_digest(changes: list[Change]) -> None:
    read = fold(PageFold(2), changes)
    written = Manifest(2, end=len(changes))
    fold(written, changes)
    assert written.digest() == manifest_digest(ref.id for each in read.pages.values() for ref in each.page.chunks)


@given(st.lists(st.uuids().map(str), max_size=20), st.randoms())
def test_a_digest_knows_neither_order_nor_repeats(ids: list[str], random: Any) -> None:
    shuffled = ids + ids[: len(ids) // 2]
    random.shuffle(shuffled)
    assert manifest_digest(shuffled) == manifest_digest(ids)


@given(st.sets(st.uuids().map(str), max_size=20), st.uuids().map(str))
def test_one_id_more_is_another_digest(ids: set[str], another: str) -> None:
    assert (manifest_digest(ids | {another}) == manifest_digest(ids)) == (another in ids)
