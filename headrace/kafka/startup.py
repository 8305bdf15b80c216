"""What each service does before its first record: wait for Kafka, make sure of the topics."""

import asyncio
import logging
from collections.abc import Callable

from confluent_kafka import KafkaException

from headrace.kafka.admin import SHOWN_WITHIN_S, absence, ensure_topics, partition_count, reached
from headrace.settings import Settings

log = logging.getLogger(__name__)

AGAIN_S = 2.0
GROUP_METADATA_MAX_AGE_MS = 5_000
"""Of a group's members. Who leads a rebalance while it is cut off knows no partitions, and nobody is given any; it sees
so, and has the group rebalance again, when it looks next: unless told otherwise, five minutes later."""
PROBE_S = 3.0
"""How long one try may wait for an answer, so that an absence is told soon."""


async def topics_ready(settings: Settings, *, away: Callable[[str], None] = lambda reason: None) -> int:
    """Returns the number of partitions once Kafka answers and every topic is there; waits for as long as it takes.

    `away(reason)` is told each time Kafka does not answer.
    """
    while True:
        try:
            return await asyncio.to_thread(_ensure, settings)
        except KafkaException as exc:
            reason = absence(settings.bootstrap_servers, exc)
            log.warning("%s; trying again", reason)
            away(reason)
            await asyncio.sleep(AGAIN_S)


def _ensure(settings: Settings) -> int:
    reached(settings.bootstrap_servers, PROBE_S)
    for difference in ensure_topics(
        settings.bootstrap_servers,
        prefix=settings.topic_prefix,
        partitions=settings.partitions,
        replication=settings.replication,
        min_insync=settings.min_insync,
    ):
        log.warning("topic settings differ: %s", difference)
    return partition_count(settings.bootstrap_servers, settings.topic("chunks"), within_s=SHOWN_WITHIN_S)
