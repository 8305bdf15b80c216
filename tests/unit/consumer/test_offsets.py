"""Where reading begins is decided by what is committed, where the log starts, and whether it was ever read."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, cast

import pytest

from consumer import offsets as module
from consumer.generations import Generations
from consumer.losses import Losses
from consumer.offsets import Offsets
from consumer.reports import Reports
from consumer.tasks import Tasks
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.facts import Outcomes
from tests.unit.consumer.made import JOB, KB, NOW, PARTITION, Known, command, generation, record

OUTCOMES = Outcomes(
    job_id=JOB, kb_id=KB, generation=1, partition=PARTITION, group_generation=1, worker="test", entries=(),
    decided_at=NOW,
)  # fmt: skip


class Group:
    """A group's committed offsets, `events` of the partition, and what is told; `deeds` in order."""

    def __init__(self) -> None:
        self.committed: dict[int, int] = {}
        self.end = 1_000
        self.events: list[RawRecord] = []
        self.deeds: list[Any] = []

    async def ask(self, partitions: Iterable[int]) -> dict[int, int | None]:
        return {partition: self.committed.get(partition) for partition in partitions}

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.end)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        self.committed |= offsets
        self.deeds.append(("commit", dict(offsets)))

    async def tell(self, job: Any, needed: str, first: int, end: int) -> None:
        self.deeds.append((needed, job.job_id, first, end))

    async def stall(self, job: Any, *, dependency: str, reason: str, since: str, ended: bool) -> None:
        self.deeds.append((dependency, job.job_id, ended))
        self.reason, self.since = reason, since

    async def end_offset(self, *where: Any, prefix: str) -> int:
        return len(self.events)

    async def stream_span(self, *where: Any, prefix: str) -> AsyncIterator[RawRecord]:
        for each in self.events:
            yield each


@pytest.fixture
def known() -> Known:
    return Known(command())


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group()
    monkeypatch.setattr(module, "end_offset", group.end_offset)
    monkeypatch.setattr(module, "stream_span", group.stream_span)
    return group


@pytest.fixture
async def offsets(group: Group, known: Known) -> Offsets:
    return Offsets(
        Settings(topic_prefix="t."), known.commands, Generations(cast(Any, None), cast(Any, None), known.kbs, 3),
        cast(Reports, group), cast(Losses, group), Tasks(), committed=group.ask, ends=group.ends, commit=group.commit,
    )  # fmt: skip


async def test_what_is_committed_is_left_as_it_is(offsets: Offsets, group: Group) -> None:
    group.committed = {PARTITION: 7}
    assert await offsets.settle({PARTITION: 7}) == {PARTITION: 7}
    assert group.deeds == []


async def test_a_partition_that_was_never_read_gets_a_commit(offsets: Offsets, group: Group) -> None:
    """Else a crash between the first outcomes and the first commit looked like deleted offsets."""
    assert await offsets.settle({PARTITION: 0}) == {PARTITION: 0}
    assert group.deeds == [("commit", {PARTITION: 0})]
    group.events = [record(OUTCOMES)]
    assert await offsets.settle({PARTITION: 0}) == {PARTITION: 0}


@pytest.mark.parametrize("state", [None, "open"])
@pytest.mark.parametrize("committed", [None, 3])
async def test_unread_records_that_are_gone_are_told_before_the_logs_start_is_committed(
    offsets: Offsets, group: Group, known: Known, state: str | None, committed: int | None
) -> None:
    if state:
        known.tell(generation(state))
    group.committed = {} if committed is None else {PARTITION: committed}
    assert await offsets.settle({PARTITION: 9}) == {PARTITION: 9}
    assert group.deeds == [("unread", JOB, committed or 0, 9), ("commit", {PARTITION: 9})]


@pytest.mark.parametrize("over", ["published", "undone", "cancelled"])
async def test_a_job_that_is_over_lost_nothing(offsets: Offsets, group: Group, known: Known, over: str) -> None:
    if over == "cancelled":
        known.command("cancelled")
    else:
        known.tell(generation(over))
    group.committed = {PARTITION: 3}
    assert await offsets.settle({PARTITION: 9}) == {PARTITION: 9}
    assert group.deeds == [("commit", {PARTITION: 9})]


async def test_deleted_offsets_are_for_a_person_to_decide_on(offsets: Offsets, group: Group) -> None:
    group.events = [record(command()), record(OUTCOMES)]
    assert await offsets.settle({0: 0, PARTITION: 4}) is None
    assert group.deeds == [("offsets", JOB, False)]
    assert "--group t.consumer --topic t.chunks:0,2 --reset-offsets --to-earliest" in group.reason


async def test_whoever_comes_or_changes_meanwhile_is_told_too(offsets: Offsets, group: Group, known: Known) -> None:
    group.events = [record(OUTCOMES)]
    assert await offsets.settle({PARTITION: 4}) is None
    since = group.since
    elsewhere = command(job_id="elsewhere", kb_id="elsewhere", partition=0)
    for each in (command(job_id="later", kb_id="later"), elsewhere, known.command("cancelled")):
        known.tell(each)
        offsets.command_changed(each)
    await asyncio.sleep(0.01)
    assert group.deeds == [("offsets", job, False) for job in (JOB, "later", JOB)] and group.since == since
    known.tell(generation("undone"))
    offsets.release()
    assert await offsets.settle({PARTITION: 4}) is None
    assert group.deeds[3:] == [("offsets", "later", False)] and group.since == since, "since the first time"
    offsets.release()
    group.committed = {PARTITION: 4}
    assert await offsets.settle({PARTITION: 4}) == {PARTITION: 4}
    offsets.command_changed(command(job_id="latest", kb_id="latest"))
    await asyncio.sleep(0.01)
    assert len(group.deeds) == 4


async def test_offsets_beyond_the_logs_end_are_for_a_person_to_decide_on(offsets: Offsets, group: Group) -> None:
    """The log was cut off or made anew: what it holds up to there would be passed over."""
    group.committed, group.end = {0: 7, PARTITION: 8}, 7
    assert await offsets.settle({0: 0, PARTITION: 0}) is None
    assert group.deeds == [("offsets", JOB, False)]
    assert "--topic t.chunks:2 --reset-offsets --to-earliest" in group.reason and "cancel the jobs" in group.reason
