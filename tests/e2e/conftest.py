"""The whole house: three services as processes, a fake site and a fake OpenAI API around them."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from headrace.embedded.ports import free_ports
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas.kb import collection_name, parse_definition, resolve
from schemas.pages import PageRecord
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.support.api import Api
from tests.support.log import read_all
from tests.support.offsets import caught_up
from tests.support.services import Service

Json = dict[str, Any]


class House:
    """`start` all services or some; every process and server is ended with the test."""

    def __init__(self, environment: dict[str, str], directory: Path, site: FakeSite, openai: OpenAIServer) -> None:
        (port,) = free_ports(1)
        self.environment = environment | {
            "HEADRACE_HTTP_PORT": str(port),
            "OPENAI_API_KEY": "sk-test-secret",
            "OPENAI_BASE_URL": openai.url,
        }
        self.settings = Settings.from_env(self.environment)
        self.site, self.openai = site, openai
        self.services = {
            name: Service(name, self.environment, directory) for name in ("producer", "consumer", "control")
        }
        self._directory, self._others = directory, list[Service]()
        self.api = Api(f"http://127.0.0.1:{port}")
        self.store = VectorStore(self.settings)
        self.prefix = self.settings.topic_prefix.rstrip(".")

    async def start(self, *names: str) -> None:
        for name in names or self.services:
            self.services[name].start()
        if not names or "control" in names:
            await self.api.ready()

    def service(self, name: str) -> Service:
        return self.services[name]

    def another(self, name: str) -> Service:
        """One more of a service, started; it ends with the test."""
        number = sum(each.name == name for each in self._others) + 2
        service = Service(name, self.services[name].environment, self._directory / str(number))
        self._others.append(service)
        return service.start()

    def others(self, name: str) -> list[Service]:
        return [each for each in self._others if each.name == name]

    def slow_consumer(self) -> None:
        """About 200 chunks/s, so that a job is still at work when the test gets to it. Before the consumer starts."""
        self.services["consumer"].environment |= {"HEADRACE_EMBED_WINDOW": "2", "HEADRACE_EMBED_BATCH": "32"}
        self.openai.latency_s = 0.3

    async def close(self) -> None:
        for service in (*self.services.values(), *self._others):
            service.close()
        await self.api.close()
        await self.store.stop()

    def kb(self, name: str = "kb") -> str:
        """Tenants outlive a test's topics: a name of its own for each test."""
        return f"{name}-{self.prefix}"

    def definition(self, site: FakeSite | None = None, **changes: Any) -> Json:
        """For the fake site with the fake API; keyword arguments replace whole sections."""
        source = {"urls": [(site or self.site).url], "allow_addresses": ["127.0.0.0/8"]}
        embedding = {"provider": "openai", "dimensions": 8}
        definition: Json = {"source": source, "embedding": embedding, "chunking": {"max_tokens": 256}}
        for name, section in changes.items():
            definition[name] = definition.get(name, {}) | section
        return definition

    async def objects(self, kb: str, definition: Json | None = None) -> dict[str, tuple[int, int]]:
        """Chunk id to (born, retired) of everything that Weaviate holds of a knowledge base."""
        rows = self.store.ids(self.place(kb, definition))
        return {chunk_id: (born, retired) async for chunk_id, born, retired in rows}

    def place(self, kb: str, definition: Json | None = None) -> Tenancy:
        embedding = resolve(parse_definition(definition or self.definition()), openai_available=True).embedding
        return Tenancy(collection_name(embedding), kb)

    async def hashes(self, kb: str, definition: Json | None = None) -> set[str]:
        """doc_hash of every object: the same for the same pages in any knowledge base."""
        tenant = await self.store.tenant(self.place(kb, definition))
        assert tenant is not None
        return {str(each.properties["doc_hash"]) async for each in tenant.iterator(return_properties=["doc_hash"])}

    async def pages_recorded(self, kb: str) -> Counter[str]:
        """How many records each page's path has on `pages`."""
        records = await read_all(self.settings, PageRecord, self.settings.partitions)
        return Counter(urlsplit(record.url).path for record in records if record.kb_id == kb)

    def fetched_once(self, site: FakeSite | None = None) -> int:
        """How many pages were fetched; no page more than once."""
        pages = {
            path: times for path, times in (site or self.site).fetched.items() if path.startswith("/docs/") and times
        }
        twice = {path: times for path, times in pages.items() if times > 1}
        assert not twice, f"fetched again: {twice}"
        return len(pages)

    async def caught_up(self) -> None:
        await caught_up(self.settings)

    def said(self) -> str:
        return "\n".join(f"== {name}\n{each.said()}" for name, each in self.services.items() if each.log.exists())


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    server = FakeSite(pages=60, min_kb=4, max_kb=30)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def openai() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer(latency_s=0.05, dimensions=8)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def house(
    environment: dict[str, str], tmp_path: Path, site: FakeSite, openai: OpenAIServer
) -> AsyncIterator[House]:
    house = House(environment, tmp_path / "services", site, openai)
    yield house
    await house.close()
