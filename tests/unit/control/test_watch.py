"""The hub of watchers: newest states only, resumable by id, whatever a watcher's pace."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from control import watch
from control.watch import Gone, Hub


class State(msgspec.Struct, frozen=True):
    kb_id: str
    value: int


Event = tuple[str, str, Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 0.001)


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    for value, kb_id in enumerate("abc"):
        hub.tell("kb", kb_id, State(kb_id, value))
    return hub


def parse(sent: bytes) -> list[Event]:
    """(event, id, data) of each, as a browser reads the stream."""
    events = []
    for block in sent.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            events.append((fields["event"], fields["id"], msgspec.json.decode(fields["data"])))
    return events


async def some(frames: AsyncGenerator[bytes, None], count: int) -> list[Event]:
    """At least so many events."""
    events: list[Event] = []
    while len(events) < count:
        events += parse(await asyncio.wait_for(anext(frames), 30))
    return events


async def test_a_new_watcher_is_told_all_and_then_what_changes(hub: Hub) -> None:
    async with aclosing(hub.watch(None)) as frames:
        events = await some(frames, 4)
        assert [(kind, data.get("kb_id")) for kind, _, data in events] == [
            ("reset", None), ("kb", "a"), ("kb", "b"), ("kb", "c"),
        ]  # fmt: skip
        hub.tell("status", "b", State("b", 7))
        ((kind, _, data),) = await some(frames, 1)
        assert (kind, data) == ("status", {"kb_id": "b", "value": 7})


async def test_who_comes_back_is_told_what_is_newer_and_nothing_twice(hub: Hub) -> None:
    async with aclosing(hub.watch(None)) as frames:
        *_, (_, last_id, _) = await some(frames, 4)
    hub.tell("kb", "a", State("a", 10))
    hub.tell("kb", "b", State("b", 1))  # as it was
    hub.tell("kb", "a", State("a", 11))
    hub.tell("deleted", "c", Gone("c"))
    async with aclosing(hub.watch(last_id)) as frames:
        events = await some(frames, 2)
    assert [(kind, data) for kind, _, data in events] == [
        ("kb", {"kb_id": "a", "value": 11}), ("deleted", {"kb_id": "c"}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "last_id", ["", "x", "0-1", "-", "{name}-", "{name}--1", "{name}-x", "{name}-" + "9" * 30, "{name}-٣"]
)
async def test_an_id_that_tells_nothing_is_answered_with_everything(hub: Hub, last_id: str) -> None:
    name = (await _first_id(hub)).partition("-")[0]
    async with aclosing(hub.watch(last_id.format(name=name))) as frames:
        assert [kind for kind, _, _ in await some(frames, 4)] == ["reset", "kb", "kb", "kb"]


async def test_an_id_of_a_control_that_ran_before(hub: Hub) -> None:
    last_id = await _first_id(Hub())
    async with aclosing(hub.watch(last_id)) as frames:
        assert (await some(frames, 4))[0][0] == "reset"


async def test_a_watcher_that_reads_slowly_gets_the_newest_alone(hub: Hub) -> None:
    async with aclosing(hub.watch(None)) as frames:
        await some(frames, 4)
        for value in range(1_000):
            hub.tell("status", "a", State("a", value))
        events = await some(frames, 1)
    assert [data["value"] for _, _, data in events] == [999]


async def test_what_is_told_while_a_frame_is_taken_is_not_lost(hub: Hub) -> None:
    async with aclosing(hub.watch(None)) as frames:
        await some(frames, 1)
        hub.tell("kb", "z", State("z", 1))
        first = parse(await anext(frames))
        hub.tell("kb", "z", State("z", 2))  # between two frames
        assert [data["kb_id"] for _, _, data in first] == ["a", "b", "c", "z"]
        assert [data["value"] for _, _, data in await some(frames, 1)] == [2]


async def test_only_those_asked_for_and_a_heartbeat_all_the_same(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.05)
    async with aclosing(hub.watch(None, {"b"})) as frames:
        assert [data.get("kb_id") for _, _, data in await some(frames, 2)] == [None, "b"]
        noise = asyncio.create_task(_noise(hub))
        assert await asyncio.wait_for(anext(frames), 30) == b":\n\n"
        noise.cancel()


async def test_nothing_more_is_told_of_what_was_deleted_until_it_is_defined_again(hub: Hub) -> None:
    hub.tell("status", "a", State("a", 1))
    hub.tell("deleted", "a", Gone("a"))
    hub.tell("status", "a", State("a", 2))
    async with aclosing(hub.watch(None)) as frames:
        assert [data.get("kb_id") for _, _, data in await some(frames, 3)] == [None, "b", "c"]
        hub.tell("kb", "a", State("a", 3))
        hub.tell("status", "a", State("a", 4))
        assert [kind for kind, _, _ in await some(frames, 2)] == ["kb", "status"]


async def test_closing_ends_all_watching(hub: Hub) -> None:
    async with aclosing(hub.watch(None)) as frames:
        await some(frames, 4)
        ended = asyncio.create_task(_rest(frames))
        await asyncio.sleep(0)
        assert hub.watchers == 1
        hub.close()
        assert await asyncio.wait_for(ended, 30) == []
    assert hub.watchers == 0


async def _first_id(hub: Hub) -> str:
    async with aclosing(hub.watch(None)) as frames:
        return (await some(frames, 1))[0][1]


async def _noise(hub: Hub) -> None:
    for value in range(100_000):
        hub.tell("kb", "c", State("c", value))
        await asyncio.sleep(0.001)


async def _rest(frames: AsyncGenerator[bytes, None]) -> list[bytes]:
    return [frame async for frame in frames]
