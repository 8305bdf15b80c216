"""Memberships that begin badly: led while cut off, forgotten while joining, ended while partitions are taken up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.group_coordinator import GroupCoordinator

from consumer.offsets import Offsets
from consumer.service import Consumer
from headrace.kafka.admin import ensure_topics
from headrace.settings import Settings
from producer.ownership import Ownership
from tests.support.waiting import until


class CutOff:
    """Hides a topic's partitions from this process until `over`."""

    def __init__(self, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
        known = ClusterMetadata.partitions_for_topic
        self.over = False

        def partitions_for_topic(cluster: ClusterMetadata, asked: str) -> set[int] | None:
            found: set[int] | None = known(cluster, asked)
            return found if self.over or asked != topic else None

        monkeypatch.setattr(ClusterMetadata, "partitions_for_topic", partitions_for_topic)


@pytest.fixture(autouse=True)
def topics(settings: Settings) -> None:
    ensure_topics(settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=settings.partitions)


async def test_a_producer_that_led_while_it_was_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off = CutOff(settings.topic("commands"), monkeypatch)
    assigned: list[frozenset[int]] = []

    async def revoked() -> None: ...

    ownership = Ownership(settings, assigned.append, revoked)
    holding = asyncio.create_task(ownership.hold())
    try:
        await _given(assigned, frozenset())
        cut_off.over = True
        await _given(assigned, frozenset(range(settings.partitions)))
    finally:
        holding.cancel()
        await ownership.leave()


async def test_a_consumer_that_led_while_it_was_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off = CutOff(settings.topic("chunks"), monkeypatch)
    async with _consumer(settings) as consumer:
        await _owns(consumer, 0)
        cut_off.over = True
        await _owns(consumer, settings.partitions)


async def test_a_consumer_that_is_forgotten_while_it_joins(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a commit under its former membership is refused late."""
    joined, join_complete = [0], GroupCoordinator._on_join_complete

    async def forgotten_twice(self: GroupCoordinator, *args: Any) -> None:
        joined[0] += 1
        if joined[0] <= 2:
            self.reset_generation()
        await join_complete(self, *args)

    monkeypatch.setattr(GroupCoordinator, "_on_join_complete", forgotten_twice)
    async with _consumer(settings) as consumer:
        await _owns(consumer, settings.partitions)
        assert (joined, consumer.app.crash_reason) == ([3], None)


async def test_a_consumer_that_stops_while_it_takes_up_its_partitions(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking_up, known = asyncio.Event(), asyncio.Event()
    settle = Offsets.settle

    async def slow(self: Offsets, log_start: Mapping[int, int]) -> Any:
        begins = await settle(self, log_start)
        taking_up.set()
        await known.wait()
        return begins

    monkeypatch.setattr(Offsets, "settle", slow)
    async with _consumer(settings) as consumer:
        await asyncio.wait_for(taking_up.wait(), 30)
        stopping = asyncio.create_task(consumer.stop())

        async def drained() -> bool:
            return consumer.window._closed == consumer.app.consumer_generation_id

        await until(drained, what="the window is closed")
        known.set()
        await stopping
        assert consumer.app.crash_reason is None


@contextlib.asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[Consumer]:
    consumer = Consumer(settings, settings.partitions)
    starting = asyncio.create_task(consumer.start())
    try:
        yield consumer
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await consumer.stop()


async def _owns(consumer: Consumer, partitions: int) -> None:
    async def owns() -> bool:
        return consumer.window.gate.is_set() and len(consumer.app.consumer.assignment()) == partitions

    await until(owns, what=f"{partitions} partitions")


async def _given(assigned: list[frozenset[int]], wanted: frozenset[int]) -> None:
    async def given() -> bool:
        return bool(assigned) and assigned[-1] == wanted

    await until(given, what=f"partitions {sorted(wanted)}")
