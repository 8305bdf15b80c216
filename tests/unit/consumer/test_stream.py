"""A record's delivery is waited for as Faust does it, with tasks only where there is something to wait for."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP
from mode import Service

from consumer.stream import Deliveries

ASSIGNED = {TP("chunks", partition) for partition in range(3)}


class Delivering(Deliveries):
    """Without a broker."""

    def __init__(self) -> None:
        Service.__init__(self)
        self.app = SimpleNamespace(consumer_generation_id=1, in_recovery=False)
        self._paused_partitions, self._buffered_partitions = set[TP](), set[TP]()
        self._active_partitions = set(ASSIGNED)

    def assignment(self) -> set[TP]:
        return ASSIGNED

    @property
    def read(self) -> set[int]:
        """Partitions that the next fetch asks for."""
        return {tp.partition for tp in self._get_active_partitions()}


@pytest.fixture
def delivering() -> Delivering:
    return Delivering()


async def never() -> None:
    await asyncio.Event().wait()


async def test_what_need_not_wait_is_delivered_without_a_task(delivering: Delivering) -> None:
    seen: list[object] = []

    async def deliver() -> str:
        seen.append(asyncio.current_task())
        return "delivered"

    assert (await delivering.wait_first(deliver(), never())).results == ["delivered"]
    assert seen == [asyncio.current_task()]


async def test_what_waits_goes_on_where_it_was(delivering: Delivering) -> None:
    room, steps = asyncio.Event(), []

    async def deliver() -> str:
        for step in range(3):
            steps.append(step)
            await asyncio.sleep(0)
        await room.wait()
        return "delivered"

    asyncio.get_running_loop().call_later(0.001, room.set)
    assert (await delivering.wait_first(deliver(), never())).results == ["delivered"]
    assert steps == [0, 1, 2]


async def test_a_stop_of_the_flow_cuts_a_wait_off(delivering: Delivering) -> None:
    cut_off = asyncio.Event()

    async def deliver() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    async def suspended() -> str:
        return "suspended"

    assert (await delivering.wait_first(deliver(), suspended())).results == ["suspended"]
    await asyncio.wait_for(cut_off.wait(), 30)


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_is_raised(delivering: Delivering, waits: bool) -> None:
    async def deliver() -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("no event")

    with pytest.raises(ValueError, match="no event"):
        await delivering.wait_first(deliver(), never())


async def test_what_is_held_stays_so_when_faust_has_room_again(delivering: Delivering) -> None:
    full = TP("chunks", 0)
    delivering.on_buffer_full(full)
    delivering.hold(frozenset({0, 1}))
    delivering.on_buffer_drop(full)
    assert delivering.read == {2}
    delivering.hold(frozenset())
    assert delivering.read == {0, 1, 2}


async def test_what_faust_has_no_room_for_is_not_read_as_another_is_held(delivering: Delivering) -> None:
    full = TP("chunks", 0)
    delivering.on_buffer_full(full)
    delivering.hold(frozenset({1}))
    assert delivering.read == {2}
    delivering.on_buffer_drop(full)
    assert delivering.read == {0, 2}


async def test_nothing_is_held_in_the_next_group_generation(delivering: Delivering) -> None:
    full = TP("chunks", 0)
    delivering.hold(frozenset({0}))
    delivering.app.consumer_generation_id = 2
    delivering._set_active_tps(ASSIGNED)
    delivering.on_buffer_full(full)
    delivering.on_buffer_drop(full)
    assert delivering.read == {0, 1, 2}


async def test_a_fetch_under_way_keeps_the_partitions_it_was_begun_with(delivering: Delivering) -> None:
    """Faust drops what it has read of any other."""
    asked = delivering._get_active_partitions()
    delivering.on_buffer_full(TP("chunks", 0))
    delivering.hold(frozenset({1}))
    delivering.on_buffer_drop(TP("chunks", 0))
    assert asked == ASSIGNED
