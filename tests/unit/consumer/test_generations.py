"""A generation's last record on the log is what its readers hold it for: compaction keeps no other."""

import asyncio
import uuid
from typing import cast

import pytest

from consumer.generations import Generations
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from schemas.codec import encode
from schemas.events import Event, Place
from schemas.kb import GenerationState
from tests.unit.consumer.made import Known, command, generation

COMMAND = command()
ROLLBACK = command("rolled_back")


class Log:
    """Written to at once, read a while later: `read` lets the follower get on."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.states: list[str] = []
        self.read = asyncio.Event()
        self.read.set()

    async def send(self, event: Event, *, partition: int) -> Place:
        assert isinstance(event, GenerationState)
        self.states.append(event.state)
        self._unread = event
        return Place(partition, len(self.states) - 1)

    async def reached(self, topic: str, place: Place) -> None:
        event = self._unread
        await self.read.wait()
        self._known.tell(event)


class Rig:
    def __init__(self) -> None:
        self.known = Known(COMMAND)
        self.log = Log(self.known)
        self.generations = Generations(cast(Publisher, self.log), cast(Follower, self.log), self.known.kbs, 6)

    @property
    def state(self) -> str | None:
        known = self.generations.state(COMMAND)
        return known.state if known else None


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_opens_once_per_epoch(rig: Rig) -> None:
    for epoch in (3, 3, 2, 7):
        await rig.generations.open(COMMAND, epoch)
    state = rig.generations.state(COMMAND)
    assert state is not None and (state.state, state.epoch) == ("open", 7)
    assert rig.log.states == ["open", "open"]


async def test_publishing_keeps_the_epoch_and_happens_once(rig: Rig) -> None:
    await rig.generations.open(COMMAND, 3)
    assert await rig.generations.publish(COMMAND)
    assert await rig.generations.publish(COMMAND)
    state = rig.generations.state(COMMAND)
    assert state is not None and (state.state, state.epoch) == ("published", 3)
    assert rig.log.states == ["open", "published"]


async def test_what_is_published_can_be_undone_by_a_rollback_alone(rig: Rig) -> None:
    """A job may build on it since: a cancel that came too late must not take it away."""
    await rig.generations.publish(COMMAND)
    assert not await rig.generations.undo(COMMAND, "cancelled")
    assert rig.state == "published"
    assert await rig.generations.undo(ROLLBACK, "rolled back")
    assert rig.state == "undone"


async def test_nothing_is_written_after_undone(rig: Rig) -> None:
    await rig.generations.undo(COMMAND, "cancelled")
    await rig.generations.open(COMMAND, 9)
    assert not await rig.generations.publish(COMMAND)
    await rig.generations.undo(COMMAND, "again")
    assert rig.log.states == ["undone"]


@pytest.mark.parametrize("first", ["undo", "publish"])
async def test_of_publishing_and_undoing_at_once_the_first_stands(rig: Rig, first: str) -> None:
    rig.log.read.clear()
    changes = {
        "undo": lambda: rig.generations.undo(COMMAND, "cancelled"),
        "publish": lambda: rig.generations.publish(COMMAND),
    }
    tasks = [asyncio.create_task(changes.pop(first)()), *(asyncio.create_task(change()) for change in changes.values())]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(rig.log.states) == 1, "the second waits until the first is known"
    rig.log.read.set()
    await asyncio.gather(*tasks)
    assert rig.log.states == [rig.state] == ["undone" if first == "undo" else "published"]


async def test_a_change_whose_caller_goes_is_known_before_the_next_is_decided(rig: Rig) -> None:
    rig.log.read.clear()
    undoing = asyncio.create_task(rig.generations.undo(COMMAND, "cancelled"))
    for _ in range(10):
        await asyncio.sleep(0)
    undoing.cancel()
    publishing = asyncio.create_task(rig.generations.publish(COMMAND))
    await asyncio.gather(undoing, return_exceptions=True)
    rig.log.read.set()
    assert not await publishing
    assert rig.log.states == ["undone"]


async def test_a_crawl_anew_is_asked_for_and_counted_once_per_epoch(rig: Rig) -> None:
    await rig.generations.open(COMMAND, 3)
    for epoch in (3, 3, 2, 9):
        await rig.generations.recrawl(COMMAND, epoch)
    state = rig.generations.state(COMMAND)
    assert state is not None and (state.epoch, state.recrawl, state.recrawls) == (3, 9, 2)
    await rig.generations.publish(COMMAND)
    await rig.generations.recrawl(COMMAND, 20)
    state = rig.generations.state(COMMAND)
    assert state is not None and (state.state, state.recrawl, state.recrawls) == ("published", 9, 2)


async def test_what_the_crawl_anew_is_to_send_is_named_until_the_generation_is_published(rig: Rig) -> None:
    await rig.generations.open(COMMAND, 3)
    await rig.generations.recrawl(COMMAND, 3, {"b"})
    await rig.generations.recrawl(COMMAND, 5, {"a"})
    await rig.generations.recrawl(COMMAND, 9)
    assert _not_indexed(rig) == ("a", "b"), "pages that were sent back first may not have been read since"
    await rig.generations.publish(COMMAND, {"a"})
    assert _not_indexed(rig) == ("a",)


async def test_more_to_send_than_a_record_holds_stays_more(rig: Rig) -> None:
    await rig.generations.open(COMMAND, 3)
    await rig.generations.recrawl(COMMAND, 3, (str(uuid.uuid4()) for _ in range(30_000)))
    await rig.generations.recrawl(COMMAND, 5)
    state = rig.generations.state(COMMAND)
    assert state is not None and state.not_indexed_cut and len(encode(state)) < 900_000


async def test_what_could_not_be_indexed_is_told_by_the_proof_and_again_by_a_repair(rig: Rig) -> None:
    await rig.generations.publish(COMMAND, {"b", "a"})
    await rig.generations.publish(COMMAND, {"c"})
    assert _not_indexed(rig) == ("a", "b")
    assert await rig.generations.prove_again(COMMAND, {"b"})
    assert _not_indexed(rig) == ("b",)
    await rig.generations.undo(ROLLBACK, "rolled back")
    assert not await rig.generations.prove_again(COMMAND, ())


async def test_what_a_newer_owner_has_opened_is_not_published_by_one_that_was_cut_off(rig: Rig) -> None:
    await rig.generations.open(COMMAND, 3)
    rig.log.read.clear()
    publishing = asyncio.create_task(rig.generations.publish(COMMAND))
    for _ in range(10):
        await asyncio.sleep(0)
    rig.known.tell(generation("open", 7))
    rig.log.read.set()
    assert not await publishing
    state = rig.generations.state(COMMAND)
    assert state is not None and (state.state, state.epoch) == ("open", 7)


async def test_a_repair_publishes_nothing(rig: Rig) -> None:
    await rig.generations.open(COMMAND, 3)
    assert not await rig.generations.prove_again(COMMAND, ())
    assert rig.state == "open"


async def test_a_state_stays_below_what_a_record_may_hold(rig: Rig) -> None:
    await rig.generations.publish(COMMAND, (str(uuid.uuid4()) for _ in range(30_000)))
    state = rig.generations.state(COMMAND)
    assert state is not None and len(encode(state)) < 900_000
    assert state.not_indexed_cut, "a refresh must not take those that are left out for indexed"
    await rig.generations.prove_again(COMMAND, ("few",))
    state = rig.generations.state(COMMAND)
    assert state is not None and (state.not_indexed, state.not_indexed_cut) == (("few",), False)


async def test_what_a_later_record_hides_is_written_again(rig: Rig) -> None:
    await rig.generations.undo(COMMAND, "cancelled")
    await rig.generations.restate(COMMAND.kb_id, COMMAND.generation)
    assert rig.log.states == ["undone"]
    rig.known.tell(generation("published"))
    await rig.generations.restate(COMMAND.kb_id, COMMAND.generation)
    assert rig.log.states == ["undone", "undone"]
    assert not rig.known.kbs.hidden()


def _not_indexed(rig: Rig) -> tuple[str, ...]:
    state = rig.generations.state(COMMAND)
    assert state is not None
    return state.not_indexed


async def test_another_jobs_generation_is_left_as_it_is(rig: Rig) -> None:
    """Two jobs may be given one generation by hand: a cancel of the second must not undo the first's."""
    await rig.generations.open(COMMAND, 3)
    for desired in ("cancelled", "rolled_back"):
        other = command(desired, 2, job_id="by-hand")  # type: ignore[arg-type]
        assert not await rig.generations.undo(other, "by hand")
    assert not await rig.generations.publish(command(job_id="by-hand"))
    await rig.generations.recrawl(command(job_id="by-hand"), 9)
    assert (rig.state, rig.log.states) == ("open", ["open"])
