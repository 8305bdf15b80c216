"""What the tests of services on a real log share."""

from collections.abc import AsyncIterator

import pytest

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import VectorStore


@pytest.fixture
async def publisher(settings: Settings) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source="test")
    await publisher.start()
    yield publisher
    await publisher.stop()


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[VectorStore]:
    store = VectorStore(settings)
    yield store
    await store.stop()
