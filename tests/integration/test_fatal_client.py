"""A Kafka client that can't go on ends its process, whose partitions another takes over."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

import consumer.service
import control.service
import producer.service
from headrace.kafka import publisher as module
from headrace.kafka.admin import ensure_topics
from headrace.settings import Settings

Main = Callable[[Settings, asyncio.Event], Awaitable[None]]


@pytest.mark.parametrize("main", [producer.service.main, consumer.service.main, control.service.main])
async def test_a_service_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch, main: Main) -> None:
    ensure_topics(settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=settings.partitions)

    class Dying(Producer):
        def poll(self, *timeout_s: float) -> int:
            raise KafkaException(KafkaError(KafkaError._FATAL, "out of order sequence number"))

    monkeypatch.setattr(module, "Producer", Dying)
    async with asyncio.timeout(60):
        with pytest.raises(KafkaException, match="out of order"):
            await main(settings, asyncio.Event())
