"""Reading whole topics, from their start and for ever, outside any group."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import confluent_kafka
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from headrace.kafka.records import RawRecord, headers_of
from headrace.kafka.servers import Servers
from schemas.events import Place

log = logging.getLogger(__name__)

Apply = Callable[[RawRecord], None]

RECONNECT_S = 1.0
SAY_EVERY_S = 5.0
"""Between two messages about a wait for Kafka that does not end."""
POLL_MS = 100
STEP_S = 5.0
"""How long the other client may take to give the next record."""
STEPPED_OVER = 1_000
"""Records that it reads at once: the batch is behind us then, or the next round goes on in it."""


class Follower:
    """Hands every record of its topics to that topic's `apply`, in order per partition, committed ones only.

    `apply` must not block or raise; where it raises, `failed` and every wait do. `start`, then `catch_up` whenever
    what is known must be current; `stop`. Reconnects for ever and keeps its positions. A record that this client can't
    even parse (a header's key that is no UTF-8) is stepped over with a line in the log.
    """

    def __init__(
        self,
        bootstrap_servers: Servers,
        topics: Mapping[str, Apply],
        *,
        prefix: str,
        start_at: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self._bootstrap, self._apply, self._prefix = bootstrap_servers, dict(topics), prefix
        self._start_at = dict(start_at or {})
        self._position: dict[TopicPartition, int] = {}
        self._partitions: list[TopicPartition] = []
        self._moved = asyncio.Condition()
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None
        self._waits: list[float] = []

    @property
    def waits_s(self) -> float:
        """How long `catch_up` has been waited for by whoever began first; 0 while nobody waits."""
        return time.monotonic() - self._waits[0] if self._waits else 0.0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="follower")

    async def failed(self) -> None:
        """Returns never; raises what ended the reading, which is a fault of the program."""
        await self._until(lambda: False)

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def catch_up(self, *topics: str, partition: int | None = None) -> None:
        """Returns once everything that stood in the topics (default: all) at the call has been applied.

        `partition` narrows it to that partition of each topic. Waits for as long as Kafka is away, and says so.
        """
        names = {self._prefix + name for name in topics or self._apply}
        async with self._said(names):
            await self._catch_up(names, partition)

    async def _catch_up(self, names: set[str], partition: int | None) -> None:
        end: dict[TopicPartition, int] = {}
        while True:
            try:
                await self._connected()
                assert self._consumer is not None
                wanted = [
                    tp for tp in self._partitions
                    if tp.topic in names and (partition is None or tp.partition == partition)
                ]  # fmt: skip
                end = await self._consumer.end_offsets(wanted)
                break
            except (KafkaError, AssertionError) as exc:
                log.warning("can't read the ends of %s yet: %r", ", ".join(sorted(names)), exc)
                await asyncio.sleep(RECONNECT_S)
        await self._until(lambda: all(self._position.get(tp, 0) >= end[tp] for tp in end))

    @asynccontextmanager
    async def _said(self, names: set[str]) -> AsyncIterator[None]:
        began = time.monotonic()
        self._waits.append(began)
        saying = asyncio.create_task(_say_every(SAY_EVERY_S, f"still catching up with {', '.join(sorted(names))}"))
        try:
            yield
        finally:
            saying.cancel()
            self._waits.remove(began)

    async def reached(self, topic: str, place: Place) -> None:
        """Returns once the record at `place` has been applied: read your own write."""
        tp = TopicPartition(self._prefix + topic, place.partition)
        await self._until(lambda: self._position.get(tp, 0) > place.offset)

    async def _connected(self) -> None:
        await self._until(lambda: self._consumer is not None)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._fault is not None or condition())
        if self._fault is not None:
            raise RuntimeError(f"following {', '.join(self._apply)} ended") from self._fault

    async def _run(self) -> None:
        try:
            await self._follow_for_ever()
        except Exception as exc:
            log.exception("following %s ended", ", ".join(self._apply))
            self._fault = exc
            async with self._moved:
                self._moved.notify_all()

    async def _follow_for_ever(self) -> None:
        while True:
            consumer = _reader(self._bootstrap)
            try:
                await consumer.start()
                await self._assign(consumer)
                await self._follow(consumer)
            except UnicodeDecodeError as exc:
                await self._step_over(exc)
            except (KafkaError, OSError) as exc:
                log.warning("following %s: %r; trying again", ", ".join(self._apply), exc)
                await asyncio.sleep(RECONNECT_S)
            finally:
                self._consumer = None
                await consumer.stop()

    async def _step_over(self, exc: UnicodeDecodeError) -> None:
        """aiokafka gives up the whole batch for one such record: another client reads on, a while, where this one was.

        Which partition it is of isn't said.
        """
        log.warning("following %s: a record can't be parsed: %s", ", ".join(self._apply), exc)
        for tp in self._partitions:
            for record, position in await _stepped_over(self._bootstrap, tp, self._position.get(tp, 0), self._prefix):
                if record is not None:
                    self._apply[record.topic](record)
                self._position[tp] = position

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        self._partitions = await partitions_of(consumer, [self._prefix + name for name in self._apply])
        consumer.assign(self._partitions)
        for tp in self._partitions:
            start = self._position.get(tp, self._start_at.get((tp.topic.removeprefix(self._prefix), tp.partition)))
            if start is not None:
                consumer.seek(tp, start)
        async with self._moved:
            self._consumer = consumer
            self._moved.notify_all()

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            # position() also passes compacted holes and control records, which record offsets do not
            for tp in self._partitions:
                self._position[tp] = await consumer.position(tp)
            async with self._moved:
                self._moved.notify_all()
            got = await consumer.getmany(timeout_ms=POLL_MS, max_records=5_000)
            for tp, records in got.items():
                for record in records:
                    raw = raw_record(record, self._prefix)
                    self._apply[raw.topic](raw)
                    self._position[tp] = raw.next_offset  # a connection that breaks now must not show it again


async def _stepped_over(
    bootstrap_servers: Servers, tp: TopicPartition, first: int, prefix: str
) -> list[tuple[RawRecord | None, int]]:
    """As `parsed_by_another`; says so of each that can't be parsed."""
    read = await asyncio.to_thread(parsed_by_another, bootstrap_servers, tp, first)
    for record, position in read:
        if record is None:
            log.error("%s %d/%d is stepped over: it can't be parsed", tp.topic, tp.partition, position - 1)
    topic = tp.topic.removeprefix(prefix)
    return [(record and msgspec.structs.replace(record, topic=topic), position) for record, position in read]


def parsed_by_another(bootstrap_servers: Servers, tp: TopicPartition, first: int) -> list[tuple[RawRecord | None, int]]:
    """Committed records from offset `first` on as librdkafka reads them, each with the position after it.

    None for one whose headers can't be read. Some 1,000 at most, none where Kafka is away. Blocks for seconds at most.
    """
    consumer = confluent_kafka.Consumer(
        {
            **Servers(bootstrap_servers).librdkafka(),
            "group.id": "headrace-follower",  # the client insists on one; nothing is committed, nobody joins
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        },
        logger=logging.getLogger("librdkafka"),
    )
    found: list[tuple[RawRecord | None, int]] = []
    try:
        consumer.assign([confluent_kafka.TopicPartition(tp.topic, tp.partition, first)])
        while len(found) < STEPPED_OVER:
            message = consumer.poll(STEP_S)
            if message is None or message.error() is not None:
                return found
            offset = message.offset() or 0
            headers = headers_of(message)
            if headers is None:
                found.append((None, offset + 1))
                continue
            raw = RawRecord(
                topic=tp.topic, partition=tp.partition, offset=offset, key=message.key(), value=message.value(),
                headers=headers, timestamp_ms=message.timestamp()[1],
            )  # fmt: skip
            found.append((raw, offset + 1))
        return found
    finally:
        consumer.close()


async def _say_every(seconds: float, what: str) -> None:
    while True:
        await asyncio.sleep(seconds)
        log.warning("%s: Kafka is away, or slow", what)


async def partitions_of(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    """All partitions of the topics (full names); waits until every topic is there, and never invents one."""
    while True:
        metadata = await consumer._client.fetch_all_metadata()
        found = {topic: metadata.partitions_for_topic(topic) for topic in topics}
        if all(found.values()):
            return [TopicPartition(topic, p) for topic in topics for p in sorted(found[topic])]
        missing = sorted(topic for topic, partitions in found.items() if not partitions)
        log.warning("waiting for topics that are not there yet: %s", ", ".join(missing))
        await asyncio.sleep(RECONNECT_S)


async def read_span(
    bootstrap_servers: Servers, topic: str, partition: int, first: int, end: int, *, prefix: str
) -> "list[RawRecord]":
    """The committed records of one partition from offset `first` to before `end`. Waits while the broker is away."""
    return [record async for record in stream_span(bootstrap_servers, topic, partition, first, end, prefix=prefix)]


async def stream_span(
    bootstrap_servers: Servers, topic: str, partition: int, first: int, end: int, *, prefix: str
) -> Any:
    """Like `read_span`, one record after the other; goes on where it was when a connection breaks.

    `first` below the log's start is moved up to it, and `end` beyond what stands there down to that. A record that this
    client can't even parse is stepped over.
    """
    tp = TopicPartition(prefix + topic, partition)
    while True:
        consumer = _reader(bootstrap_servers)
        try:
            await _started(consumer)
            consumer.assign([tp])
            first = max(first, (await consumer.beginning_offsets([tp]))[tp])
            end = min(end, (await consumer.end_offsets([tp]))[tp])
            consumer.seek(tp, first)
            while await consumer.position(tp) < end:
                for records in (await consumer.getmany(timeout_ms=POLL_MS, max_records=2_000)).values():
                    for record in records:
                        if record.offset < end:
                            first = record.offset + 1
                            yield raw_record(record, prefix)
            return
        except UnicodeDecodeError as exc:
            log.warning("reading %s/%d: a record can't be parsed: %s", topic, partition, exc)
            for parsed, position in await _stepped_over(bootstrap_servers, tp, first, prefix):
                first = min(position, end)
                if parsed is not None and position <= end:
                    yield parsed
        except KafkaError as exc:
            log.warning("reading %s/%d: %r; trying again", topic, partition, exc)
            await asyncio.sleep(RECONNECT_S)
        finally:
            await consumer.stop()


async def end_offset(
    bootstrap_servers: Servers, topic: str, partition: int, *, prefix: str, committed: bool = True
) -> int:
    """The offset after the partition's last record, or the last committed one. Waits while the broker is away."""
    tp = TopicPartition(prefix + topic, partition)
    while True:
        consumer = _reader(bootstrap_servers, committed=committed)
        try:
            await _started(consumer)
            return int((await consumer.end_offsets([tp]))[tp])
        except KafkaError as exc:
            log.warning("can't read the end of %s/%d yet: %r; trying again", topic, partition, exc)
            await asyncio.sleep(RECONNECT_S)
        finally:
            await consumer.stop()


async def offset_since(
    bootstrap_servers: Servers, topic: str, partition: int, since_ms: int, *, prefix: str
) -> int | None:
    """The first offset whose record has that time (Unix milliseconds) or a later one; None where none has.

    Waits while the broker is away.
    """
    tp = TopicPartition(prefix + topic, partition)
    while True:
        consumer = _reader(bootstrap_servers)
        try:
            await _started(consumer)
            found = (await consumer.offsets_for_times({tp: since_ms}))[tp]
            return None if found is None else int(found.offset)
        except KafkaError as exc:
            log.warning("can't find a time in %s/%d yet: %r; trying again", topic, partition, exc)
            await asyncio.sleep(RECONNECT_S)
        finally:
            await consumer.stop()


def _reader(bootstrap_servers: Servers, *, committed: bool = True) -> AIOKafkaConsumer:
    """Of committed records, or of all, outside any group."""
    return AIOKafkaConsumer(
        **Servers(bootstrap_servers).aiokafka(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed" if committed else "read_uncommitted",
        fetch_max_wait_ms=POLL_MS,
    )


async def _started(consumer: AIOKafkaConsumer) -> None:
    while True:
        try:
            await consumer.start()
            return
        except KafkaError as exc:
            log.warning("Kafka is away: %r; trying again", exc)
            await asyncio.sleep(RECONNECT_S)


def raw_record(record: Any, prefix: str) -> RawRecord:
    return RawRecord(
        topic=record.topic.removeprefix(prefix),
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        timestamp_ms=record.timestamp,
    )
