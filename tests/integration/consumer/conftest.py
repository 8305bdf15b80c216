"""The consumer as a process against real servers; producer and control are played by the test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headrace.kafka.admin import ensure_topics
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from tests.fakes.openai_server import OpenAIServer
from tests.support.services import Service


@pytest.fixture
async def openai() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer(latency_s=0.05, dimensions=8)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def environment(environment: dict[str, str], openai: OpenAIServer) -> dict[str, str]:
    return environment | {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": openai.url}


@pytest.fixture
def topics(settings: Settings) -> None:
    ensure_topics(settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=settings.partitions)


@pytest.fixture
async def publisher(settings: Settings, topics: None) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source="test")
    await publisher.start()
    yield publisher
    await publisher.stop()


@pytest.fixture
def consumer(environment: dict[str, str], topics: None, tmp_path: Path) -> Iterator[Service]:
    service = Service("consumer", environment, tmp_path).start()
    yield service
    service.close()


@pytest.fixture
def kb(settings: Settings) -> str:
    """Tenants outlive a test's topics: a name of its own for each."""
    return "kb-" + settings.topic_prefix.rstrip(".")
