"""Cutting batches, and the spans that parked batches leave on the log."""

import asyncio
import itertools
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from consumer.item import Item
from consumer.losses import Losses
from consumer.parking import Parking
from consumer.window import split
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.events import Event, Place
from tests.unit.consumer.made import JOB, PARTITION, Known, chunk, command, item, page_end


@given(st.lists(st.sampled_from([1, 2, 4, 16]), max_size=60))
def test_an_item_joins_while_there_is_room_for_it_and_for_its_neighbour(sizes: list[int]) -> None:
    """`sizes`: the most that a batch may hold, by item."""
    items = [item(chunk(), offset) for offset in range(len(sizes))]

    def size_of(each: Item) -> int:
        return sizes[each.raw.offset]

    batches = [batch.items for batch in split(items, sizes, 1, size_of)]
    for batch in batches:
        for position in range(1, len(batch)):
            assert position < min(size_of(batch[position]), size_of(batch[position - 1]))
    for full, following in itertools.pairwise(batches):
        assert len(full) >= min(size_of(full[-1]), size_of(following[0])), "no batch is smaller than it must be"


def test_nothing_to_split_is_no_batch() -> None:
    assert split([], [], 1, lambda each: 4) == []


class Spans:
    """Takes spans in at once, as a publisher and a follower of `parked`."""

    def __init__(self, known: Known) -> None:
        self._known = known

    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        assert partition == PARTITION
        self._known.tell(event)
        delivered: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        delivered.set_result(Place(partition, 0))
        return delivered

    async def reached(self, topic: str, place: Place) -> None: ...


@given(
    fates=st.lists(st.sampled_from(["parked", "indexed", "superseded", "another job's"]), max_size=40),
    cuts=st.sets(st.integers(1, 39)),
)
def test_the_spans_of_all_batches_are_what_was_parked(fates: list[str], cuts: set[int]) -> None:
    """Offset by offset of one partition, cut into batches: the union of spans, without other jobs' records."""
    known = Known(command())
    spans = Spans(known)
    parking = Parking(Settings(), cast(Publisher, spans), cast(Follower, spans), known.parked, cast(Losses, None))
    bounds = [0, *sorted(cut for cut in cuts if cut < len(fates)), len(fates)]
    with asyncio.Runner() as runner:
        for first, end in itertools.pairwise(bounds):
            mine = [parked_or_not(offset, fates[offset]) for offset in range(first, end)]
            runner.run(parking.park([each for each in mine if each is not None]))
    covered = {o for each in known.parked.of(JOB) for o in range(each.first_offset, each.last_offset + 1)}
    assert {o for o in covered if fates[o] != "another job's"} == {
        o for o, fate in enumerate(fates) if fate == "parked"
    }


def parked_or_not(offset: int, fate: str) -> Item | None:
    if fate == "another job's":
        return None
    each = item(page_end() if offset % 3 == 0 else chunk(), offset)
    each.command, each.result = command("paused"), cast(Any, fate)
    return each
