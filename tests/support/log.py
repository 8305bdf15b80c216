"""Playing the other services: writing their records, reading what was answered."""

import asyncio
from typing import TypeVar

import msgspec
from confluent_kafka import TopicPartition

from headrace.kafka.admin import admin_client
from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas import identity
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd, PageEnd
from schemas.codec import UndecodableRecord, decode, now
from schemas.commands import Desired, JobCommand
from schemas.events import Event
from schemas.kb import Definition, Embedding, Source, resolve
from schemas.pages import ChunkRef, PageRecord
from tests.fakes.openai_server import count_tokens

E = TypeVar("E", bound=Event)


def definition(model: str = "text-embedding-3-small", *, dimensions: int = 8, local: bool = False) -> Definition:
    embedding = (
        Embedding(provider="local") if local else Embedding(provider="openai", model=model, dimensions=dimensions)
    )
    return resolve(Definition(source=Source(urls=("http://site/",)), embedding=embedding), openai_available=True)


async def read_all(settings: Settings, kind: type[E], partitions: int = 3) -> list[E]:
    """Every event of a type that stands on its topic now."""
    found: list[E] = []
    where = {"bootstrap_servers": settings.bootstrap_servers, "topic": kind.TOPIC}
    for partition in range(partitions):
        end = await end_offset(**where, partition=partition, prefix=settings.topic_prefix)
        span = stream_span(**where, partition=partition, first=0, end=end, prefix=settings.topic_prefix)
        async for record in span:
            try:
                event = decode(kind.TOPIC, record.headers, record.value)
            except UndecodableRecord:
                continue
            if isinstance(event, kind):
                found.append(event)
    return found


class PlayedJob:
    """A job whose producer and control are this test."""

    def __init__(
        self, settings: Settings, publisher: Publisher, kb_id: str, *, generation: int = 1,
        partition: int | None = None, of: Definition | None = None, base: int | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.publisher, self.kb_id, self.generation = settings, publisher, kb_id, generation
        self.job_id, self.base = identity.new_job_id(), base
        self.partition = identity.partition_for(self.job_id, 3) if partition is None else partition
        self.definition = of or definition()
        self.revision, self.epoch = 0, -1
        self.scope_revision, self._scope = 1, (self.definition.source, self.definition.crawl.respect_robots)
        self.pages: dict[str, list[str]] = {}

    async def command(self, desired: Desired, reason: str | None = None, **changes: object) -> int:
        self.revision += 1
        scope = self.definition.source, self.definition.crawl.respect_robots
        if scope != self._scope:
            self._scope, self.scope_revision = scope, self.revision
        command = JobCommand(
            job_id=self.job_id, kb_id=self.kb_id, generation=self.generation, base=self.base,
            partition=self.partition, desired=desired, revision=self.revision, definition=self.definition,
            scope_revision=self.scope_revision,
            issued_at=now(), issued_by="test", reason=reason,
        )  # fmt: skip
        self.newest = msgspec.structs.replace(command, **changes)
        await self.publisher.send(self.newest, partition=self.partition)
        return self.revision

    async def begin(self) -> int:
        event = CrawlBegin(
            job_id=self.job_id, kb_id=self.kb_id, generation=self.generation, base=None, owner="test", began_at=now()
        )
        self.epoch = (await self.publisher.send(event, partition=self.partition)).offset
        return self.epoch

    def chunk(self, url: str, text: str, ordinal: int = 0) -> Chunk:
        """`tokens` are counted as OpenAI's server does, so that a stated limit is kept to from the first call on."""
        doc_hash = identity.doc_hash(text, url=url, heading_path=(), occurrence=0)
        embedded = identity.embedding_input("T", (), text)
        return Chunk(
            job_id=self.job_id, kb_id=self.kb_id, generation=self.generation, epoch=self.epoch, attempt=1,
            chunk_id=identity.chunk_id(self.kb_id, self.generation, doc_hash), doc_hash=doc_hash,
            text_hash=identity.text_hash(embedded), url=url, title="T", heading_path=(),
            ordinal=ordinal, occurrence=0, text=text, tokens=count_tokens(embedded), fetched_at=now(),
        )  # fmt: skip

    async def page(self, url: str, texts: list[str], *, recorded: bool = True) -> list[Chunk]:
        chunks = [self.chunk(url, text, i) for i, text in enumerate(texts)]
        for chunk in chunks:
            await self.publisher.publish(chunk, partition=self.partition)
        ids = tuple(chunk.chunk_id for chunk in chunks)
        end = PageEnd(
            job_id=self.job_id, kb_id=self.kb_id, generation=self.generation, epoch=self.epoch, attempt=1, url=url,
            chunk_ids=ids,
        )  # fmt: skip
        await self.publisher.send(end, partition=self.partition)
        if recorded:
            await self.record(url, ids)
        return chunks

    async def record(self, url: str, ids: tuple[str, ...], *, born: int | None = None, **changes: object) -> None:
        """`born`: the generation that wrote the chunks, where it is another."""
        self.pages[url] = list(ids)
        page = PageRecord(
            kb_id=self.kb_id, generation=self.generation, job_id=self.job_id, epoch=self.epoch, attempt=1, url=url,
            state="fetched", chunks=tuple(ChunkRef(i, born or self.generation) for i in ids), fetched_at=now(),
        )  # fmt: skip
        page = msgspec.structs.replace(page, **changes)
        await self.publisher.send(page, partition=identity.partition_for(self.kb_id, 3))

    async def end(self, **changes: object) -> None:
        partition = identity.partition_for(self.kb_id, 3)
        offset = await end_offset(
            self.settings.bootstrap_servers, "pages", partition, prefix=self.settings.topic_prefix
        )
        event = CrawlEnd(
            job_id=self.job_id, kb_id=self.kb_id, generation=self.generation, epoch=self.epoch, pages=len(self.pages),
            pages_partition=partition, pages_end_offset=offset,
            digest=identity.manifest_digest(i for ids in self.pages.values() for i in ids),
            frontier_emptied=True, errors=0, ended_at=now(),
        )  # fmt: skip
        await self.publisher.send(msgspec.structs.replace(event, **changes), partition=self.partition)


async def delete_records(settings: Settings, partition: int, before: int) -> None:
    """Moves the log's start of a partition of `chunks`, as kafka-delete-records does."""
    place = TopicPartition(settings.topic("chunks"), partition, before)
    admin = admin_client(settings.bootstrap_servers)  # held on to: its answers come by it
    await asyncio.to_thread(admin.delete_records([place])[place].result)
