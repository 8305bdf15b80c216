"""The consumer cut off between two steps, fed with contradictions, or asked to stop while all else hangs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from headrace.kafka.follower import read_span
from headrace.kafka.publisher import BASE_CONFIG, Publisher
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas import identity
from schemas.codec import now
from schemas.facts import ChunksMissing, DeadLettered, JobFinished
from schemas.kb import GenerationState, collection_name
from tests.fakes.openai_errors import hang
from tests.fakes.openai_server import OpenAIServer
from tests.integration.consumer.play import everything, finished, ids, reported
from tests.integration.consumer.test_proof import results
from tests.support.log import PlayedJob, read_all
from tests.support.offsets import caught_up
from tests.support.services import Service
from tests.support.waiting import until

STOP_S = 60.0
"""The consumer's own bounds come to 23 s; the rest is a crowded machine's. Without them it would wait without end."""


async def tell_state(
    settings: Settings, publisher: Publisher, job: PlayedJob, state: str, reason: str | None, **changes: object
) -> None:
    event = GenerationState(
        kb_id=job.kb_id, generation=job.generation, job_id=job.job_id, state=state, base=None,
        collection=collection_name(job.definition.embedding), epoch=job.epoch, changed_at=now(), reason=reason,
    )  # fmt: skip
    event = msgspec.structs.replace(event, **changes)
    await publisher.send(event, partition=identity.partition_for(job.kb_id, settings.partitions))


async def test_a_failure_that_was_cut_off_before_it_was_told_is_told(
    settings: Settings, publisher: Publisher, store: VectorStore, environment: dict[str, str], tmp_path: Path, kb: str
) -> None:
    """Else the job is never over, and no other can start in its knowledge base."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.end(failure="no page could be fetched")
    await tell_state(settings, publisher, job, "undone", "no page could be fetched")
    service = Service("consumer", environment, tmp_path).start()
    try:
        fact = await finished(settings, job)
        assert (fact.outcome, fact.reason) == ("failed", "no page could be fetched")
    finally:
        service.close()


async def test_an_end_that_was_cut_off_is_not_for_a_pause_to_hold_up(
    settings: Settings, publisher: Publisher, environment: dict[str, str], tmp_path: Path, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.end()
    await tell_state(settings, publisher, job, "published", None)
    await job.command("paused")
    service = Service("consumer", environment, tmp_path).start()
    try:
        assert (await finished(settings, job)).outcome == "completed"
    finally:
        service.close()


async def test_a_second_end_changes_nothing_of_what_is_published(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/1", ["one", "two"])
    await job.end()
    await finished(settings, job)
    await job.end(digest="0" * 64, pages=7)
    await job.end(failure="too late")
    await caught_up(settings)
    assert [s.state for s in await read_all(settings, GenerationState)] == ["open", "published"]
    assert await ids(store, job) == everything(job)


async def test_an_end_that_is_read_again_tells_nothing_of_what_is_history(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    """As after offsets were lost: by then its chunks may be vacuumed, which is no flaw of the job."""
    first = PlayedJob(settings, publisher, kb)
    await first.command("running")
    await first.begin()
    chunks = await first.page("http://site/1", ["one"])
    await first.end()
    await finished(settings, first)
    second = PlayedJob(settings, publisher, kb, generation=2, base=1)
    await second.command("running")
    await second.begin()
    await second.page("http://site/1", ["another"])
    await second.end()
    await finished(settings, second)
    place = Tenancy(collection_name(first.definition.embedding), kb)
    await store.delete_ids(place, [chunk.chunk_id for chunk in chunks])
    await first.end()
    await caught_up(settings)
    assert [fact.job_id for fact in await read_all(settings, JobFinished) if fact.kb_id == kb].count(first.job_id) == 1


@pytest.mark.parametrize(
    "changes", [{"pages_end_offset": 10**12, "pages": 9}, {"pages_partition": 77}, {"digest": "0" * 64}]
)
async def test_an_end_that_names_another_manifest_fails_its_job_and_holds_up_nothing(
    settings: Settings, publisher: Publisher, consumer: Service, kb: str, changes: dict[str, object]
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/1", ["one"])
    await job.end(**changes)
    fact = await finished(settings, job)
    assert fact.outcome == "failed" and fact.reason and "manifest" in fact.reason
    await caught_up(settings)


@pytest.mark.parametrize("waits", [True, False], ids=["taken up after the newer epoch", "read before it"])
async def test_such_an_end_is_superseded_where_a_newer_epoch_has_begun(
    settings: Settings, publisher: Publisher, topics: None, environment: dict[str, str], tmp_path: Path, kb: str,
    waits: bool,
) -> None:  # fmt: skip
    """What it names, compaction may have removed: the newer epoch has written records under the same keys."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("paused" if waits else "running")
    await job.begin()
    await job.page("http://site/1", ["one"])
    await job.end(pages=9)
    service = Service("consumer", environment, tmp_path)
    if waits:
        service.start()
        await caught_up(settings)
    await job.begin()
    await job.end()
    service.start() if not waits else await job.command("running")
    try:
        assert (await finished(settings, job)).outcome == "completed"
        await caught_up(settings)
        assert "superseded" in await results(settings, job, "crawl_end")
    finally:
        service.close()


async def test_a_page_with_a_chunk_of_base_that_is_gone_is_sent_back_once(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    """Where it is not come to then, what is missing is an error and no endless round."""
    first = PlayedJob(settings, publisher, kb)
    await first.command("running")
    await first.begin()
    (lost,) = await first.page("http://site/1", ["lost"])
    (kept,) = await first.page("http://site/2", ["kept"])
    await first.end()
    await finished(settings, first)
    place = Tenancy(collection_name(first.definition.embedding), kb)
    await store.delete_ids(place, [lost.chunk_id])
    second = PlayedJob(settings, publisher, kb, generation=2, base=1)
    await second.command("running")
    await second.begin()
    for url, chunk in (("http://site/1", lost), ("http://site/2", kept)):
        await second.record(url, (chunk.chunk_id,), born=1, state="unchanged")
    await second.end()
    assert await until(lambda: results(settings, second, "crawl_end")) == ["superseded"]
    (told,) = await read_all(settings, ChunksMissing)
    assert (told.epoch, told.chunks, told.pages) == (second.epoch, 1, 1)
    asked = [state for state in await read_all(settings, GenerationState) if state.recrawls]
    assert [(state.generation, state.not_indexed) for state in asked] == [(2, (lost.chunk_id,))]

    await second.begin()
    await second.record("http://site/1", (lost.chunk_id,), born=1, state="kept", attempt=0)
    await second.end()
    fact = await finished(settings, second)
    assert (fact.outcome, fact.chunks_visible, fact.chunks_missing) == ("completed_with_errors", 1, 1)
    assert fact.reason == "1 chunk missing"
    assert await results(settings, second, "crawl_end") == ["superseded", "done"]


async def test_a_missing_chunk_of_this_job_is_written_again(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    chunks = await job.page("http://site/1", [f"text {i}" for i in range(5)])

    async def written() -> bool:
        return await ids(store, job) == everything(job)

    await until(written)
    await caught_up(settings)
    place = Tenancy(collection_name(job.definition.embedding), kb)
    await store.delete_ids(place, [chunk.chunk_id for chunk in chunks[:2]])
    await job.end()
    fact = await finished(settings, job)
    assert (fact.outcome, fact.chunks_visible, fact.chunks_missing) == ("completed", 5, 0)


async def test_records_that_contradict_themselves_stall_nothing(
    settings: Settings, publisher: Publisher, consumer: Service, kb: str
) -> None:
    """Weaviate refuses a whole request for one id that is no UUID: that would look like an outage."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    good = job.chunk("http://site/0", "good")
    for changed in ({"chunk_id": "no-uuid"}, {"text_hash": "f" * 64}, {"kb_id": "other"}, {"ordinal": 2**40}):
        await publisher.send(msgspec.structs.replace(good, **changed), partition=job.partition)
    await job.page("http://site/1", ["one"])
    await job.end()
    assert (await finished(settings, job)).outcome == "completed"
    assert [letter.stage for letter in await read_all(settings, DeadLettered)] == ["judge"] * 4


async def test_a_record_as_large_as_the_log_takes_stops_nothing(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    """Such a record comes from no client of ours: the console's writes it."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    config = BASE_CONFIG | {"bootstrap.servers": settings.bootstrap_servers, "message.max.bytes": 2**21}
    console = Producer(config | {"compression.type": "none"})
    for value, kind in ((b"x" * 1_040_000, "headrace.chunk.v1"), (b"x", "x" * 600_000), (b"x" * 2**20, "x")):
        place = {"partition": job.partition, "key": b"console", "headers": [("ce_type", kind.encode())]}
        console.produce(settings.topic("chunks"), value, **place)
        console.flush(30)
    await job.page("http://site/1", ["one"])
    await job.end()
    assert (await finished(settings, job)).outcome == "completed"
    await caught_up(settings)
    letters = await read_all(settings, DeadLettered)
    assert [letter.stage for letter in letters] == ["decode"] * 2, "the third is beyond what the log takes"
    found = [
        (len(raw.value or b""), len(dict(raw.headers)["ce_type"] or b""))
        for raw in await read_span(
            settings.bootstrap_servers, "dead-letters", job.partition, 0, 2, prefix=settings.topic_prefix
        )
    ]
    assert found == [(1_040_000, 17), (1, 600_000)], "untouched"
    assert await ids(store, job) == everything(job)


class BlackHole:
    """A server that takes connections and never says a word."""

    def __init__(self) -> None:
        self.touched, self._over = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._swallow, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._over.set()
        self._server.close()

    async def _swallow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.touched.set()
        await self._over.wait()
        writer.close()


@pytest.fixture
async def black_hole() -> AsyncIterator[BlackHole]:
    hole = BlackHole()
    await hole.start()
    yield hole
    await hole.stop()


async def check_stops(service: Service) -> None:
    """Within STOP_S."""
    code = await service.terminate(STOP_S)
    assert code == 0, service.said()[-3000:]


async def test_stops_in_time_while_the_embedding_api_hangs(
    settings: Settings, publisher: Publisher, consumer: Service, openai: OpenAIServer, kb: str
) -> None:
    openai.fail(hang())
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/1", ["one"])

    async def asked() -> bool:
        return openai.calls > 0

    await until(asked)
    await check_stops(consumer)
    openai.heal()
    consumer.start()
    await job.end()
    assert (await finished(settings, job)).outcome == "completed"


async def test_stops_in_time_while_weaviate_hangs(
    settings: Settings, publisher: Publisher, topics: None, environment: dict[str, str], tmp_path: Path,
    black_hole: BlackHole, kb: str,
) -> None:  # fmt: skip
    deaf = {"WEAVIATE_URL": f"http://127.0.0.1:{black_hole.port}"}
    service = Service("consumer", environment | deaf, tmp_path).start()
    try:
        job = PlayedJob(settings, publisher, kb)
        await job.command("running")
        await job.begin()
        await job.page("http://site/1", ["one"])
        async with asyncio.timeout(30):
            await black_hole.touched.wait()
        await check_stops(service)
    finally:
        service.close()


async def test_stops_at_once_before_kafka_ever_answered(
    environment: dict[str, str], tmp_path: Path, black_hole: BlackHole
) -> None:
    deaf = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{black_hole.port}"}
    service = Service("consumer", environment | deaf, tmp_path).start()
    try:
        async with asyncio.timeout(30):
            await black_hole.touched.wait()
        await check_stops(service)
    finally:
        service.close()


async def test_what_is_parked_outlives_a_kill_in_the_middle_of_taking_it_up(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    paused = await job.command("paused")
    await reported(settings, job, "holding", paused)
    for page in range(20):
        await job.page(f"http://site/{page}", [f"text {page} {i}" for i in range(50)])
    await job.end()
    await caught_up(settings)
    resumed = await job.command("running")
    await reported(settings, job, "running", resumed)
    consumer.kill()
    consumer.start()
    fact = await finished(settings, job, within_s=60)
    assert (fact.outcome, fact.chunks_visible) == ("completed", 1000)
    assert await ids(store, job) == everything(job)
