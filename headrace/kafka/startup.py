"""What each service does before its first record: wait for Kafka, make sure of the topics."""

import asyncio
import logging

from confluent_kafka import KafkaException

from headrace.kafka.admin import ensure_topics, partition_count
from headrace.settings import Settings

log = logging.getLogger(__name__)

AGAIN_S = 2.0


async def topics_ready(settings: Settings) -> int:
    """Returns the number of partitions once Kafka answers and every topic is there; waits for as long as it takes."""
    while True:
        try:
            return await asyncio.to_thread(_ensure, settings)
        except KafkaException as exc:
            log.warning("Kafka at %s is not ready: %s; trying again", settings.bootstrap_servers, exc.args[0].str())
            await asyncio.sleep(AGAIN_S)


def _ensure(settings: Settings) -> int:
    for difference in ensure_topics(
        settings.bootstrap_servers,
        prefix=settings.topic_prefix,
        partitions=settings.partitions,
        replication=settings.replication,
    ):
        log.warning("topic settings differ: %s", difference)
    return partition_count(settings.bootstrap_servers, settings.topic("chunks"))
