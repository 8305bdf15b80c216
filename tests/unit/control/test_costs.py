"""What embedding cost, summed over the consumer's ledger."""

from typing import Any

import msgspec

from control import costs
from control.costs import Spent
from schemas.facts import CallReserved, CallSettled, Outcomes, QuestionsEmbedded, Stall
from tests.unit.control.test_folds import JOB, Filed, outcome, records, reserved, settled


def spent(*events: CallReserved | CallSettled | Outcomes) -> Spent:
    filed = Filed()
    filed.apply(records("events", 1, events))
    return filed.file.read(lambda cursor: costs.of_job(cursor, "j"))


def test_nothing_was_spent_where_nothing_was_called() -> None:
    assert spent() == Spent(texts=0, requests=0, tokens=0, pico_usd=0, unsettled_tokens=0, unsettled_pico_usd=0)


def test_a_settled_call_counts_as_it_was_settled_and_another_at_its_upper_bound() -> None:
    found = spent(reserved("a"), settled("a"), reserved("b", tokens=100, pico_usd=200))
    assert (found.texts, found.requests, found.tokens, found.pico_usd) == (2, 1, 7, 14)
    assert (found.unsettled_tokens, found.unsettled_pico_usd) == (100, 200)


def test_a_settlement_that_is_told_twice_counts_once() -> None:
    assert spent(reserved("a"), settled("a"), settled("a")).tokens == 7


def test_where_a_price_is_not_known_the_sum_is_not() -> None:
    assert spent(settled("a"), settled("b", pico_usd=None)).pico_usd is None
    assert spent(settled("a"), reserved("b", pico_usd=None)).pico_usd == 14, "of what is settled, all is known"
    assert spent(settled("a"), reserved("b", pico_usd=None)).unsettled_pico_usd is None


def test_sums_are_exact_beyond_what_a_float_or_64_bits_hold() -> None:
    large = 2**62 + 1
    assert spent(*(settled(str(n), pico_usd=large) for n in range(5))).pico_usd == 5 * large


def test_what_batches_told_before_calls_were_told_counts_without_a_price() -> None:
    old = msgspec.structs.replace(outcome(1, "c0", "indexed"), texts_embedded=1, tokens_embedded=40, calls=1)
    assert (spent(old).tokens, spent(old).requests, spent(old).pico_usd) == (40, 1, None)
    assert spent(outcome(1, "c0", "indexed")) == Spent(), "a batch that tells of no call leaves the price known"


def test_by_day_and_job_newest_first() -> None:
    other: dict[str, Any] = {"job_id": "k"}
    filed = Filed()
    filed.apply(
        records(
            "events",
            1,
            [
                reserved("a", at="2026-01-01T23:59:59.990Z"),
                settled("a", at="2026-01-02T00:00:00.010Z"),
                settled("b", at="2026-01-01T10:00:00.000Z"),
                settled("c", at="2026-01-02T10:00:00.000Z", **other),
                settled("d", at="2026-01-02T10:00:00.000Z", kb_id="another"),
            ],
        )
    )
    found = filed.file.read(lambda cursor: costs.of_kb(cursor, JOB["kb_id"]))
    assert [(day, each.tokens) for day, each in found.days.items()] == [("2026-01-02", 14), ("2026-01-01", 7)]
    assert [(job, each.tokens) for job, each in found.jobs.items()] == [("k", 7), ("j", 14)]
    assert (found.whole.tokens, found.whole.unsettled_tokens) == (21, 0)
    nothing = filed.file.read(lambda cursor: costs.of_kb(cursor, "none"))
    assert (nothing.whole, nothing.days, nothing.jobs) == (Spent(), {}, {})


def test_of_all_knowledge_bases() -> None:
    filed = Filed()
    told = [settled("a", at="2026-01-01T10:00:00.000Z"), asked(5, 10), asked(100, None, "another")]
    filed.apply(records("events", 1, told))
    found = filed.file.read(costs.of_all)
    assert (found.whole.tokens, found.whole.pico_usd) == (112, None), "of a part the price is not known"
    assert {kb: (each.tokens, each.pico_usd) for kb, each in found.kbs.items()} == {
        JOB["kb_id"]: (12, 24), "another": (100, None),
    }  # fmt: skip
    assert [(day, each.tokens) for day, each in found.days.items()] == [("2026-01-02", 105), ("2026-01-01", 7)]
    assert Filed().file.read(costs.of_all) == costs.AllSpent(whole=Spent(), days={}, kbs={})


def asked(tokens: int, pico_usd: int | None, kb_id: str = JOB["kb_id"]) -> QuestionsEmbedded:
    at = "2026-01-02T10:00:00.000Z"
    return QuestionsEmbedded(
        kb_id=kb_id, provider="openai", model="m", requests=3, tokens=tokens, pico_usd=pico_usd, worker="w", since=at,
        told_at=at,
    )  # fmt: skip


def test_questions_of_searches_are_the_knowledge_bases_and_of_no_job() -> None:
    filed = Filed()
    told = [settled("a", at="2026-01-01T10:00:00.000Z"), asked(5, 10), asked(6, 12), asked(100, 200, "another")]
    touched = filed.apply(records("events", 1, told))
    found = filed.file.read(lambda cursor: costs.of_kb(cursor, JOB["kb_id"]))
    assert found.searches == Spent(texts=6, requests=6, tokens=11, pico_usd=22)
    assert (found.whole.tokens, found.whole.pico_usd, found.whole.requests) == (18, 36, 7)
    assert {day: each.tokens for day, each in found.days.items()} == {"2026-01-02": 11, "2026-01-01": 7}
    assert {job: each.tokens for job, each in found.jobs.items()} == {"j": 7}
    assert filed.file.read(lambda cursor: costs.of_job(cursor, "j")).tokens == 7
    assert touched == {"j"}


def test_what_searches_cost_changes_the_status_of_the_newest_job() -> None:
    filed = Filed()
    filed.apply(records("events", 1, [stall("new", 2), stall("old", 1)]))
    assert filed.apply(records("events", 2, [asked(5, 10)])) == {"new"}


def stall(job_id: str, generation: int) -> Stall:
    ids: dict[str, Any] = JOB | {"job_id": job_id, "generation": generation}
    return Stall(**ids, service="consumer", dependency="OpenAI", reason="r", since="2026-01-01", ended=False)
