"""Every reader of `pages` folds them to the same manifest."""

from headrace.state.manifest import PageFold
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
