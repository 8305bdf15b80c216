"""One answer from facts and counts."""

from typing import Any

import pytest

from control.ailments import Ailment
from control.picture import Costs, build
from control.questions import Tally, Told
from control.status import Facts, Report
from schemas.commands import JobCommand
from schemas.facts import Stall
from tests.unit.control.test_rules import command

STALL = Stall(job_id="j", kb_id="docs", generation=1, service="producer", dependency="Kafka", reason="down", since="t")


def pictured(made: JobCommand, **facts: Any) -> Any:
    known = Facts(desired=made.desired, revision=made.revision, blind=True, **facts)
    blind = [Ailment("projection", "the disk is full", "t")]
    return build(made, known, Told(stalls=(STALL,)), Tally(), None, Costs(), None, None, blind)


@pytest.mark.parametrize(
    ("made", "facts"),
    [
        (command(desired="cancelled", revision=2), {"index": Report("undone", 2)}),
        (command(), {"finished": "completed"}),
        (command(), {"finished": "failed"}),
    ],
)
def test_a_job_that_is_over_waits_for_nothing(made: JobCommand, facts: dict[str, Any]) -> None:
    """Not even where the end of a stall was never told: who waited was stopped."""
    answer = pictured(made, **facts)
    assert (answer.stalls, answer.reason) == ([], None)


def test_a_job_that_is_not_over_says_what_it_waits_for() -> None:
    answer = pictured(command(), crawl=Report("crawling", 3))
    assert answer.status == "stalled"
    assert [stall.dependency for stall in answer.stalls] == ["projection", "Kafka"]
    assert answer.reason == "projection: the disk is full"
