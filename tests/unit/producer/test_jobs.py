"""What ends the producer's jobs, and so its process."""

import asyncio
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from headrace.settings import Settings
from producer.jobs import Jobs
from producer.metrics import Metrics
from producer.report import Reports
from producer.tools import Tools


class Publisher:
    """Its client can't go on."""

    async def failed(self) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL, "out of order sequence number"))


async def test_a_publisher_that_can_not_go_on() -> None:
    """Also while nothing is published: a process that can't crawl must not keep its partitions."""
    settings = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    publisher: Any = Publisher()
    jobs = Jobs(settings, Tools(settings, publisher, cast(Any, None), Reports(publisher, "me"), Metrics(), 6))
    jobs.start()
    try:
        async with asyncio.timeout(30):
            with pytest.raises(KafkaException, match="out of order"):
                await jobs.failed
    finally:
        await jobs.stop()
