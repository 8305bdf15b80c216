"""What an owner tells of a job that is commanded while it waits for a dependency."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumer.keeper import Keeper
from consumer.metrics import REGISTRY
from consumer.reports import Reports
from consumer.stalls import Stalls
from headrace.errors import DependencyUnwell
from schemas.events import Event
from schemas.facts import IndexReport, Stall
from tests.unit.consumer.made import command, generation


class Log:
    """A publisher whose records are there at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def send(self, event: Event, *, partition: int) -> None:
        self.events.append(event)

    def told(self) -> list[str]:
        return [
            event.state if isinstance(event, IndexReport) else "ended" if event.ended else "stall"
            for event in self.events
            if isinstance(event, IndexReport | Stall)
        ]


class Window:
    async def quiet(self, job_id: str) -> None:
        pass

    async def settled_of(self, job_id: str) -> None:
        pass

    async def passed(self, place: Any) -> None:
        pass


def kept(log: Log) -> tuple[Keeper, Stalls]:
    reports = Reports(cast(Any, log), "worker")
    stalls = Stalls(reports)
    unused: Any = SimpleNamespace()
    keeper = Keeper(
        commands=unused, parked=unused, judge=unused, generations=SimpleNamespace(state=lambda command: None),
        parking=SimpleNamespace(requeue=_requeued), stalls=stalls, store=unused, probe=unused, reports=reports,
        tasks=unused,
    )  # type: ignore[arg-type]  # fmt: skip
    keeper.window = cast(Any, Window())
    return keeper, stalls


async def test_a_job_that_was_given_anothers_generation_by_hand_undoes_nothing() -> None:
    """It wrote nothing either; its end is told, so that it is over."""
    log, state = Log(), generation("open")
    keeper, _ = kept(log)
    keeper._generations = cast(Any, SimpleNamespace(state=lambda command: state))  # and can't undo
    await keeper._undo(command("cancelled", 2, job_id="by-hand"))
    assert log.told() == ["undone"]


async def _requeued(command: Any, passed: Any) -> None:
    pass


@pytest.mark.parametrize("duty", ["_hold", "_run"])
async def test_a_stall_that_outlasts_a_report_is_told_again_behind_it(
    duty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers take what stands before the report for over: a batch may be waiting to be written all the while."""
    monkeypatch.setattr("consumer.stalls.FIRST_PAUSE_S", 0.0)
    log, job = Log(), command("paused", revision=2)
    keeper, stalls = kept(log)
    tries = 0

    async def write() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            await getattr(keeper, duty)(job)
        if tries <= 2:
            raise DependencyUnwell("Weaviate", "down", lasting=True)

    async with asyncio.timeout(30):
        await stalls.retry(write, [job])
    assert log.told() == ["stall", {"_hold": "holding", "_run": "running"}[duty], "stall", "ended"]


async def test_a_stall_of_a_job_that_is_anothers_now_is_shown_no_longer() -> None:
    """Else both owners' metrics show it, and this one's for ever."""
    keeper, stalls = kept(Log())
    mine, anothers = command(), command(job_id="anothers", partition=0)
    jobs = {job.job_id: job for job in (mine, anothers)}
    keeper._commands = cast(Any, SimpleNamespace(get=jobs.get, of_partition=lambda partition: []))
    await stalls.tell([mine, anothers], DependencyUnwell("Weaviate", "down"))
    assert REGISTRY.get_sample_value("headrace_consumer_stalled_jobs", {"dependency": "Weaviate"}) == 2
    keeper.assigned(frozenset({mine.partition}))
    assert REGISTRY.get_sample_value("headrace_consumer_stalled_jobs", {"dependency": "Weaviate"}) == 1
    assert stalls.told == {mine.job_id}
