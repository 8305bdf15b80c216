"""Every call is reserved, made and settled; cut off in any gap, the log never tells of less than was billed."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from consumer.account import Account, Sum
from consumer.judge import Judge
from consumer.ledger import Ledger
from consumer.metrics import REGISTRY
from consumer.reports import Reports
from consumer.stalls import GaveUp
from headrace.embedding.base import Embedded, RateLimited, TextsRefused
from headrace.embedding.limits import Rates
from headrace.errors import DependencyUnwell
from headrace.kafka.follower import Follower
from headrace.prices import Prices
from schemas.commands import JobCommand
from schemas.events import Event
from schemas.facts import BudgetReached, CallReserved, CallSettled
from schemas.kb import Budget
from tests.unit.consumer.made import DEFINITION, JOB, Known, LateCommands, command, generation

TEXT = ("some text", 6)
"""Bound: 10 tokens."""
BOUND = 10


class Cut(BaseException):
    """The process dies here."""


class Log:
    """What stands on `events`, and a provider that bills; both outlive an owner. `cut_at`: a step that is the last."""

    def __init__(self, budget: Budget) -> None:
        self.events: list[Event] = []
        self.billed = 0
        self.cut_at = ""
        self.known = Known(command(definition=msgspec.structs.replace(DEFINITION, budget=budget)))

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def step(self, name: str) -> None:
        if self.cut_at == name:
            raise Cut(name)

    def account(self) -> Account:
        account = Account()
        for event in self.events:
            account.apply(event)
        return account

    @property
    def command(self) -> JobCommand:
        found = self.known.commands.get(JOB)
        assert found is not None
        return found

    def resumed(self, budget: Budget) -> None:
        """As control does on a resume: the newest command has the definition's budget."""
        current = self.command
        definition = msgspec.structs.replace(current.definition, budget=budget)
        self.known.tell(msgspec.structs.replace(current, revision=current.revision + 1, definition=definition))


class Owner:
    """A consumer that owns the job: its ledger, and reports that go to the log."""

    worker = "w"

    def __init__(self, log: Log, group_generation: int = 1) -> None:
        self.log, self.group_generation, self.histories = log, group_generation, 0
        self.judge = Judge(cast(Follower, LateCommands(log.known)), log.known.commands, log.known.kbs)
        self.ledger = Ledger(
            cast(Reports, self), self.judge, Prices(), self._history, term=lambda: self.group_generation
        )
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.answer: Callable[[], Embedded] = lambda: Embedded(np.zeros((1, 2), dtype=np.float32), 4)

    async def publish(self, event: Event, partition: int) -> None:
        if isinstance(event, CallReserved):
            self.log.step("before the reservation")
        self.log.events.append(event)
        if isinstance(event, CallReserved):
            self.log.step("before the call")

    async def hand_over(self, event: Event, partition: int) -> None:
        self.log.step("before the settlement")
        self.log.events.append(event)

    async def _history(self, command: JobCommand) -> Account:
        self.histories += 1
        await asyncio.sleep(0)
        return self.log.account()

    async def _make(self) -> Embedded:
        await self.go_on.wait()
        answer = self.answer()
        self.log.billed += answer.tokens
        return answer

    async def call(self) -> Embedded:
        command = self.log.command
        return await self.ledger.call(command, [TEXT], self._make, may=lambda: self.judge.may_embed(JOB))


async def test_a_call_is_reserved_at_its_bound_and_settled_at_what_was_billed() -> None:
    log = Log(Budget())
    owner = Owner(log)
    await owner.call()
    (reserved,), (settled,) = log.of(CallReserved), log.of(CallSettled)
    assert reserved.call_id == settled.call_id and log.events == [reserved, settled]
    assert (reserved.texts, reserved.max_tokens, reserved.max_pico_usd) == (1, BOUND, BOUND * 20_000)
    assert (settled.texts, settled.requests, settled.tokens, settled.pico_usd) == (1, 1, 4, 80_000)
    assert owner.histories == 0, "without a budget nobody asks what was spent"


async def test_what_a_server_does_not_count_is_settled_at_what_the_records_do() -> None:
    """Some that speak OpenAI's API leave `usage` out, or say 0: a budget would never be reached."""
    log = Log(Budget(max_tokens=TEXT[1] + BOUND - 1))
    owner = Owner(log)
    owner.answer = lambda: Embedded(np.zeros((1, 8), dtype=np.float32), 0)
    await owner.call()
    assert log.account().spent() == Sum(TEXT[1], TEXT[1] * 20_000)
    with pytest.raises(GaveUp, match="budget"):
        await owner.call()


async def test_two_requests_are_reserved_and_settled_where_a_call_may_make_them() -> None:
    log = Log(Budget(max_tokens=2 * BOUND))
    owner = Owner(log)
    owner.answer = lambda: Embedded(np.zeros((1, 8), dtype=np.float32), 8, requests=2)
    await owner.ledger.call(log.command, [TEXT], owner._make, requests=2)
    (reserved,), (settled,) = log.of(CallReserved), log.of(CallSettled)
    assert (reserved.max_tokens, reserved.max_pico_usd) == (2 * BOUND, 2 * BOUND * 20_000)
    assert (settled.texts, settled.requests, settled.tokens, settled.pico_usd) == (1, 2, 8, 160_000)
    with pytest.raises(GaveUp, match="budget"):
        await owner.ledger.call(log.command, [TEXT], owner._make, requests=2)


@pytest.mark.parametrize(
    ("gap", "spent"),
    [("before the reservation", 0), ("before the call", BOUND), ("before the settlement", BOUND)],
)
async def test_cut_off_in_any_gap_the_next_owner_knows_of_no_less_than_was_billed(gap: str, spent: int) -> None:
    log = Log(Budget(max_tokens=BOUND + 9))
    log.cut_at = gap
    with pytest.raises(Cut):
        await Owner(log).call()
    log.cut_at = ""
    assert log.account().spent().tokens == spent >= log.billed
    owner = Owner(log, 2)
    if not spent:
        await owner.call()
        return
    with pytest.raises(GaveUp):
        await owner.call()
    assert log.of(BudgetReached)[0].spent_tokens == spent and owner.histories == 2


async def test_what_another_owner_has_under_way_counts_for_the_next() -> None:
    """A rebalance: the first still waits for its answer, which comes after the second has read the log."""
    log = Log(Budget(max_tokens=BOUND + 5))
    first, second = Owner(log), Owner(log, 2)
    first.go_on.clear()
    calling = asyncio.create_task(first.call())
    for _ in range(10):
        await asyncio.sleep(0)
    with pytest.raises(GaveUp):
        await second.call()
    first.go_on.set()
    await calling
    assert (log.billed, log.account().spent()) == (4, Sum(4, 80_000))
    log.resumed(Budget(max_tokens=BOUND + 5))
    second.judge.stalled.clear()
    await second.call()
    assert log.billed == 8, "what the first has settled since counts no more than it cost"


async def test_what_another_owner_ends_while_this_one_works_is_looked_up_before_a_pause_is_asked_for() -> None:
    log = Log(Budget(max_tokens=2 * BOUND + 4))
    first, second = Owner(log), Owner(log, 2)
    first.go_on.clear()
    calling = asyncio.create_task(first.call())
    for _ in range(10):
        await asyncio.sleep(0)
    await second.call()
    first.go_on.set()
    await calling
    await asyncio.gather(second.call(), second.call())
    assert log.billed == 16 and not log.of(BudgetReached) and second.histories == 2


async def test_the_accounts_of_jobs_that_are_over_are_not_kept() -> None:
    """An owner may work for months, and an account knows each call of its job."""
    log = Log(Budget(max_tokens=1_000))
    owner = Owner(log)
    await owner.call()
    log.known.tell(generation("published"))
    following = command(job_id="next", generation=2, definition=log.command.definition)
    log.known.tell(following)
    await owner.ledger.call(following, [TEXT], owner._make)
    assert set(owner.ledger._jobs) == {"next"}


async def test_an_owner_of_another_term_makes_no_call_once_its_reservation_is_told() -> None:
    log = Log(Budget())
    owner = Owner(log)
    publish = owner.publish

    async def slow(event: Event, partition: int) -> None:
        await publish(event, partition)
        owner.group_generation = 2  # stopped past its session, it wakes here

    owner.publish = slow  # type: ignore[method-assign]
    with pytest.raises(GaveUp):
        await owner.call()
    assert log.billed == 0 and log.account().spent() == Sum(0, 0)


async def test_what_was_known_in_another_term_is_read_again() -> None:
    log = Log(Budget(max_tokens=1_000))
    owner = Owner(log)
    await owner.call()
    owner.group_generation = 3
    await owner.call()
    await owner.call()
    assert owner.histories == 2


async def test_a_pause_that_comes_during_the_reservation_forbids_the_call() -> None:
    log = Log(Budget())
    owner = Owner(log)
    publish = owner.publish

    async def paused(event: Event, partition: int) -> None:
        await publish(event, partition)
        log.known.command("paused")

    owner.publish = paused  # type: ignore[method-assign]
    with pytest.raises(GaveUp):
        await owner.call()
    assert log.billed == 0 and log.account().spent() == Sum(0, 0)


async def test_the_budget_is_told_once_for_each_revision_and_no_call_is_made() -> None:
    log = Log(Budget(max_tokens=BOUND - 1))
    owner = Owner(log)
    for _ in range(3):
        with pytest.raises(GaveUp):
            await owner.call()
    (told,) = log.events
    assert isinstance(told, BudgetReached)
    assert (told.revision, told.spent_tokens, told.next_tokens, told.budget.max_tokens) == (1, 0, BOUND, BOUND - 1)
    assert "0 of 9 tokens are spent, and the next call may take 10" in told.reason
    assert not owner.judge.may_embed(JOB), "its records are parked until a command says otherwise"
    log.resumed(Budget(max_tokens=BOUND - 1))
    owner.judge.stalled.clear()
    with pytest.raises(GaveUp):
        await owner.call()
    assert [each.revision for each in log.of(BudgetReached)] == [1, 2] and log.billed == 0
    log.resumed(Budget(max_tokens=BOUND))
    owner.judge.stalled.clear()
    await owner.call()
    assert log.billed == 4 and owner.histories == 1


async def test_a_budget_in_dollars_counts_at_the_price_of_the_model() -> None:
    log = Log(Budget(max_usd=BOUND * 2e-8))
    owner = Owner(log)
    await owner.call()
    with pytest.raises(GaveUp):
        await owner.call()
    (told,) = log.of(BudgetReached)
    assert (told.spent_pico_usd, told.next_pico_usd, told.budget.max_usd) == (80_000, 200_000, 2e-07)


async def test_calls_under_way_are_waited_for_where_they_may_turn_out_smaller() -> None:
    log = Log(Budget(max_tokens=BOUND + 4))
    owner = Owner(log)
    owner.go_on.clear()
    calling = [asyncio.create_task(owner.call()) for _ in range(2)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(log.of(CallReserved)) == 1, "both at their bounds would pass it"
    owner.go_on.set()
    await asyncio.gather(*calling)
    assert log.billed == 8 and not log.of(BudgetReached)
    with pytest.raises(GaveUp):
        await owner.call()


async def test_no_interleaving_bills_more_than_the_budget() -> None:
    log = Log(Budget(max_tokens=50))
    owner = Owner(log)
    owner.answer = lambda: Embedded(np.zeros((1, 2), dtype=np.float32), BOUND)
    results = await asyncio.gather(*(owner.call() for _ in range(20)), return_exceptions=True)
    assert log.billed == 50 == log.account().spent().tokens
    assert sum(isinstance(each, GaveUp) for each in results) == 15 and len(log.of(BudgetReached)) == 1


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (DependencyUnwell("OpenAI", "429"), 0),
        (DependencyUnwell("OpenAI", "no answer within 20 s", in_doubt=True), BOUND),
        (TextsRefused("bad"), 0),
    ],
)
async def test_a_call_that_failed_costs_nothing_unless_that_is_in_doubt(error: Exception, spent: int) -> None:
    log = Log(Budget(max_tokens=100))
    owner = Owner(log)

    def fail() -> Embedded:
        raise error

    owner.answer = fail
    with pytest.raises(type(error)):
        await owner.call()
    assert log.account().spent().tokens == spent
    assert (await owner.ledger._job(log.command)).account.result().spent() == log.account().spent()


async def test_a_repair_is_not_held_up_by_a_budget() -> None:
    """What is over can't be paused, and its dead letters were asked for by a person."""
    log = Log(Budget(max_tokens=1))
    log.known.tell(generation("published"))
    await Owner(log).call()
    assert log.billed == 4


def _calls() -> dict[str, float]:
    results = ("answered", "throttled", "refused", "failed")
    return {
        result: REGISTRY.get_sample_value(
            "headrace_consumer_embedding_calls_total", {"provider": "openai", "result": result}
        )
        or 0
        for result in results
    }


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "answered"),
        (TextsRefused("bad"), "refused"),
        (DependencyUnwell("OpenAI", "answers 503"), "failed"),
        (DependencyUnwell("OpenAI", "the quota is exhausted", lasting=True), "failed"),
        (RateLimited("OpenAI", "rate limited (429)", Rates(retry_after_s=7)), "throttled"),
        (RateLimited("OpenAI", "rate limited (429)", Rates()), "throttled"),
        (asyncio.CancelledError(), None),
    ],
)
async def test_a_call_is_counted_by_what_came_of_it_and_not_where_it_was_cut_off(
    error: BaseException | None, result: str | None
) -> None:
    """A pause or a stop that cuts calls off is no failure of the provider."""
    owner, before = Owner(Log(Budget())), _calls()

    def answer() -> Embedded:
        if error is not None:
            raise error
        return Embedded(np.zeros((1, 2), dtype=np.float32), 4)

    owner.answer = answer
    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        await owner.call()
    counted = {name: count - before[name] for name, count in _calls().items() if count > before[name]}
    assert counted == ({result: 1} if result else {})
