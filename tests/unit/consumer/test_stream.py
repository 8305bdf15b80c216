"""A record's delivery is waited for as Faust does it, with tasks only where there is something to wait for."""

import asyncio

import pytest
from mode import Service

from consumer.stream import Deliveries


class Delivering(Deliveries):
    """Without a broker."""

    def __init__(self) -> None:
        Service.__init__(self)


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
    await asyncio.wait_for(cut_off.wait(), 1)


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_is_raised(delivering: Delivering, waits: bool) -> None:
    async def deliver() -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("no event")

    with pytest.raises(ValueError, match="no event"):
        await delivering.wait_first(deliver(), never())
