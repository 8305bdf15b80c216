"""Who owns which jobs: the producers' consumer group on `commands`, used for its assignment alone.

Nothing is read and nothing committed through it. An owner that dies is replaced when its session ends,
`HEADRACE_SESSION_S` and up to a second later; one that stops leaves the group at once. One that only seems dead
(stopped, cut off) may write for a moment after it was replaced: its epoch is lower by then, and readers drop what it
writes.

aiokafka tells what breaks a membership only to those who wait for records: a member that asks for none stays silently
without partitions. `hold` therefore waits for one that never comes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NoReturn

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from headrace.kafka.startup import GROUP_METADATA_MAX_AGE_MS
from headrace.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_MS: Final = 1_000
REBALANCE_MS: Final = 30_000
"""How long the group waits for a member that is still stopping its crawls; that takes 2 s."""
NEVER_MS: Final = 2**31 - 1
RETRY_S: Final = 1.0
LEAVE_S: Final = 5.0

Assigned = Callable[[frozenset[int]], None]
Revoked = Callable[[], Awaitable[None]]


class Ownership:
    """`hold` until cancelled, then `leave`. `revoked` is awaited before the group goes on; `assigned` returns at once.

    Every rebalance revokes everything and assigns anew.
    """

    def __init__(self, settings: Settings, assigned: Assigned, revoked: Revoked) -> None:
        self._topic = settings.topic("commands")
        self._listener = _Listener(assigned, revoked)
        self._config = {
            **settings.bootstrap_servers.aiokafka(),
            "group_id": settings.producer_group,
            "enable_auto_commit": False,
            "session_timeout_ms": round(settings.session_s * 1000),
            "heartbeat_interval_ms": HEARTBEAT_MS,
            "rebalance_timeout_ms": REBALANCE_MS,
            "max_poll_interval_ms": NEVER_MS,  # nothing is ever polled
            "auto_offset_reset": "latest",
            "metadata_max_age_ms": GROUP_METADATA_MAX_AGE_MS,
        }

    async def hold(self) -> NoReturn:
        """Joins the group, and joins it anew whenever membership breaks: what is owned is revoked then."""
        while True:
            consumer = self._listener.consumer = AIOKafkaConsumer(**self._config)
            try:
                await consumer.start()
                consumer.subscribe([self._topic], listener=self._listener)
                while True:
                    await consumer.getone()
            except (KafkaError, OSError) as exc:
                log.warning("not a member of %s: %r; joining again", self._config["group_id"], exc)
            await self.leave()
            await self._listener.on_partitions_revoked(())
            await asyncio.sleep(RETRY_S)

    async def leave(self) -> None:
        """Others take over at once. With Kafka away, they do when the session has ended."""
        if self._listener.consumer is None:
            return
        stopping = asyncio.create_task(self._listener.consumer.stop())
        await asyncio.wait({stopping}, timeout=LEAVE_S)
        stopping.cancel()


class _Listener(ConsumerRebalanceListener):
    """aiokafka logs and forgets what a callback raises, so these pass on and raise nothing of their own."""

    def __init__(self, assigned: Assigned, revoked: Revoked) -> None:
        self._assigned, self._revoked = assigned, revoked
        self.consumer: AIOKafkaConsumer | None = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = list(assigned)
        assert self.consumer is not None
        self.consumer.pause(*partitions)  # else its records would be fetched, for nobody
        self._assigned(frozenset(each.partition for each in partitions))
