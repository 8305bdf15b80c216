"""A status only goes forward while facts only grow, and an end is an end."""

import dataclasses
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from control.status import OVER, Facts, Phase, Report, Status, phase_of, status_of
from schemas.commands import Desired

PHASES: tuple[Phase, ...] = get_args(Phase)
R = 3
OUTCOMES = ("completed", "completed_with_errors", "failed")


def reports(*states: str) -> st.SearchStrategy[Report | None]:
    return st.none() | st.builds(Report, st.sampled_from(states), st.integers(1, R))


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "desired": st.sampled_from(get_args(Desired)),
    "revision": st.sampled_from([1, R, R]),
    "crawl": reports("crawling", "holding", "finished", "failed"),
    "index": reports("running", "holding", "undone"),
    "crawl_over": st.booleans(),
    "all_processed": st.booleans(),
    "generation": st.sampled_from([None, "open", "published", "undone"]),
    "finished": st.sampled_from([None, *OUTCOMES]),
    "waits_for": st.frozensets(st.sampled_from(["Weaviate", "OpenAI"])),
    "review_revision": st.none() | st.integers(1, R),
    "blind": st.booleans(),
}
FACTS = st.builds(Facts, **FIELDS)
FACT = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: FIELDS[name].map(lambda value: {name: value}))


def with_fact(facts: Facts, fact: dict[str, Any]) -> Facts:
    return dataclasses.replace(facts, **fact)


@settings(max_examples=2_000)
@given(FACTS)
def test_there_is_always_one_status_and_one_phase(facts: Facts) -> None:
    status = status_of(facts)
    assert status in get_args(Status) and phase_of(facts) in PHASES
    assert (status in OVER) == (phase_of(facts) == "done")
    if status == "paused":
        assert facts.desired == "paused" and facts.crawl and facts.index
        assert facts.crawl.revision == facts.index.revision == facts.revision
        assert facts.index.state == "holding" and facts.crawl.state != "crawling"
    if status == "needs_review":
        assert facts.review_revision == facts.revision and facts.desired == "running"


@given(FACTS, st.lists(FACT, max_size=8))
def test_what_has_ended_stays_ended_whatever_comes_but_a_cancel_or_a_rollback(
    facts: Facts, later: list[dict[str, Any]]
) -> None:
    """A job that finished is over for good, unless its generation is asked to be undone."""
    facts = with_fact(facts, {"finished": facts.finished or "completed", "desired": "running"})
    before = status_of(facts)
    assert before == facts.finished
    for fact in later:
        if "finished" not in fact and fact.get("desired") not in ("cancelled", "rolled_back"):
            facts = with_fact(facts, fact)
            assert status_of(facts) == before


@given(FACTS, st.lists(st.sampled_from(["crawl_over", "all_processed", "published", "finished"]), max_size=6))
def test_phases_go_forward_while_facts_grow(facts: Facts, growth: list[str]) -> None:
    facts = with_fact(facts, {"generation": "open", "finished": None, "desired": "running"})
    grown = {"published": {"generation": "published"}, "finished": {"finished": "completed"}}
    seen = [phase_of(facts)]
    for fact in growth:
        facts = with_fact(facts, grown.get(fact, {fact: True}))
        seen.append(phase_of(facts))
    assert seen == sorted(seen, key=PHASES.index)


@given(FACTS, st.lists(FACT, max_size=8))
def test_a_cancelled_job_stays_so_under_its_command(facts: Facts, later: list[dict[str, Any]]) -> None:
    undone = {"desired": "cancelled", "index": Report("undone", R), "revision": R, "finished": None}
    facts = with_fact(facts, undone)
    for fact in later:
        if not undone.keys() & fact.keys():
            facts = with_fact(facts, fact)
            assert status_of(facts) == "cancelled"
