"""Publishing events: an idempotent producer for asyncio, and delivery reports as futures.

librdkafka keeps records in order per partition and retries for as long as it takes (`message.timeout.ms=0`), so a
broker's absence shows as futures that stay pending, never as a loss.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace import tracing
from headrace.kafka.records import RawRecord
from headrace.kafka.servers import Servers
from schemas.codec import Headers, copied_headers, encode, headers_for, with_fields
from schemas.events import Event, Place

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 20_000
"""Records without a delivery report at one time: bounds memory to about 60 MB of 3 KB chunks."""

MAX_RECORD_BYTES = 1_000_000
"""librdkafka's own limit, a little below the broker's: key, value and headers, before they are compressed."""
LINGER_MS = 5
"""How long a record waits for others to go with it in one request."""

BASE_CONFIG: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # the Java clients' choice; librdkafka's own differs
    "compression.type": "lz4",
    "linger.ms": LINGER_MS,
    "message.timeout.ms": 0,
    "queue.buffering.max.messages": 2 * MAX_IN_FLIGHT,
    "log_level": 3,
}


class Publisher:
    """`start`, `publish` from the event loop, `drain`, `stop`.

    A fatal client error (librdkafka's: the idempotent producer can't go on) fails every future, and every later call.
    """

    def __init__(
        self,
        bootstrap_servers: Servers,
        *,
        prefix: str,
        source: str,
        max_record_bytes: int = MAX_RECORD_BYTES,
        linger_ms: int = LINGER_MS,
    ) -> None:
        """`max_record_bytes`: a larger record is refused at once (KafkaException, MSG_SIZE_TOO_LARGE)."""
        self._prefix, self._source = prefix, source
        self._config = BASE_CONFIG | {
            **Servers(bootstrap_servers).librdkafka(),
            "client.id": source,
            "message.max.bytes": max_record_bytes,
            "linger.ms": linger_ms,
        }
        self._reported: list[tuple[asyncio.Future[Place], KafkaError | None, Message]] = []
        self._pending: set[asyncio.Future[Place]] = set()
        self._settled = asyncio.Event()
        """Set whenever reports have come; for who waits for room."""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: KafkaException | None = None
        self._ended = asyncio.Event()

    async def failed(self) -> None:
        """Returns never; raises the fatal error."""
        await self._ended.wait()
        assert self._fault is not None
        raise self._fault

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(self._config, logger=logging.getLogger("librdkafka"))
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        """Hands the event over; the future gives its place once the broker has it. Waits while too many are out.

        Raises KafkaException where the client knows at once that the broker would refuse; the future, where it is told.
        """
        return await self.publish_raw(
            event.TOPIC,
            key=event.key().encode(),
            value=encode(event),
            headers=headers_for(event, self._source) + tracing.headers(),
            partition=partition,
        )

    async def publish_copy(
        self, event: Event, record: RawRecord, *, partition: int, **fields: Any
    ) -> "asyncio.Future[Place]":
        """The record once more, with these fields set: `event` as it was read may lack some of a newer writer."""
        assert record.value is not None
        return await self.publish_raw(
            event.TOPIC,
            key=event.key().encode(),
            value=with_fields(record.value, **fields),
            headers=copied_headers(record.headers, self._source),
            partition=partition,
        )

    async def tombstone(self, topic: str, key: str, *, partition: int) -> "asyncio.Future[Place]":
        return await self.publish_raw(topic, key=key.encode(), value=None, headers=[], partition=partition)

    async def publish_raw(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers, partition: int
    ) -> "asyncio.Future[Place]":
        while len(self._pending) >= MAX_IN_FLIGHT and self._fault is None:
            self._settled.clear()
            await self._settled.wait()
        if self._fault is not None:
            raise self._fault
        future: asyncio.Future[Place] = self._loop.create_future()
        self._producer.produce(
            self._prefix + topic,
            key=key,
            value=value,
            headers=list(headers),
            partition=partition,
            on_delivery=lambda err, msg: self._reported.append((future, err, msg)),
        )
        self._pending.add(future)
        return future

    async def send(self, event: Event, *, partition: int) -> Place:
        """Publishes and waits for the delivery report. A caller that is cancelled leaves the record on its way."""
        return await asyncio.shield(await self.publish(event, partition=partition))

    async def drain(self) -> None:
        """Waits until everything handed over so far has its delivery report."""
        await wait_all(self._pending)

    async def stop(self) -> None:
        self._closing.set()
        if self._thread:
            await asyncio.to_thread(self._thread.join)
        for future in self._pending:
            future.cancel()

    def _poll(self) -> None:
        """In a thread of its own. A fatal error is raised here, and no delivery report comes any more."""
        while not self._closing.is_set():
            try:
                self._producer.poll(0.05)
            except KafkaException as exc:
                log.error("the Kafka client can't go on: %s", exc)
                self._loop.call_soon_threadsafe(self._fail, exc)
                return
            if self._reported:
                reported, self._reported = self._reported, []
                self._loop.call_soon_threadsafe(self._settle, reported)

    def _fail(self, fault: KafkaException) -> None:
        self._fault = fault
        self._settle(self._reported)
        for future in self._pending:
            if not future.done():
                future.set_exception(fault)
        self._pending.clear()
        self._settled.set()
        self._ended.set()

    def _settle(self, reported: list[tuple[asyncio.Future[Place], KafkaError | None, Message]]) -> None:
        for future, error, message in reported:
            self._pending.discard(future)
            if future.done():
                continue
            if error is not None:
                future.set_exception(KafkaException(error))
            else:
                future.set_result(Place(message.partition() or 0, message.offset() or 0))
        self._settled.set()


async def wait_all(futures: Iterable["asyncio.Future[Any]"]) -> None:
    """Waits for one after the other; raises the first error. A caller that is cancelled does not cancel them."""
    for future in list(futures):
        if not future.done():
            await asyncio.wait([future])
        future.result()
