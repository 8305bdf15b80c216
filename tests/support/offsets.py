"""Progress as the consumer group's offsets tell it."""

import asyncio

from confluent_kafka import KafkaException

from headrace.kafka.admin import GroupOffsets
from headrace.settings import Settings
from tests.support.waiting import until


def group_offsets(settings: Settings) -> GroupOffsets:
    """Of the consumer on `chunks`; to be closed."""
    return GroupOffsets(
        settings.bootstrap_servers,
        group=settings.consumer_group,
        topic=settings.topic("chunks"),
        partitions=settings.partitions,
    )


async def caught_up(settings: Settings) -> None:
    """Returns once the group has committed to the end of `chunks`."""
    offsets = group_offsets(settings)

    async def equal() -> bool:
        try:
            committed, ends = await asyncio.to_thread(lambda: (offsets.committed(), offsets.ends()))
        except KafkaException:  # a new broker's coordinator moves at first
            return False
        return all(committed.get(partition, 0) == end for partition, end in ends.items())

    try:
        await until(equal, what="committed offsets at the end")
    finally:
        offsets.close()
