"""The Faust app: its settings, its one agent, and its rebalances.

Numbers were measured against Kafka 4.3.1 (docs/decisions/2026-11-24-faust-discipline.md).
"""

import asyncio
import logging
import tempfile
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any

import faust
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from faust.types.auth import CredentialsT
from mode.services import WaitResults

from headrace.kafka.servers import Security
from headrace.kafka.startup import GROUP_METADATA_MAX_AGE_MS
from headrace.settings import Settings

log = logging.getLogger(__name__)

TAKE_WITHIN_S = 0.1
"""A batch that isn't full goes on after this long: bounds the time to searchable of a small job."""

NO_GENERATION = -1
"""aiokafka's group generation once the group has forgotten this member, until it has joined again."""

Handler = Callable[[list[Any]], Awaitable[None]]


class Deliveries(Consumer):
    """Faust's consumer, with partitions that can be held, and deliveries without a detour.

    Of a partition that leaves the set which a fetch was begun with, Faust drops the records it has read: so each change
    makes a new set.
    """

    _held: tuple[int, frozenset[int]] = (NO_GENERATION, frozenset())
    """Partitions by number, in which group generation."""

    def hold(self, partitions: frozenset[int]) -> None:
        """Nothing more is read of these, and of all others again, until the next call or group generation."""
        self._held = (self.app.consumer_generation_id, partitions)
        free = {tp for tp in self.assignment() if not self._holds(tp)}
        self._active_partitions = free - self._buffered_partitions

    def _holds(self, tp: TP) -> bool:
        generation, partitions = self._held
        return generation == self.app.consumer_generation_id and tp.partition in partitions

    def on_buffer_full(self, tp: TP) -> None:
        if not self.app.in_recovery:
            self._buffered_partitions.add(tp)
            self._active_partitions = self._get_active_partitions() - {tp}

    def on_buffer_drop(self, tp: TP) -> None:
        if tp in self._buffered_partitions:
            self._buffered_partitions.discard(tp)
            if not self._holds(tp):
                self._active_partitions = self._get_active_partitions() | {tp}

    def close(self) -> None:
        """Faust asks for this where its app stops amid a rebalance, and would close the client from another thread and
        before the group's coordinator, which then waits for the client for ever. Its own thread ends both in order."""

    async def wait_first(self, *coros: Any, **options: Any) -> Any:
        """Faust makes four tasks for each record, to wait for its delivery or else for a stop, and cancels three.

        Most are delivered without a wait, and need none: 1 us instead of 21.
        """
        if len(coros) != 2 or options or not isinstance(coros[0], Coroutine):
            return await super().wait_first(*coros, **options)
        delivery, other = coros
        try:
            waits_for = delivery.send(None)
        except StopIteration as done:
            other.close()
            return WaitResults([delivery], [done.value], False)
        except BaseException:
            other.close()
            raise
        return await super().wait_first(_rest(delivery, waits_for), other)


async def _rest(started: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    """Of a coroutine that has come to its first wait."""
    return await _waits(started, waits_for)


@types.coroutine
def _waits(started: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as exc:  # for the one who waits, a cancel too
                waits_for = started.throw(exc)
            else:
                waits_for = started.send(value)
    except StopIteration as done:
        return done.value


def make_app(settings: Settings) -> faust.App:
    app = _app(settings)
    app.transport.Consumer = Deliveries  # type: ignore[misc]
    return app


def _app(settings: Settings) -> faust.App:
    return faust.App(
        settings.consumer_group,
        broker=";".join(f"kafka://{each.strip()}" for each in settings.bootstrap_servers.split(",")),
        broker_credentials=credentials(settings.bootstrap_servers.security),
        datadir=tempfile.mkdtemp(prefix="headrace-faust-"),
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        worker_redirect_stdouts=False,
        table_standby_replicas=0,  # then assignment is plain round robin
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,  # our own drain is bounded, Faust's is not
        stream_buffer_maxsize=16_384,  # while the gate is shut; else the window takes in what comes, and holds back
        broker_session_timeout=settings.session_s,  # takeover after a kill: a second more
        broker_heartbeat_interval=1.0,
        broker_rebalance_timeout=30.0,  # above the drain
        broker_request_timeout=20.0,  # above the session
        broker_max_poll_interval=7 * 86_400.0,  # a long stall must not end in a worker that left its group for ever
        consumer_metadata_max_age_ms=GROUP_METADATA_MAX_AGE_MS,
        broker_commit_interval=1.0,
        broker_commit_every=None,
    )


def credentials(security: Security) -> CredentialsT | None:
    """How Faust connects; None for plaintext."""
    context = security.context()
    if security.signs_in and security.password is not None:
        return faust.SASLCredentials(
            username=security.username,
            password=security.password.reveal(),
            ssl_context=context,
            mechanism=security.mechanism,
        )
    return faust.SSLCredentials(context) if context is not None else None


def consume(app: faust.App, settings: Settings, handle: Handler) -> None:
    """Declares the agent. `handle` gets events in order of each partition, and returns once it has taken them in."""
    topic = app.topic(settings.topic("chunks"), key_type=bytes, value_type=bytes)

    @app.agent(topic, name="chunks")
    async def chunks(stream: Any) -> None:
        try:
            async for events in stream.noack_take(settings.embed_batch, within=TAKE_WITHIN_S):
                await handle(events)
        except Exception as exc:  # an exception that leaves an agent makes Faust ack unread events: die instead
            await app.crash(exc)
            await asyncio.Event().wait()


async def log_start(app: faust.App, partitions: set[Any]) -> dict[int, int]:
    """Partition to the first offset that its log still holds."""
    earliest = await app.consumer.earliest_offsets(*partitions) if partitions else {}
    return {tp.partition: offset or 0 for tp, offset in earliest.items()}


async def log_end(app: faust.App, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Partition to the offset after its last record."""
    ends = await app.consumer.highwaters(*(TP(topic, p) for p in partitions))
    return {tp.partition: offset for tp, offset in ends.items()}


async def committed_offsets(app: faust.App, topic: str, partitions: Iterable[int]) -> dict[int, int | None]:
    """What the group has committed now; None for nothing."""
    thread = app.consumer._thread  # type: ignore[attr-defined]
    ask = thread._ensure_consumer().committed
    return {p: await thread.call_thread(ask, TopicPartition(topic, p)) for p in partitions}


async def commit_offsets(app: faust.App, topic: str, offsets: Mapping[int, int]) -> None:
    """Commits by hand, where no record was acked; of partitions of this group generation. A refusal crashes the app."""
    await app.consumer._commit({TP(topic, p): offset for p, offset in offsets.items()})  # type: ignore[attr-defined]


def fetch_all_but(app: faust.App, partitions: frozenset[int]) -> None:
    """`Deliveries.hold`, of the consumer that Faust makes when it is first asked for."""
    app.consumer.hold(partitions)  # type: ignore[attr-defined]


def back_off_on_metadata() -> None:
    """aiokafka 0.14 asks for metadata without a pause while no broker answers."""
    original = AIOKafkaClient._metadata_update

    async def update(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = await original(self, *args, **kwargs)
        if not done:
            await asyncio.sleep(0.25)
        return done

    AIOKafkaClient._metadata_update = update  # type: ignore[method-assign]
