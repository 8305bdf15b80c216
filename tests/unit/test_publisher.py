"""A client that can't go on: nothing waits for ever for its delivery reports."""

import asyncio
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from headrace.kafka import publisher as module
from headrace.kafka.publisher import MAX_IN_FLIGHT, Publisher
from schemas.parked import RequeuedThrough

EVENT = RequeuedThrough(job_id="j", partition=0, offset=1)


class Stub:
    """Takes records and reports none; `poll` raises once it is told to, as confluent-kafka does."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.taken: list[Any] = []
        self.dies = False

    def produce(self, *record: Any, **named: Any) -> None:
        self.taken.append((record, named))

    def poll(self, timeout_s: float) -> int:
        if self.dies:
            raise KafkaException(KafkaError(KafkaError._FATAL, "out of order sequence number"))
        return 0


@pytest.fixture
async def publisher(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "Producer", Stub)
    publisher = Publisher("nowhere:9092", prefix="t.", source="test")
    await publisher.start()
    yield publisher
    await publisher.stop()


async def test_a_fatal_error_fails_what_waits_and_all_that_comes_later(publisher: Publisher) -> None:
    waiting = await publisher.publish(EVENT, partition=0)
    sending = asyncio.create_task(publisher.send(EVENT, partition=0))
    watching = asyncio.create_task(publisher.failed())
    await asyncio.sleep(0)
    publisher._producer.dies = True  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        for each in (waiting, sending, watching):
            with pytest.raises(KafkaException, match="out of order"):
                await each
        with pytest.raises(KafkaException, match="out of order"):
            await publisher.send(EVENT, partition=0)
        await publisher.drain()


async def test_who_waits_for_room_is_told_too(publisher: Publisher) -> None:
    futures = [await publisher.publish(EVENT, partition=0) for _ in range(MAX_IN_FLIGHT)]
    late = asyncio.create_task(publisher.publish(EVENT, partition=0))
    await asyncio.sleep(0)
    assert not late.done()
    publisher._producer.dies = True  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        with pytest.raises(KafkaException, match="out of order"):
            await late
    assert len(publisher._producer.taken) == MAX_IN_FLIGHT  # type: ignore[attr-defined]
    assert all(isinstance(future.exception(), KafkaException) for future in futures)
