"""A job whose budget is reached is paused, unless its command has changed since."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from control import rules
from control.budgets import Budgets
from control.problems import Invalid, Unavailable
from headrace.prices import Prices
from schemas.commands import JobCommand
from schemas.facts import BudgetReached
from schemas.kb import Budget, Definition, Embedding
from tests.support.waiting import until
from tests.unit.control.memory_log import DEFINITION, MemoryLog

SMALL = Budget(max_tokens=100)


class Played:
    """A desk with its log, and what the projection has of requests."""

    def __init__(self) -> None:
        self.log, self.asked, self.reads = MemoryLog(), list[BudgetReached](), 0
        self.away = 0

    async def started(self, budget: Budget = SMALL) -> JobCommand:
        command = await self.log.desk.start(
            "docs", msgspec.structs.replace(DEFINITION, budget=budget), by="t", reason=None, idempotency_key=None
        )
        self.log.active.add(command.job_id)
        return command

    def ask(self, command: JobCommand) -> None:
        self.asked = [
            BudgetReached(
                job_id=command.job_id, kb_id="docs", generation=1, revision=command.revision, spent_tokens=90,
                spent_pico_usd=0, next_tokens=20, next_pico_usd=0, budget=SMALL, reason="budget: 90 of 100", worker="w",
                reported_at="t",
            )
        ]  # fmt: skip

    async def read(self, jobs: list[str]) -> list[BudgetReached]:
        self.reads += 1
        if self.away:
            self.away -= 1
            raise Unavailable("Kafka is away")
        return [each for each in self.asked if each.job_id in jobs]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Budgets]:
        budgets = Budgets(self.log.books, self.log.desk, self.read)
        task = asyncio.create_task(budgets.run())
        yield budgets
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def command(self) -> JobCommand:
        return self.log.books.jobs("docs")[0]

    async def paused(self) -> bool:
        return self.command().desired == "paused"

    async def has_read(self, times: int) -> None:
        async def read() -> bool:
            return self.reads == times

        await until(read)


async def test_the_request_becomes_a_pause_that_says_why() -> None:
    played = Played()
    command = await played.started()
    async with played.running() as budgets:
        played.ask(command)
        budgets.touch({command.job_id})
        await until(played.paused)
    paused = played.command()
    assert (paused.revision, paused.issued_by, paused.reason) == (2, "budget", "budget: 90 of 100")


async def test_what_was_asked_while_no_control_ran_is_done_as_it_starts() -> None:
    played = Played()
    played.ask(await played.started())
    async with played.running():
        await until(played.paused)


async def test_a_request_of_another_revision_is_passed_over() -> None:
    """A person paused and resumed meanwhile, with a larger budget perhaps."""
    played = Played()
    first = await played.started()
    played.ask(first)
    why: dict[str, Any] = {"by": "t", "reason": None}
    await played.log.desk.change("docs", "pause", **why)
    await played.log.desk.change("docs", "resume", **why)
    async with played.running() as budgets:
        await played.has_read(1)
        budgets.touch({first.job_id})
        await played.has_read(2)
    assert (played.command().desired, played.command().revision) == ("running", 3)


async def test_a_command_that_comes_between_reading_and_deciding_stands() -> None:
    played = Played()
    command = await played.started()
    await played.log.desk.change("docs", "pause", by="t", reason="by hand")
    stands = await played.log.desk.change("docs", "pause", by="budget", reason="budget", only=command)
    assert (stands.revision, stands.reason) == (2, "by hand")


async def test_a_job_without_a_budget_is_not_even_looked_up() -> None:
    played = Played()
    command = await played.started(Budget())
    async with played.running() as budgets:
        budgets.touch({command.job_id, "unknown"})
        for _ in range(10):
            await asyncio.sleep(0)
    assert played.reads == 0


async def test_it_is_tried_again_where_kafka_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.budgets.RETRY_S", 0.0)
    played = Played()
    played.ask(await played.started())
    played.away = 2
    async with played.running():
        await until(played.paused)
    assert played.reads == 3


async def test_one_that_is_over_stays_so() -> None:
    played = Played()
    command = await played.started()
    played.log.active.clear()
    played.ask(command)
    async with played.running():
        await played.has_read(1)
        for _ in range(10):
            await asyncio.sleep(0)
    assert played.command().desired == "running"


def definition(model: str, **budget: Any) -> Definition:
    embedding = Embedding(provider="openai", model=model, dimensions=8)
    return msgspec.structs.replace(DEFINITION, embedding=embedding, budget=Budget(**budget))


def test_a_budget_in_dollars_needs_a_price() -> None:
    with pytest.raises(Invalid, match="HEADRACE_PRICES=bge-m3=<dollars"):
        rules.check_budget(definition("bge-m3", max_usd=1), Prices())
    rules.check_budget(definition("bge-m3", max_usd=1), Prices((("bge-m3", Decimal(0)),)))
    rules.check_budget(definition("bge-m3", max_tokens=1), Prices())
    rules.check_budget(definition("text-embedding-3-small", max_usd=1), Prices())


async def test_nothing_is_defined_or_started_with_a_budget_that_can_t_be_kept() -> None:
    log, asked = MemoryLog(), msgspec.structs.replace(definition("bge-m3", max_usd=1))
    for decide in (
        log.desk.define("docs", asked, by="t"),
        log.desk.start("docs", asked, by="t", reason=None, idempotency_key=None),
    ):
        with pytest.raises(Invalid, match=r"budget\.max_usd needs a price"):
            await decide
    assert log.transactions == []


@pytest.mark.parametrize(
    "asked",
    [
        definition("bge-m3", max_usd=1),
        msgspec.structs.replace(
            DEFINITION, embedding=Embedding(provider="openai", model="m", dimensions=8, endpoint="gone")
        ),
    ],
)
def test_what_would_not_be_started_is_not_estimated(asked: Definition) -> None:
    with pytest.raises(Invalid, match="restart control and the consumer"):
        MemoryLog().desk.wanted("docs", asked)
