"""When a person must decide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.guard import Loss, loss
from consumer.manifest import Manifest
from schemas.pages import ChunkRef, PageRecord, PageState


def manifest(generation: int, *pages: tuple[str, PageState, bool], attempt: int = 1) -> Manifest:
    """Pages as (URL, state, with content)."""
    made = Manifest(generation)
    for offset, (url, state, content) in enumerate(pages):
        page = PageRecord(
            kb_id="kb", generation=generation, job_id="job", epoch=0, attempt=attempt, url=url, state=state,
            chunks=(ChunkRef(url, 1),) if content else (), links=("x",), fetched_at="now",
        )  # fmt: skip
        made.fold(offset, page)
    return made


def before(*urls: str) -> Manifest:
    return manifest(1, *((url, "fetched", True) for url in urls))


def test_what_counts_as_vanished() -> None:
    now = manifest(
        2,
        ("kept", "unchanged", True),
        ("gone", "gone", False),
        ("emptied", "fetched", False),
        ("left out", "out_of_scope", False),
        ("new", "fetched", True),
    )
    found = loss(before("kept", "gone", "emptied", "left out", "never seen"), now)
    assert (found.before, found.vanished) == (5, 3)


def test_a_page_without_content_before_can_not_vanish() -> None:
    assert loss(manifest(1, ("a", "skipped", False)), manifest(2)).vanished == 0


def test_only_pages_that_were_asked_for_fail() -> None:
    now = manifest(2, ("a", "kept", True), ("b", "failed", False), ("c", "fetched", True))
    now.fold(9, manifest(2, ("d", "kept", True), attempt=0).records()[0])
    found = loss(before("a", "d"), now)
    assert (found.asked, found.failed, found.vanished) == (3, 2, 0)


@pytest.mark.parametrize(
    ("found", "share", "says"),
    [
        (Loss(10, 2, 10, 0), 0.2, None),
        (Loss(10, 3, 10, 0), 0.2, "3 of 10 pages with content would vanish"),
        (Loss(10, 0, 10, 3), 0.2, "3 of 10 pages could not be read"),
        (Loss(10, 1, 0, 0), 0.0, "1 of 10"),
        (Loss(10, 10, 10, 10), 1.0, None),
        (Loss(0, 0, 0, 0), 0.0, None),
    ],
)
def test_the_share_is_the_limit(found: Loss, share: float, says: str | None) -> None:
    reason = found.reason(share)
    assert reason is None if says is None else reason is not None and says in reason


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_nothing_vanishes_but_what_was_there(old: set[str], new: set[str]) -> None:
    found = loss(before(*old), manifest(2, *((url, "fetched", True) for url in new)))
    assert found.vanished == len(old - new)


def test_links_are_not_held_in_memory() -> None:
    assert before("a").records()[0].links == ()
