"""A member that leads a rebalance while it is cut off knows no partitions: the group must not stay without any."""

import asyncio

import pytest
from aiokafka.cluster import ClusterMetadata

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
    consumer = Consumer(settings, settings.partitions)
    starting = asyncio.create_task(consumer.start())

    async def owns(partitions: int) -> bool:
        return consumer.window.gate.is_set() and len(consumer.app.consumer.assignment()) == partitions

    try:
        await until(lambda: owns(0), what="it leads, and gives itself nothing")
        cut_off.over = True
        await until(lambda: owns(settings.partitions), what="it looks again")
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await consumer.stop()


async def _given(assigned: list[frozenset[int]], wanted: frozenset[int]) -> None:
    async def given() -> bool:
        return bool(assigned) and assigned[-1] == wanted

    await until(given, what=f"partitions {sorted(wanted)}")
