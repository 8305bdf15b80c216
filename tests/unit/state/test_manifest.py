"""Every reader of `pages` folds them to the same manifest."""

from headrace.kafka.records import RawRecord
from headrace.state.manifest import PageFold, _fold
from schemas.codec import encode
from schemas.pages import PageRecord, PageState


def page(url: str, *, epoch: int = 0, state: PageState = "fetched") -> PageRecord:
    return PageRecord(
        kb_id="kb", generation=2, job_id="job", epoch=epoch, attempt=1, url=url, state=state, fetched_at="now"
    )


def test_the_last_of_the_highest_epoch_counts() -> None:
    fold = PageFold(2)
    for offset, each in enumerate([page("a", epoch=3), page("a", epoch=3, state="gone"), page("a", epoch=1)]):
        fold.fold(offset, each)
    assert [(each.offset, each.page.state) for each in fold.pages.values()] == [(1, "gone")]


def test_a_tombstone_forgets_what_stood_before_it_and_nothing_after() -> None:
    fold = PageFold(2)
    fold.fold(0, page("a", epoch=7))
    fold.fold(1, page("b"))
    fold.forget("a")
    fold.forget("never seen")
    assert set(fold.pages) == {"b"}
    fold.fold(3, page("a", epoch=5))
    assert fold.pages["a"].page.epoch == 5


def test_pages_in_a_newer_version_are_known_to_be_passed_over() -> None:
    fold = PageFold(2)

    def read(url: str, ce_type: bytes, value: bytes | None) -> None:
        raw = RawRecord(topic="pages", partition=0, offset=0, key=b"", value=value, headers=(("ce_type", ce_type),))
        _fold(fold, raw, url.encode())

    for url in "ab":
        read(url, b"headrace.page.v2", b"{}")
    read("b", b"", None)
    read("c", b"headrace.page.v1", encode(page("c")))
    read("d", b"headrace.another.v2", b"{}")
    assert (fold.newer, set(fold.pages)) == ({"a": "headrace.page.v2"}, {"c"})
