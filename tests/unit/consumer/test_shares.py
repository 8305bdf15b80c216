"""Who gives way on a partition, and what of it is set aside."""

from typing import Any, cast

import msgspec
import pytest

from consumer.item import Item
from consumer.judge import Judge
from consumer.shares import FREE_BATCHES, Shares
from headrace.kafka.follower import Follower
from schemas.commands import JobCommand
from schemas.events import Event, Place
from tests.unit.consumer.made import (
    Known,
    LateCommands,
    begin,
    chunk,
    command,
    crawl_end,
    generation,
    item,
    page_end,
    repair_end,
)

LARGE, SMALL = command(), command(job_id="small", kb_id="other")
FREE = FREE_BATCHES * 1


class Partition:
    def __init__(self, *commands: JobCommand) -> None:
        self.known = Known(*commands)
        self.judge = Judge(cast(Follower, LateCommands(self.known)), self.known.commands, self.known.kbs)
        self.shares = Shares(self.judge, 1)

    def read(self, count: int) -> None:
        for offset in range(count):
            self.shares.note(item(chunk(f"text {offset}"), offset))

    def tell(self, event: Event) -> None:
        self.known.tell(event)


def test_a_job_that_is_alone_never_gives_way() -> None:
    partition = Partition(LARGE, command(job_id="elsewhere", kb_id="other", partition=LARGE.partition + 1))
    partition.read(1_000)
    assert not partition.shares.gives_way(LARGE)


def test_a_job_gives_way_once_it_has_had_its_free_share_and_the_small_one_never() -> None:
    partition = Partition(LARGE, SMALL)
    partition.read(FREE)
    assert not partition.shares.gives_way(LARGE)
    partition.read(1)
    assert partition.shares.gives_way(LARGE) and not partition.shares.gives_way(SMALL)


def test_copies_are_none_of_the_share() -> None:
    partition = Partition(LARGE, SMALL)
    for offset in range(100):
        partition.shares.note(item(chunk(origin=Place(2, 0)), offset))
    assert not partition.shares.gives_way(LARGE)


@pytest.mark.parametrize("desired", ["paused", "cancelled"])
def test_nothing_gives_way_to_a_job_that_does_not_run(desired: Any) -> None:
    partition = Partition(LARGE, SMALL)
    partition.read(100)
    partition.tell(command(desired, 2, job_id="small", kb_id="other"))
    assert not partition.shares.gives_way(LARGE)


@pytest.mark.parametrize("state", ["published", "undone"])
def test_nothing_gives_way_to_a_job_that_is_over(state: Any) -> None:
    partition = Partition(LARGE, SMALL)
    partition.read(100)
    opened = msgspec.structs.replace(generation("open"), kb_id="other", job_id="small")
    partition.tell(opened)
    assert partition.shares.gives_way(LARGE)
    partition.tell(msgspec.structs.replace(opened, state=state))
    assert not partition.shares.gives_way(LARGE)


@pytest.mark.parametrize("waits", ["stalled", "reviewing"])
def test_nothing_gives_way_to_a_job_that_waits(waits: str) -> None:
    partition = Partition(LARGE, SMALL)
    partition.read(100)
    getattr(partition.judge, waits).add("small")
    assert not partition.shares.gives_way(LARGE)


async def judged(partition: Partition, *events: Event) -> list[Item]:
    items = [item(event, offset) for offset, event in enumerate(events)]
    for each in items:
        await partition.judge.judge(each)
    partition.shares.set_aside(items)
    return items


async def test_what_is_set_aside_and_what_is_not() -> None:
    """A copy was set aside before; `crawl_begin` makes what older owners write stale; a repair is of what is over."""
    partition = Partition(LARGE, SMALL)
    partition.read(100)
    events = begin(), chunk(), page_end(), crawl_end(), repair_end(), chunk(origin=Place(2, 0)), chunk(job_id="?")
    results = [each.result for each in await judged(partition, *events)]
    assert results == [None, "parked", "parked", "parked", None, None, "dead_lettered"]


@pytest.mark.parametrize("desired", ["running", "paused"])
def test_of_a_job_that_gives_way_only_copies_are_to_be_embedded_and_of_one_paused_nothing(desired: Any) -> None:
    partition = Partition(LARGE, SMALL)
    partition.read(100)
    if desired != "running":
        partition.known.command(desired)
    waits = [partition.shares.waits(item(chunk(origin=origin)), LARGE) for origin in (None, Place(2, 0))]
    assert waits == [True, desired == "paused"]


async def test_what_was_read_to_be_set_aside_is_so_though_its_job_goes_on_meanwhile() -> None:
    """It stands in a batch that is too large to be embedded."""
    partition = Partition(command("paused"))
    each = item(chunk())
    each.waits = partition.shares.waits(each, LARGE)
    partition.known.command("running")
    await partition.judge.judge(each)
    assert each.result is None
    partition.shares.set_aside([each])
    assert each.result == "parked"


async def test_what_has_its_vector_is_paid_for_and_not_set_aside() -> None:
    partition = Partition(LARGE, SMALL)
    partition.read(100)
    each = item(chunk())
    each.command, each.vector = LARGE, cast(Any, [1.0])
    partition.shares.set_aside([each])
    assert each.result is None


async def test_the_end_of_a_job_that_is_published_is_not_set_aside() -> None:
    partition = Partition(LARGE, SMALL, generation("published"))
    partition.read(100)
    (end,) = await judged(partition, crawl_end())
    assert end.result is None
