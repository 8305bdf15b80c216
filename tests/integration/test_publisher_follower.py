"""What is published is reported, in order, and a follower sees exactly what was committed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import KafkaException, Producer

from headrace.kafka.admin import ensure_topics
from headrace.kafka.follower import Follower, end_offset, read_span
from headrace.kafka.publisher import BASE_CONFIG, Publisher
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.codec import decode
from schemas.events import Place
from schemas.parked import RequeuedThrough

PARTITION = 1


def event(number: int) -> RequeuedThrough:
    return RequeuedThrough(job_id="job", partition=PARTITION, offset=number)


def number_of(record: RawRecord) -> int:
    decoded = decode(record.topic, record.headers, record.value)
    assert isinstance(decoded, RequeuedThrough)
    return decoded.offset


@pytest.fixture(autouse=True)
def topics(settings: Settings) -> None:
    ensure_topics(settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=settings.partitions)


@pytest.fixture
def seen() -> list[RawRecord]:
    return []


@pytest.fixture
async def follower(settings: Settings, seen: list[RawRecord]) -> AsyncIterator[Follower]:
    follower = Follower(settings.bootstrap_servers, {"parked": seen.append}, prefix=settings.topic_prefix)
    follower.start()
    yield follower
    await follower.stop()


class Transaction:
    """Records of one transaction, as control writes them."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic("parked")
        self._producer = Producer(
            BASE_CONFIG
            | {
                "bootstrap.servers": settings.bootstrap_servers,
                "transactional.id": settings.topic("writer"),
                "message.timeout.ms": 30_000,
            }
        )
        self._producer.init_transactions(30)

    def write(self, *numbers: int, commit: bool) -> None:
        self._producer.begin_transaction()
        for number in numbers:
            headers = [("ce_type", RequeuedThrough.ce_type().encode())]
            value = b'{"job_id":"job","partition":1,"offset":%d}' % number
            self._producer.produce(self._topic, value, "job", partition=PARTITION, headers=headers)
        # a transaction that is aborted before its records reach the log would leave nothing to skip
        self._producer.flush(30)
        if commit:
            self._producer.commit_transaction(30)
        else:
            self._producer.abort_transaction(30)


class TestPublisher:
    async def test_the_future_of_each_record_gives_its_place_in_order(self, publisher: Publisher) -> None:
        futures = [await publisher.publish(event(number), partition=PARTITION) for number in range(500)]
        assert await asyncio.gather(*futures) == [Place(PARTITION, number) for number in range(500)]

    async def test_records_stand_in_the_order_of_publishing(self, settings: Settings, publisher: Publisher) -> None:
        for number in range(500):
            await publisher.publish(event(number), partition=PARTITION)
        await publisher.drain()
        where = {"topic": "parked", "partition": PARTITION, "prefix": settings.topic_prefix}
        assert await end_offset(settings.bootstrap_servers, **where) == 500
        span = await read_span(settings.bootstrap_servers, first=100, end=300, **where)
        assert [number_of(record) for record in span] == list(range(100, 300))
        assert [record.offset for record in span] == list(range(100, 300))

    async def test_a_record_carries_key_headers_and_partition(self, settings: Settings, publisher: Publisher) -> None:
        place = await publisher.send(event(7), partition=2)
        where = {"topic": "parked", "partition": 2, "prefix": settings.topic_prefix}
        (record,) = await read_span(settings.bootstrap_servers, first=0, end=1, **where)
        assert place == Place(2, 0)
        assert (record.key, record.next_offset) == (event(7).key().encode(), 1)
        assert dict(record.headers)["ce_source"] == b"test"

    async def test_a_tombstone_has_a_key_and_no_value(self, settings: Settings, publisher: Publisher) -> None:
        await (await publisher.tombstone("parked", "gone", partition=0))
        where = {"topic": "parked", "partition": 0, "prefix": settings.topic_prefix}
        (record,) = await read_span(settings.bootstrap_servers, first=0, end=1, **where)
        assert (record.key, record.value) == (b"gone", None)

    async def test_a_record_that_is_refused_fails_by_itself(self, publisher: Publisher) -> None:
        """At once where the client knows the partitions already, else by its delivery report."""
        bad = asyncio.create_task(publisher.send(event(1), partition=99))
        assert await publisher.send(event(2), partition=PARTITION) == Place(PARTITION, 0)
        with pytest.raises(KafkaException):
            await bad

    async def test_a_record_that_is_too_large_is_refused_at_once_and_takes_no_room(self, publisher: Publisher) -> None:
        for _ in range(3):
            with pytest.raises(KafkaException):
                await publisher.publish_raw("parked", key=b"k", value=b"x" * 2_000_000, headers=[], partition=0)
        await publisher.drain()
        assert await publisher.send(event(1), partition=PARTITION) == Place(PARTITION, 0)


class TestFollower:
    async def test_catches_up_with_all_that_stood_there(
        self, publisher: Publisher, follower: Follower, seen: list[RawRecord]
    ) -> None:
        for number in range(300):
            await publisher.publish(event(number), partition=PARTITION)
        await publisher.drain()
        await follower.catch_up()
        assert [number_of(record) for record in seen] == list(range(300))

    async def test_goes_on_after_catching_up(
        self, publisher: Publisher, follower: Follower, seen: list[RawRecord]
    ) -> None:
        await follower.catch_up()
        assert seen == []
        for number in range(3):
            await publisher.send(event(number), partition=PARTITION)
            await follower.catch_up("parked", partition=PARTITION)
            assert number_of(seen[-1]) == number
        assert len(seen) == 3

    async def test_passes_the_markers_of_transactions(
        self, settings: Settings, follower: Follower, seen: list[RawRecord]
    ) -> None:
        """A commit marker takes an offset and is no record: who counts records would wait for ever."""
        transaction = Transaction(settings)
        for number in range(3):
            await asyncio.to_thread(transaction.write, number, commit=True)
        async with asyncio.timeout(20):
            await follower.catch_up()
        assert [number_of(record) for record in seen] == [0, 1, 2]
        assert [record.offset for record in seen] == [0, 2, 4]

    async def test_never_shows_what_was_aborted(
        self, settings: Settings, follower: Follower, seen: list[RawRecord]
    ) -> None:
        transaction = Transaction(settings)
        await asyncio.to_thread(transaction.write, 1, 2, commit=False)
        async with asyncio.timeout(20):
            await follower.catch_up()
        assert seen == []
        await asyncio.to_thread(transaction.write, 3, commit=True)
        await asyncio.to_thread(transaction.write, 4, commit=False)
        async with asyncio.timeout(20):
            await follower.catch_up()
        assert [number_of(record) for record in seen] == [3]

    async def test_a_span_skips_what_was_aborted_too(self, settings: Settings) -> None:
        transaction = Transaction(settings)
        await asyncio.to_thread(transaction.write, 1, commit=False)
        await asyncio.to_thread(transaction.write, 2, commit=True)
        await asyncio.to_thread(transaction.write, 3, commit=False)
        where = {"topic": "parked", "partition": PARTITION, "prefix": settings.topic_prefix}
        end = await end_offset(settings.bootstrap_servers, **where)
        async with asyncio.timeout(20):
            span = await read_span(settings.bootstrap_servers, first=0, end=end, **where)
        assert (end, [number_of(record) for record in span]) == (6, [2])

    async def test_starts_where_it_is_told(
        self, settings: Settings, publisher: Publisher, seen: list[RawRecord]
    ) -> None:
        for number in range(10):
            await publisher.publish(event(number), partition=PARTITION)
        await publisher.drain()
        follower = Follower(
            settings.bootstrap_servers,
            {"parked": seen.append},
            prefix=settings.topic_prefix,
            start_at={("parked", PARTITION): 6},
        )
        follower.start()
        await follower.catch_up()
        await follower.stop()
        assert [number_of(record) for record in seen] == [6, 7, 8, 9]

    async def test_waits_for_topics_that_are_made_later(self, settings: Settings, seen: list[RawRecord]) -> None:
        prefix = settings.topic_prefix + "later."
        follower = Follower(settings.bootstrap_servers, {"parked": seen.append}, prefix=prefix)
        follower.start()
        caught_up = asyncio.create_task(follower.catch_up())
        await asyncio.to_thread(ensure_topics, settings.bootstrap_servers, prefix=prefix, partitions=1)
        async with asyncio.timeout(20):
            await caught_up
        await follower.stop()
