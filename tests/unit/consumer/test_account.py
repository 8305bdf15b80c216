"""What is spent, what is open, and what a budget leaves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.account import Account, Sum, most_tokens, passes
from schemas.events import Event
from schemas.facts import CallReserved, CallSettled
from schemas.kb import Budget, Embedding
from tests.fakes.openai_server import count_tokens
from tests.unit.consumer.made import JOB, KB, NOW

OF: dict[str, Any] = {"job_id": JOB, "kb_id": KB, "generation": 1, "provider": "openai", "model": "m", "worker": "w"}
SMALL = Embedding(provider="openai", model="text-embedding-3-small", dimensions=8)


def reserved(call_id: str, tokens: int, pico_usd: int | None = 0) -> CallReserved:
    return CallReserved(**OF, call_id=call_id, texts=1, max_tokens=tokens, max_pico_usd=pico_usd, group_generation=1,
                        reserved_at=NOW)  # fmt: skip


def settled(call_id: str, tokens: int, pico_usd: int | None = 0) -> CallSettled:
    return CallSettled(**OF, call_id=call_id, texts=1, requests=1, tokens=tokens, pico_usd=pico_usd, settled_at=NOW)


def account(*events: Event) -> Account:
    made = Account()
    for event in events:
        made.apply(event)
    return made


def test_what_is_not_settled_counts_at_its_bound() -> None:
    made = account(reserved("a", 100, 1), reserved("b", 50, 2), settled("a", 70, 3))
    assert made.spent() == Sum(120, 5)
    assert made.spent(without=["b"]) == Sum(70, 3)
    assert account(reserved("a", 1, None)).spent() == Sum(1, None)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12), st.randoms())
def test_neither_order_nor_repetition_shows(calls: list[tuple[str, bool]], random: Any) -> None:
    """As where an owner reads what it told itself, or a later one what two owners told."""
    events = [settled(name, 7, 7) if over else reserved(name, 10, 10) for name, over in calls]
    shuffled = events + events
    random.shuffle(shuffled)
    spent = account(*shuffled).spent()
    over = {name for name, is_over in calls if is_over}
    assert spent == Sum(*[7 * len(over) + 10 * len({name for name, _ in calls} - over)] * 2)


@pytest.mark.parametrize(
    ("budget", "spent", "following", "words"),
    [
        (Budget(), Sum(10**12, 10**18), Sum(1, None), None),
        (Budget(max_tokens=100), Sum(90), Sum(10), None),
        (Budget(max_tokens=100), Sum(90), Sum(11), "90 of 100 tokens are spent, and the next call may take 11"),
        (Budget(max_usd=0.3), Sum(0, 2 * 10**11), Sum(0, 10**11), None),
        (Budget(max_usd=0.3), Sum(0, 2 * 10**11), Sum(0, 10**11 + 1), "$0.2 of $0.3 are spent"),
        (Budget(max_usd=0), Sum(), Sum(1, 0), None),
        (Budget(max_usd=0), Sum(), Sum(1, 20), "$0 of $0 are spent"),
        (Budget(max_usd=9), Sum(), Sum(1, None), "HEADRACE_PRICES"),
        (Budget(max_tokens=5, max_usd=9), Sum(1, 1), Sum(5, 1), "budget.max_tokens"),
    ],
)
def test_a_budget_is_reached_by_the_call_that_would_pass_it(
    budget: Budget, spent: Sum, following: Sum, words: str | None
) -> None:
    reason = passes(budget, Account(spent), following)
    assert reason is None if words is None else reason and words in reason


def test_what_is_not_settled_is_told() -> None:
    reason = passes(Budget(max_tokens=120), account(settled("a", 70), reserved("b", 50)), Sum(1))
    assert (
        reason is not None and "120 of 120 tokens are spent (50 tokens of it in calls that are not settled)" in reason
    )
    assert passes(Budget(max_tokens=120), account(settled("a", 70), reserved("b", 50)), Sum(1), without=["b"]) is None


def test_calls_of_an_unknown_price_count_at_the_one_that_is_known_by_now() -> None:
    """Set while the job was paused: the budget that it is resumed with could never be kept to otherwise."""
    made = Account(pico_usd_per_token=3)
    for event in (settled("a", 10, None), settled("b", 10, 50), reserved("c", 5, None)):
        made.apply(event)
    assert made.spent() == Sum(25, 30 + 50 + 15)
    assert passes(Budget(max_usd=1), made, Sum(1, 3)) is None


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5))
def test_no_text_has_more_tokens_than_its_bound(texts: list[str]) -> None:
    exactly = sum(map(count_tokens, texts))
    assert most_tokens(SMALL, [(text, count_tokens(text)) for text in texts]) >= exactly
    unknown = Embedding(provider="openai", model="bge-m3", dimensions=8)
    assert most_tokens(unknown, [(text, 0) for text in texts]) >= exactly


def test_a_local_model_reads_no_more_than_it_can() -> None:
    local = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
    assert most_tokens(local, [("x" * 10_000, 9_999), ("word", 1)]) == 258 + 8
