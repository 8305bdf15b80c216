"""A stall is told once it is worth telling, once, and ended once."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumer import stalls as module
from consumer.reports import Reports
from consumer.stalls import GaveUp, Stalls
from headrace.embedding.base import TextsRefused
from headrace.errors import DependencyUnwell
from tests.unit.consumer.made import command

JOBS = [command()]


class Clock:
    """Time passes only where the code under test waits; `pauses` are its waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    Lock = asyncio.Lock

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Told:
    """Stalls told, as (reason, ended)."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, bool]] = []
        self.since: list[str] = []

    async def stall(self, command: Any, *, dependency: str, reason: str, since: str, ended: bool) -> None:
        self.facts.append((reason, ended))
        self.since.append(since)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "asyncio", clock)
    return clock


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def stalls(told: Told, clock: Clock) -> Stalls:
    return Stalls(cast(Reports, told))


def failing(*errors: BaseException | None) -> Callable[[], Awaitable[str]]:
    """A call that raises each in turn, then answers."""
    left = list(errors)

    async def call() -> str:
        if left and (error := left.pop(0)) is not None:
            raise error
        return "well"

    return call


def unwell(reason: str = "down", **how: Any) -> DependencyUnwell:
    return DependencyUnwell("OpenAI", reason, **how)


async def test_a_hiccup_is_not_told(stalls: Stalls, told: Told, clock: Clock) -> None:
    assert await stalls.retry(failing(unwell(), unwell()), JOBS) == "well"
    assert told.facts == [] and len(clock.pauses) == 2


async def test_a_stall_is_told_once_and_ended_once(stalls: Stalls, told: Told) -> None:
    assert await stalls.retry(failing(*[unwell()] * 12), JOBS) == "well"
    assert told.facts == [("down", False), ("down", True)]
    assert len(set(told.since)) == 1


async def test_nothing_is_tried_again_under_another_term(told: Told, clock: Clock) -> None:
    """The term is another after the first pause; the dependency is well by then."""
    stalls = Stalls(cast(Reports, told), lambda: len(clock.pauses))
    with pytest.raises(GaveUp, match="another worker"):
        await stalls.retry(failing(unwell()), JOBS)


async def test_a_new_reason_is_told_with_the_old_beginning(stalls: Stalls, told: Told) -> None:
    await stalls.retry(failing(*[unwell()] * 8, unwell("slow"), unwell("slow")), JOBS)
    assert told.facts == [("down", False), ("slow", False), ("slow", True)]
    assert len(set(told.since)) == 1


async def test_what_waiting_will_not_mend_is_told_at_once(stalls: Stalls, told: Told) -> None:
    await stalls.retry(failing(unwell("key refused", lasting=True)), JOBS)
    assert told.facts == [("key refused", False), ("key refused", True)]


async def test_pauses_grow_to_a_bound_and_heed_what_was_asked_for(stalls: Stalls, clock: Clock) -> None:
    await stalls.retry(failing(*[unwell()] * 10, unwell(retry_after_s=60)), JOBS)
    assert clock.pauses[0] < 0.31
    assert all(earlier <= later * 1.5 for earlier, later in zip(clock.pauses, clock.pauses[1:-1], strict=False))
    assert 11 < clock.pauses[-2] < 19 and clock.pauses[-1] == 60


async def test_giving_up_leaves_the_stall_told(stalls: Stalls, told: Told) -> None:
    with pytest.raises(GaveUp) as caught:
        await stalls.retry(failing(*[unwell()] * 99), JOBS, lambda cause, waited_s: waited_s < 20)
    assert caught.value.cause.reason == "down" and 10 < caught.value.waited_s < 20
    assert told.facts == [("down", False)]
    await stalls.over(JOBS, "OpenAI")
    await stalls.over(JOBS, "OpenAI")
    assert told.facts == [("down", False), ("down", True)]


async def test_an_answer_that_refuses_texts_ends_the_stall_too(stalls: Stalls, told: Told) -> None:
    """Else the job shows as stalled until it is over."""
    refused = TextsRefused("bad")
    with pytest.raises(TextsRefused):
        await stalls.retry(failing(*[unwell()] * 8, refused), JOBS)
    assert told.facts == [("down", False), ("down", True)]


async def test_a_job_that_is_not_to_run_says_nothing_of_the_dependency(stalls: Stalls, told: Told) -> None:
    held = GaveUp(DependencyUnwell("job", "not running"), 0)
    with pytest.raises(GaveUp):
        await stalls.retry(failing(*[unwell()] * 8, held), JOBS)
    assert told.facts == [("down", False)]


async def test_a_forgotten_stall_is_told_again(stalls: Stalls, told: Told) -> None:
    for _ in range(2):
        with pytest.raises(GaveUp):
            await stalls.retry(failing(unwell(lasting=True)), JOBS, lambda cause, waited_s: False)
    assert told.facts == [("down", False)]
    stalls.forget("job")
    with pytest.raises(GaveUp):
        await stalls.retry(failing(unwell(lasting=True)), JOBS, lambda cause, waited_s: False)
    assert told.facts == [("down", False)] * 2


async def test_an_answer_that_takes_long_is_told_while_it_is_awaited(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW_S", 0.01)
    stalls = Stalls(cast(Reports, told))

    async def slow() -> str:
        await asyncio.sleep(0.2)
        return "well"

    assert await stalls.retry(slow, JOBS, server="OpenAI") == "well"
    assert [ended for _, ended in told.facts] == [False, True] and "no answer" in told.facts[0][0]


async def test_what_is_over_before_it_could_be_told_is_told_and_ended() -> None:
    """A server that is well again just as several jobs lose patience, while Kafka takes its time."""
    facts, kafka, one, other = [], asyncio.Event(), command(), command(job_id="other")

    async def stall(command: Any, *, ended: bool, **_: Any) -> None:
        await kafka.wait()
        facts.append((command.job_id, ended))

    stalls = Stalls(cast(Reports, SimpleNamespace(stall=stall)))
    telling = asyncio.create_task(stalls.tell([one, other], unwell()))
    await asyncio.sleep(0)
    ending = asyncio.create_task(stalls.over([other], "OpenAI"))
    await asyncio.sleep(0)
    kafka.set()
    await asyncio.gather(telling, ending)
    assert facts == [("job", False), ("other", False), ("other", True)]


async def test_what_is_forgotten_before_it_could_be_told_is_not_told_behind_the_owners_report() -> None:
    facts, kafka, one, other = [], asyncio.Event(), command(), command(job_id="other")

    async def stall(command: Any, **_: Any) -> None:
        await kafka.wait()
        facts.append(command.job_id)

    stalls = Stalls(cast(Reports, SimpleNamespace(stall=stall)))
    telling = asyncio.create_task(stalls.tell([one, other], unwell()))
    await asyncio.sleep(0)
    stalls.forget("other")
    kafka.set()
    await telling
    assert facts == ["job"]


async def test_a_quick_answer_ends_no_stall_that_another_call_told(told: Told) -> None:
    """Reads of a store that takes no writes succeed."""
    stalls = Stalls(cast(Reports, told))
    with pytest.raises(GaveUp):
        await stalls.retry(failing(unwell(lasting=True)), JOBS, lambda cause, waited_s: False)
    assert await stalls.retry(failing(), JOBS, server="OpenAI") == "well"
    assert told.facts == [("down", False)]


async def test_a_slow_call_that_is_cancelled_ends_at_once(told: Told) -> None:
    ended = asyncio.Event()

    async def endless() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    waiting = asyncio.create_task(Stalls(cast(Reports, told)).retry(endless, JOBS, server="OpenAI"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
