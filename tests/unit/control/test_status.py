"""The truth table of a job's status, row by row and as a whole."""

from itertools import product
from typing import Any, get_args

import pytest

from control.status import OVER, Facts, Phase, Report, Status, phase_of, status_of
from schemas.commands import Desired

R = 4
"""The current revision of every case; answers to R - 1 are answers to an older command."""


def facts(desired: str = "running", **known: Any) -> Facts:
    return Facts(
        **{"desired": desired, "revision": R, "crawl": Report("crawling", R), "index": Report("running", R)} | known
    )


OLD_HOLD, HOLD = Report("holding", R - 1), Report("holding", R)


@pytest.mark.parametrize(
    ("known", "status", "phase"),
    [
        (facts(), "running", "crawling"),
        (facts(revision=1, crawl=None, index=None), "queued", "crawling"),
        (facts(revision=1, crawl=None, index=Report("running", 1)), "queued", "crawling"),
        (facts(crawl=OLD_HOLD, index=OLD_HOLD), "resuming", "crawling"),
        (facts(crawl=None, index=None), "resuming", "crawling"),
        (facts(crawl=OLD_HOLD), "running", "crawling"),
        (facts(index=OLD_HOLD), "running", "crawling"),
        (facts(crawl_over=True), "running", "indexing"),
        (facts(crawl_over=True, all_processed=True), "running", "publishing"),
        (facts(all_processed=True), "running", "crawling"),
        (facts(generation="published"), "running", "publishing"),
        (facts(waits_for=frozenset({"Weaviate"})), "stalled", "crawling"),
        (facts(review_revision=R), "needs_review", "crawling"),
        (facts(review_revision=R, waits_for=frozenset({"Weaviate"})), "needs_review", "crawling"),
        (facts(review_revision=R - 1), "running", "crawling"),  # approved since, or resumed: the proof is made again
        (facts(review_revision=R, finished="completed"), "completed", "done"),
        (facts("paused", review_revision=R), "pausing", "crawling"),
        (facts("rolled_back", finished="completed", generation="published"), "cancelling", "publishing"),
        (facts("rolled_back", finished="completed", generation="undone"), "cancelling", "crawling"),
        (facts("rolled_back", finished="completed", index=Report("undone", R)), "cancelled", "done"),
        (facts(waits_for=frozenset({"Weaviate"}), crawl=OLD_HOLD, index=OLD_HOLD), "resuming", "crawling"),
        (facts(blind=True), "stalled", "crawling"),
        (facts(blind=True, crawl=OLD_HOLD, index=OLD_HOLD), "stalled", "crawling"),
        (facts(blind=True, revision=1, crawl=None, index=None), "stalled", "crawling"),
        (facts("paused", blind=True, crawl=HOLD, index=HOLD), "paused", "crawling"),
        (facts(blind=True, finished="completed"), "completed", "done"),
        (facts("paused"), "pausing", "crawling"),
        (facts("paused", crawl=HOLD), "pausing", "crawling"),
        (facts("paused", index=HOLD), "pausing", "crawling"),
        (facts("paused", crawl=HOLD, index=HOLD), "paused", "crawling"),
        (facts("paused", crawl=OLD_HOLD, index=HOLD), "pausing", "crawling"),
        (facts("paused", crawl=HOLD, index=OLD_HOLD), "pausing", "crawling"),
        (facts("paused", crawl=None, index=HOLD), "pausing", "crawling"),
        (facts("paused", crawl=Report("finished", R), index=HOLD, crawl_over=True), "paused", "indexing"),
        (facts("paused", crawl=Report("finished", R - 1), index=HOLD, crawl_over=True), "pausing", "indexing"),
        (facts("paused", crawl=HOLD, index=HOLD, waits_for=frozenset({"Weaviate"})), "paused", "crawling"),
        (facts("cancelled"), "cancelling", "crawling"),
        (facts("cancelled", crawl=HOLD, index=HOLD), "cancelling", "crawling"),
        (facts("cancelled", index=Report("undone", R - 1)), "cancelling", "crawling"),
        (facts("cancelled", index=Report("undone", R)), "cancelled", "done"),
        (facts("cancelled", generation="undone"), "cancelling", "crawling"),
        (facts("cancelled", finished="completed", generation="published"), "completed", "done"),
        (facts("cancelled", finished="completed", generation="undone"), "cancelling", "crawling"),
        (facts("cancelled", finished="completed", generation="undone", index=Report("undone", R)), "cancelled", "done"),
        (facts(finished="completed"), "completed", "done"),
        (facts(finished="completed", generation="undone"), "completed", "done"),  # rolled back later: history stays
        (facts("paused", finished="completed"), "completed", "done"),
        (facts(finished="completed_with_errors"), "completed_with_errors", "done"),
        (facts("paused", finished="failed", generation="undone"), "failed", "done"),
        (facts("cancelled", finished="failed"), "failed", "done"),
        (facts(generation="undone"), "running", "crawling"),
    ],
)
def test_row(known: Facts, status: Status, phase: Phase) -> None:
    assert (status_of(known), phase_of(known)) == (status, phase)


def everything() -> "list[Facts]":
    crawls = [None, *(Report(s, r) for s in ("crawling", "holding", "finished", "failed") for r in (R - 1, R))]
    indexes = [None, *(Report(s, r) for s in ("running", "holding", "undone") for r in (R - 1, R))]
    return [
        Facts(
            desired=desired, revision=revision, crawl=crawl, index=index, finished=finished, generation=generation,
            waits_for=waits, crawl_over=over, review_revision=review,
        )
        for desired, revision, crawl, index, finished, generation, waits, over, review in product(
            get_args(Desired), (1, R), crawls, indexes,
            (None, "completed", "completed_with_errors", "failed"), (None, "open", "published", "undone"),
            (frozenset(), frozenset({"Weaviate"})), (False, True), (None, R - 1, R),
        )
    ]  # fmt: skip


def test_what_holds_for_every_combination() -> None:
    """Each combination has exactly one status; the promises of design sections 4 and 5 hold in all of them."""
    seen = set()
    for known in everything():
        status = status_of(known)
        seen.add(status)
        assert (status in OVER) == (phase_of(known) == "done")
        if status == "paused":
            assert known.desired == "paused" and known.crawl and known.index
            assert known.crawl.revision == known.index.revision == known.revision
            assert known.index.state == "holding" and known.crawl.state != "crawling"
        if status == "cancelled":
            assert known.index == Report("undone", known.revision)
        if status == "stalled":
            assert known.desired == "running" and known.waits_for
        if status == "needs_review":
            assert known.desired == "running" and known.review_revision == known.revision
        if status in ("completed", "completed_with_errors", "failed"):
            assert known.finished == status
    assert seen == set(get_args(Status))
