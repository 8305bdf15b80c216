"""A record that a client can't even parse stops nobody: it is stepped over, and its neighbours are read.

librdkafka's mock broker speaks the protocol on loopback; a header's key that is no UTF-8 is written byte by byte.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import Producer

from control.reader import LogReader
from headrace.kafka.follower import Follower, read_span
from headrace.kafka.records import RawRecord
from tests.support.waiting import until


class NoText(str):
    """A header's key as no client should write it."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


@pytest.fixture
def broker() -> Iterator[str]:
    held = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1})
    (first,) = held.list_topics(timeout=10).brokers.values()
    yield f"{first.host}:{first.port}"
    held.flush(1)


async def write(broker: str, topic: str, *, bad: int, batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of five records; in the first of them, number `bad` can't be parsed."""
    for module in (message_accumulator, producer):  # its other builder checks types
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    writer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=200)
    await writer.start()
    for batch in range(batches):
        sent = []
        for n in range(5):
            name = NoText("bad") if (batch, n) == (0, bad) else "good"
            value = f"{5 * batch + n}".encode()
            sent.append(await writer.send(topic, value, key=b"k", partition=0, headers=[(name, b"1")]))
        await asyncio.gather(*sent)
    await writer.stop()


@pytest.mark.parametrize("bad", [0, 2, 4])
async def test_a_follower_steps_over_it(
    broker: str, bad: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await write(broker, "t.commands", bad=bad, batches=2, monkeypatch=monkeypatch)
    read: list[RawRecord] = []
    follower = Follower(broker, {"commands": read.append}, prefix="t.")
    follower.start()
    async with asyncio.timeout(30):
        await follower.catch_up()
    assert [int(raw.value or b"") for raw in read] == [n for n in range(10) if n != bad]
    assert {(raw.topic, raw.headers) for raw in read} == {("commands", (("good", b"1"),))}
    assert f"t.commands 0/{bad} is stepped over" in caplog.text
    await write(broker, "t.commands", bad=-1, batches=1, monkeypatch=monkeypatch)

    async def goes_on() -> bool:
        return len(read) == 14

    await until(goes_on)
    await follower.stop()


@pytest.mark.parametrize("bad", [0, 2, 4])
async def test_a_span_is_read_over_it(
    broker: str, bad: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a job has spent, and what became of its records, is read so: a consumer would crash for ever."""
    await write(broker, "t.events", bad=bad, batches=2, monkeypatch=monkeypatch)
    async with asyncio.timeout(30):
        read = await read_span(broker, "events", 0, 0, 9, prefix="t.")
        assert [raw.offset for raw in read] == [n for n in range(9) if n != bad]
        assert {(raw.topic, raw.headers) for raw in read} == {("events", (("good", b"1"),))}
        assert f"t.events 0/{bad} is stepped over" in caplog.text
        assert [raw.offset for raw in await read_span(broker, "events", 0, bad, bad + 1, prefix="t.")] == []


async def test_the_projections_reader_passes_it_over(
    broker: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for topic in ("t.events", "t.pages"):
        await write(broker, topic, bad=2, batches=1, monkeypatch=monkeypatch)
    reader = LogReader(broker, prefix="t.")
    reader.find()
    reader.assign({})
    ends: dict[Any, int] = {}

    async def all_read() -> bool:
        ends.update((await asyncio.to_thread(reader.read)).offsets)
        return set(ends.values()) == {5} and len(ends) == 2

    await until(all_read)
    reader.close()
    assert "events 0/2 is passed over" in caplog.text and "pages 0/2 is passed over" in caplog.text
