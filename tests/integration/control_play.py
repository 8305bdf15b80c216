"""Control in this process, and the producer and the consumer of its jobs played by the test."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition

from control import service
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.chunks import Chunk
from schemas.codec import Headers, encode, headers_for, now
from schemas.dead_letters import reason_headers
from schemas.events import Event, Place
from schemas.facts import (
    CallReserved,
    CallSettled,
    ChunksMissing,
    CrawlCounts,
    CrawlReport,
    DeadLettered,
    HostRequests,
    IndexReport,
    JobFinished,
    Outcome,
    Outcomes,
    RecordsLost,
    Request,
    RequestsMade,
    ReviewNeeded,
    Stall,
    Vacuumed,
)
from schemas.identity import page_key, partition_for
from schemas.kb import GenerationState
from schemas.pages import ChunkRef, PageRecord

API = "/api/ingestion"
DEFINITION = {"source": {"urls": ["https://example.org/docs/"]}}
DEADLINE_S = 20.0

Json = dict[str, Any]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Api:
    """HTTP to a control; answers are (status, JSON)."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def call(self, method: str, path: str, body: Json | None = None, **headers: str) -> tuple[int, Json]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, json=body, headers=names) as response:
            return response.status, await response.json(content_type=None)

    async def ok(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        status, answer = await self.call(method, path, body, **headers)
        assert status < 400, answer
        return answer

    async def start(self, kb: str, body: Json | None = None, **headers: str) -> Json:
        return await self.ok("POST", f"{API}/kb/{kb}/start", body, **headers)

    async def command(self, kb: str, action: str, body: Json | None = None) -> Json:
        return await self.ok("POST", f"{API}/kb/{kb}/{action}", body)

    async def status(self, kb: str, query: str = "") -> Json:
        return await self.ok("GET", f"{API}/kb/{kb}/status{query}")

    async def until(self, kb: str, status: str) -> Json:
        """Waits for a status; fails with the last one at the deadline."""
        answer = await self.status(kb)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                while answer["status"] != status:
                    await asyncio.sleep(0.03)
                    answer = await self.status(kb)
        assert answer["status"] == status, answer
        return answer


@contextlib.asynccontextmanager
async def control(settings: Settings, **changes: Any) -> AsyncIterator[Api]:
    """A control that is ready; asked to stop at the end."""
    settings = replace(settings, http_port=free_port(), **changes)
    stop = asyncio.Event()
    running = asyncio.create_task(service.main(settings, stop))
    async with aiohttp.ClientSession() as session:
        api = Api(session, f"http://127.0.0.1:{settings.http_port}")
        try:
            await ready(api, running)
            yield api
        finally:
            stop.set()
            await running


async def ready(api: Api, running: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if running.done():
                running.result()
            try:
                if (await api.call("GET", "/readyz"))[0] == 200:
                    return
            except aiohttp.ClientConnectorError:
                pass  # it does not listen yet
            await asyncio.sleep(0.05)


class Played:
    """The producer and the consumer of one job."""

    def __init__(self, settings: Settings, publisher: Publisher, started: Json) -> None:
        self._settings, self._publisher = settings, publisher
        self.job: Json = {name: started[name] for name in ("job_id", "kb_id", "generation")}
        self.partition = partition_for(self.job["job_id"], 3)
        self._kb_partition = partition_for(self.job["kb_id"], 3)

    async def tell(self, event: Event) -> None:
        await self._publisher.send(event, partition=self.partition)

    async def crawl(self, state: Any, revision: int, **counts: int) -> None:
        await self.tell(
            CrawlReport(**self.job, state=state, revision=revision, epoch=0, counts=CrawlCounts(**counts), owner="test",
                        reported_at=now())
        )  # fmt: skip

    async def index(self, state: Any, revision: int, group_generation: int = 1) -> None:
        await self.tell(
            IndexReport(**self.job, state=state, revision=revision, group_generation=group_generation, worker="test",
                        reported_at=now())
        )  # fmt: skip

    async def page(self, url: str, *chunk_ids: str, state: Any = "fetched", reason: str | None = None) -> None:
        record = PageRecord(
            **self.job, epoch=0, attempt=1, url=url, state=state, reason=reason, fetched_at=now(),
            chunks=tuple(ChunkRef(each, self.job["generation"]) for each in chunk_ids),
        )  # fmt: skip
        await self._publisher.send(record, partition=self._kb_partition)

    async def requests(self, host: str, *made: Request, **more: Any) -> None:
        part = HostRequests(host=host, concurrency=2, requests=made, **more)
        await self.tell(RequestsMade(**self.job, epoch=0, owner="test", hosts=(part,), reported_at=now()))

    async def outcomes(self, first: int, *chunk_ids: str, result: Any = "indexed") -> None:
        entries = tuple(
            Outcome(offset=first + n, type="chunk", result=result, chunk_id=each) for n, each in enumerate(chunk_ids)
        )
        await self.tell(
            Outcomes(**self.job, partition=self.partition, group_generation=1, worker="test", entries=entries,
                     decided_at=now())
        )  # fmt: skip

    async def call(self, call_id: str, tokens: int, pico_usd: int | None) -> None:
        of = {**self.job, "call_id": call_id, "provider": "openai", "model": "m", "texts": 1, "worker": "test"}
        await self.tell(CallReserved(**of, max_tokens=2 * tokens, max_pico_usd=pico_usd and 2 * pico_usd,
                                     group_generation=1, reserved_at=now()))  # fmt: skip
        await self.tell(CallSettled(**of, requests=1, tokens=tokens, pico_usd=pico_usd, settled_at=now()))

    async def stall(self, dependency: str, *, ended: bool) -> None:
        await self.tell(
            Stall(**self.job, service="consumer", dependency=dependency, reason="refuses", since=now(), ended=ended)
        )

    async def dead_letter(
        self, place: Place, value: bytes, headers: Headers, reason: str, chunk_id: str | None = None
    ) -> Place:
        """What the consumer writes for a record that failed by itself; gives the dead letter's place."""
        said = reason_headers(
            topic="chunks", partition=place.partition, offset=place.offset, connector="test", stage="embed",
            error="RecordRefused", message=reason,
        )  # fmt: skip
        key = self.job["job_id"]
        letter = await (
            await self._publisher.publish_raw(
                "dead-letters", key=key.encode(), value=value, headers=headers + said, partition=self.partition
            )
        )
        await self.tell(
            DeadLettered(
                job_id=key if chunk_id else None, chunk_id=chunk_id, record_key=key, topic="chunks", place=place,
                dead_letter=letter, stage="embed", reason=reason, dead_lettered_at=now(),
            )
        )  # fmt: skip
        return letter

    async def refused_chunk(self, name: str, *, at: int, reason: str = "the text is refused") -> Place:
        """A chunk that stood at offset `at`, in the dead letters; gives the dead letter's place."""
        chunk = Chunk(
            **self.job, epoch=0, attempt=1, chunk_id=name, doc_hash=name, text_hash=name, url="https://example.org/a",
            title="", heading_path=(), ordinal=0, occurrence=0, text=name, tokens=1, fetched_at=now(),
        )  # fmt: skip
        place = Place(self.partition, at)
        return await self.dead_letter(place, encode(chunk), headers_for(chunk, "test"), reason, chunk_id=name)

    async def review(self, revision: int, digest: str = "abc") -> None:
        await self.tell(
            ReviewNeeded(**self.job, revision=revision, digest=digest, pages_before=10, pages_vanished=9,
                         pages_failed=1, max_vanished_share=0.2, reason="9 of 10 pages would vanish", reported_at=now())
        )  # fmt: skip

    async def lost(self, first: int, end: int) -> None:
        await self.tell(
            RecordsLost(**self.job, partition=self.partition, first=first, end=end, needed="parked", worker="test",
                        reported_at=now())
        )  # fmt: skip

    async def missing(self, epoch: int, chunks: int) -> None:
        await self.tell(
            ChunksMissing(**self.job, epoch=epoch, chunks=chunks, pages=1, worker="test", reported_at=now())
        )

    async def forget(self, url: str) -> None:
        key = page_key(self.job["kb_id"], self.job["generation"], url)
        await (await self._publisher.tombstone("pages", key, partition=self._kb_partition))

    async def vacuumed(self, below: int, objects_deleted: int) -> None:
        await self.tell(
            Vacuumed(kb_id=self.job["kb_id"], below=below, objects_deleted=objects_deleted, worker="test",
                     vacuumed_at=now())
        )  # fmt: skip

    async def generation(self, state: Any, base: int | None = None, collection: str = "Headrace_test") -> None:
        record = GenerationState(**self.job, state=state, base=base, collection=collection, changed_at=now())
        await self._publisher.send(record, partition=self._kb_partition)

    async def finish(self, outcome: Any = "completed") -> None:
        await self.tell(JobFinished(**self.job, outcome=outcome, finished_at=now()))
        end = Outcome(offset=0, type="crawl_end", result="done")
        await self.tell(
            Outcomes(
                **self.job,
                partition=self.partition,
                group_generation=1,
                worker="test",
                entries=(end,),
                decided_at=now(),
            )
        )

    async def complete(self) -> None:
        """All that a small job tells, at once."""
        await self.crawl("finished", 1)
        await self.index("running", 1)
        await self.generation("published")
        await self.finish()

    async def publish_raw(self, topic: str, key: str | None, value: bytes | None) -> None:
        await (
            await self._publisher.publish_raw(
                topic, key=key.encode() if key else None, value=value, headers=[], partition=self.partition
            )
        )


async def commit(settings: Settings, offsets: dict[int, int]) -> None:
    """Commits for the consumers' group, as Faust would."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, group_id=settings.consumer_group, enable_auto_commit=False
    )
    await consumer.start()
    places = {TopicPartition(settings.topic("chunks"), partition): offset for partition, offset in offsets.items()}
    consumer.assign(list(places))
    await consumer.commit(places)
    await consumer.stop()


def kb_name() -> str:
    return f"kb-{secrets.token_hex(4)}"


def without_clock(status: Json) -> Json:
    """A status without what depends on when it is asked for."""
    return {name: value for name, value in status.items() if name not in ("rate_chunks_per_s", "eta_s")}


def values(events: Sequence[Json], kind: str) -> list[Json]:
    return [event["value"] for event in events if event["type"] == kind]
