"""A job's status and phase, as pure functions of facts.

| desired | facts, the first row that fits | status |
|---|---|---|
| any | finished: failed | failed |
| cancelled, rolled_back | consumer `undone` answers the current revision | cancelled |
| cancelled | finished, and its generation not undone: it was published before the cancel | completed… |
| cancelled, rolled_back | else | cancelling |
| any | finished: completed, completed_with_errors | the same |
| paused | producer and consumer hold, both answering the current revision | paused |
| paused | else | pausing |
| running | control itself is unwell: what it knows may be old | stalled |
| running | no report answers the current revision, which is not the first | resuming |
| running | the producer has not reported yet, in the first revision | queued |
| running | the consumer asked for a review under the current revision | needs_review |
| running | a dependency is unwell | stalled |
| running | else | running |
"""

from dataclasses import dataclass
from typing import Literal

from schemas.commands import Desired

Status = Literal[
    "queued", "running", "pausing", "paused", "resuming", "cancelling", "cancelled", "stalled", "needs_review",
    "completed", "completed_with_errors", "failed",
]  # fmt: skip
Phase = Literal["crawling", "indexing", "publishing", "done"]

PASSING: frozenset[Status] = frozenset({"queued", "pausing", "resuming", "cancelling"})
OVER: frozenset[Status] = frozenset({"cancelled", "completed", "completed_with_errors", "failed"})


@dataclass(frozen=True)
class Report:
    """A service's newest word on the job, and the command revision that it answers."""

    state: str
    revision: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that decides a status. `waits_for` names the dependencies of open stalls; `blind`: control is unwell.

    `review_revision` is the command under which a review was asked for last.
    """

    desired: Desired
    revision: int
    crawl: Report | None = None
    index: Report | None = None
    crawl_over: bool = False
    all_processed: bool = False
    generation: Literal["open", "published", "undone"] | None = None
    finished: Literal["completed", "completed_with_errors", "failed"] | None = None
    waits_for: frozenset[str] = frozenset()
    review_revision: int | None = None
    blind: bool = False


def status_of(facts: Facts) -> Status:
    if facts.finished == "failed":
        return "failed"
    if facts.desired in ("cancelled", "rolled_back"):
        return _cancelled(facts)
    if facts.finished:
        return facts.finished
    if facts.desired == "paused":
        return "paused" if producer_holds(facts) and consumer_holds(facts) else "pausing"
    return _running(facts)


def phase_of(facts: Facts) -> Phase:
    if status_of(facts) in OVER:
        return "done"
    if facts.generation == "published" or (facts.crawl_over and facts.all_processed):
        return "publishing"
    return "indexing" if facts.crawl_over else "crawling"


def producer_holds(facts: Facts) -> bool:
    """A crawl that is over holds too, once it answers the current revision."""
    return _answers(facts.crawl, facts.revision, "holding", "finished", "failed")


def consumer_holds(facts: Facts) -> bool:
    return _answers(facts.index, facts.revision, "holding")


def _cancelled(facts: Facts) -> Status:
    if _answers(facts.index, facts.revision, "undone"):
        return "cancelled"
    if facts.desired == "cancelled" and facts.finished and facts.generation != "undone":
        return facts.finished
    return "cancelling"


def _running(facts: Facts) -> Status:
    if facts.blind:
        return "stalled"
    answered = any(_answers(report, facts.revision) for report in (facts.crawl, facts.index))
    if facts.revision > 1 and not answered:
        return "resuming"
    if facts.crawl is None and facts.revision == 1:
        return "queued"
    if facts.review_revision == facts.revision:
        return "needs_review"
    return "stalled" if facts.waits_for else "running"


def _answers(report: Report | None, revision: int, *states: str) -> bool:
    return report is not None and report.revision == revision and (not states or report.state in states)
