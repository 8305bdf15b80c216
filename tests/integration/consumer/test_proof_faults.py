"""The proof, the undo and the vacuum cut off between two steps; and what workers that slept leave behind."""
# ruff: noqa: F401 - fixtures are shared by importing them

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import TopicPartition

from headrace.kafka.admin import admin_client
from headrace.kafka.follower import end_offset, read_span
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import StoredChunk, VectorStore
from schemas import identity
from schemas.chunks import Chunk, RepairEnd
from schemas.codec import now
from schemas.events import Place
from schemas.facts import DeadLettered, JobFinished, Outcomes, Vacuumed
from schemas.kb import NEVER, GenerationState, KbDefined, collection_name
from tests.fakes.openai_server import OpenAIServer
from tests.integration.consumer.play import everything, finished, ids, reported
from tests.integration.consumer.test_consumer_faults import tell_state
from tests.integration.consumer.test_proof import keep, place_of, published, refresh, results, rows, states
from tests.support.log import PlayedJob, read_all
from tests.support.offsets import caught_up
from tests.support.services import Service
from tests.support.waiting import until


def stored(job: PlayedJob, chunk: Chunk) -> StoredChunk:
    return StoredChunk(
        chunk_id=chunk.chunk_id, text=chunk.text, url=chunk.url, title=chunk.title, heading_path=(),
        doc_hash=chunk.doc_hash, text_hash=chunk.text_hash, job_id=job.job_id, born=job.generation, ordinal=0,
    )  # fmt: skip


async def write_late(store: VectorStore, job: PlayedJob, text: str) -> str:
    """An object of the job, as a worker that slept through its undo would write it."""
    chunk = job.chunk("http://site/late", text)
    await store.ensure(place_of(job))
    await store.insert(place_of(job), [stored(job, chunk)], [np.ones(8, dtype=np.float32)])
    return chunk.chunk_id


async def last_state(settings: Settings, job: PlayedJob, state: str, count: int = 1) -> GenerationState:
    async def found() -> GenerationState | None:
        told = [each for each in await states(settings, job) if each.state == state]
        return told[-1] if len(told) >= count else None

    return await until(found, what=f"{count} x {state}")


async def forget_log(settings: Settings, job: PlayedJob, before: int) -> None:
    """Retention takes the records of the job's partition below an offset."""
    admin = admin_client(settings.bootstrap_servers)
    tp = TopicPartition(settings.topic("chunks"), job.partition, before)
    await asyncio.to_thread(admin.delete_records([tp])[tp].result)


async def last_chunk(settings: Settings, job: PlayedJob) -> int:
    """The offset of the last record of the job's partition."""
    end = await end_offset(settings.bootstrap_servers, "chunks", job.partition, prefix=settings.topic_prefix)
    return end - 1


async def tombstones(settings: Settings, job: PlayedJob) -> list[bytes]:
    partition, prefix = identity.partition_for(job.kb_id, 3), settings.topic_prefix
    end = await end_offset(settings.bootstrap_servers, "pages", partition, prefix=prefix)
    span = await read_span(settings.bootstrap_servers, "pages", partition, 0, end, prefix=prefix)
    return [record.key or b"" for record in span if record.value is None]


async def retry(job: PlayedJob, publisher: Publisher, bad: Chunk, letter: DeadLettered) -> None:
    copy = msgspec.structs.replace(bad, origin=letter.place, retry_of=letter.dead_letter)
    await publisher.send(copy, partition=job.partition)
    end = RepairEnd(job_id=job.job_id, kb_id=job.kb_id, generation=job.generation, requested_at=now())
    await publisher.send(end, partition=job.partition)


async def vacuum_below(settings: Settings, publisher: Publisher, job: PlayedJob, below: int) -> None:
    defined = KbDefined(
        kb_id=job.kb_id, definition=job.definition, last_generation=job.generation, vacuumed_below=below,
        updated_at=now(), updated_by="test",
    )  # fmt: skip
    await publisher.send(defined, partition=identity.partition_for(job.kb_id, 3))


class TestLost:
    """A chunk is gone from Weaviate, and its original from the log."""

    async def lose(self, settings: Settings, job: PlayedJob, store: VectorStore) -> None:
        await job.command("running")
        await job.begin()
        gone = await job.page("http://site/0", ["one", "two"])
        await job.page("http://site/1", ["three"])

        async def indexed() -> bool:
            return await ids(store, job) == everything(job)

        await until(indexed)
        await caught_up(settings)
        await store.delete_ids(place_of(job), [gone[1].chunk_id])
        await forget_log(settings, job, job.epoch + 4)  # crawl_begin, two chunks and their page_end

    async def test_its_page_is_sent_back_and_fetched_again(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        job = PlayedJob(settings, publisher, kb)
        await self.lose(settings, job, store)
        await job.end()
        assert await until(lambda: results(settings, job, "crawl_end")) == ["superseded"]
        state = (await states(settings, job))[-1]
        assert (state.state, state.recrawl, state.recrawls) == ("open", await last_chunk(settings, job), 1)
        assert await tombstones(settings, job) == [identity.page_key(kb, 1, "http://site/0").encode()]

        await job.begin()
        await job.page("http://site/0", ["one", "two and a half"])
        await job.end()
        fact = await finished(settings, job)
        assert (fact.outcome, fact.chunks_visible, fact.chunks_missing) == ("completed", 3, 0)
        assert await ids(store, job) == everything(job)

    async def test_cut_off_between_the_tombstones_and_the_state(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        job = PlayedJob(settings, publisher, kb)
        await self.lose(settings, job, store)
        assert await consumer.terminate() == 0
        await job.end()
        key = identity.page_key(kb, 1, "http://site/0")
        await (await publisher.tombstone("pages", key, partition=identity.partition_for(kb, 3)))
        consumer.start()
        assert await until(lambda: results(settings, job, "crawl_end")) == ["superseded"]
        assert (await states(settings, job))[-1].recrawl == await last_chunk(settings, job)

    async def test_cut_off_between_the_state_and_the_ack(
        self, settings: Settings, publisher: Publisher, topics: None, environment: dict[str, str], tmp_path: Path,
        kb: str,
    ) -> None:  # fmt: skip
        job = PlayedJob(settings, publisher, kb)
        await job.command("running")
        await job.begin()
        await job.page("http://site/0", ["one"])
        await job.end()
        await tell_state(settings, publisher, job, "open", None, recrawl=job.epoch, recrawls=1)
        service = Service("consumer", environment, tmp_path).start()
        try:
            assert await until(lambda: results(settings, job, "crawl_end")) == ["superseded"]
            await job.begin()
            await job.end()
            assert (await finished(settings, job)).outcome == "completed"
        finally:
            service.close()

    async def test_not_for_ever(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        job = PlayedJob(settings, publisher, kb)
        await self.lose(settings, job, store)
        await tell_state(settings, publisher, job, "open", None, recrawl=job.epoch - 1, recrawls=3)
        await job.end()
        fact = await finished(settings, job)
        assert (fact.outcome, fact.chunks_visible, fact.chunks_missing) == ("completed_with_errors", 2, 1)


class TestRepair:
    async def broken(self, settings: Settings, job: PlayedJob, openai: OpenAIServer) -> tuple[Chunk, DeadLettered]:
        openai.refused_marker = "unembeddable"
        await job.command("running")
        await job.begin()
        _, bad = await job.page("http://site/0", ["good", "unembeddable text"])
        await job.end()
        assert (await finished(settings, job)).outcome == "completed_with_errors"
        openai.refused_marker = ""
        (letter,) = await read_all(settings, DeadLettered)
        return bad, letter

    async def test_retried_chunks_join_the_published_generation(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer,
        kb: str,
    ) -> None:  # fmt: skip
        job = PlayedJob(settings, publisher, kb)
        bad, letter = await self.broken(settings, job, openai)
        await retry(job, publisher, bad, letter)

        async def again() -> JobFinished | None:
            told = await read_all(settings, JobFinished)
            return told[1] if len(told) > 1 else None

        fact = await until(again)
        assert (fact.outcome, fact.chunks_visible, fact.chunks_missing, fact.pages) == ("completed", 2, 0, 1)
        assert (await states(settings, job))[-1].not_indexed == ()
        assert await ids(store, job) == everything(job)

    async def test_a_refresh_came_first(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer,
        kb: str,
    ) -> None:  # fmt: skip
        job = PlayedJob(settings, publisher, kb)
        bad, letter = await self.broken(settings, job, openai)
        second = await refresh(settings, publisher, job)
        await second.page("http://site/0", ["new"])
        await second.end()
        await finished(settings, second)
        await retry(job, publisher, bad, letter)
        assert await until(lambda: results(settings, job, "repair_end")) == ["superseded"]
        assert (await results(settings, job, "chunk"))[-1] == "superseded"


class TestSlept:
    async def undo(self, settings: Settings, publisher: Publisher, kb: str) -> PlayedJob:
        job = PlayedJob(settings, publisher, kb)
        await job.command("running")
        await job.begin()
        await job.page("http://site/0", ["one"])
        await reported(settings, job, "undone", await job.command("cancelled"))
        return job

    async def test_an_object_that_comes_after_the_undo_is_deleted(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        job = await self.undo(settings, publisher, kb)
        late = await write_late(store, job, "late")
        assert late in await ids(store, job)

        async def gone() -> bool:
            return not await ids(store, job)

        await until(gone, within_s=60)

    async def test_the_next_proof_looks_for_it_too(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        job = await self.undo(settings, publisher, kb)
        await write_late(store, job, "late")
        second = PlayedJob(settings, publisher, kb, generation=2)
        await second.command("running")
        await second.begin()
        await second.page("http://site/0", ["one"])
        await second.end()
        await finished(settings, second)
        assert await ids(store, second) == everything(second)

    @pytest.mark.parametrize("state", ["open", "published"])
    async def test_a_state_that_comes_after_the_undo_is_hidden_again(
        self, settings: Settings, publisher: Publisher, consumer: Service, kb: str, state: str
    ) -> None:
        async def hidden() -> bool:
            return (await states(settings, job))[-1].state == "undone"

        job = await self.undo(settings, publisher, kb)
        await tell_state(settings, publisher, job, state, None)
        await until(hidden, what="the undone state stands last again")
        consumer.kill()
        await tell_state(settings, publisher, job, state, None)
        assert not await hidden()
        consumer.start()
        await until(hidden, what="the undone state stands last again, over a restart")


async def test_cut_off_between_publication_and_the_fact(
    settings: Settings, publisher: Publisher, topics: None, environment: dict[str, str], tmp_path: Path, kb: str
) -> None:
    """A cancel that came in between has no effect any more."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.end()
    await tell_state(settings, publisher, job, "published", None)
    await job.command("cancelled")
    service = Service("consumer", environment, tmp_path).start()
    try:
        assert (await finished(settings, job)).outcome == "completed"
        assert [state.state for state in await states(settings, job)] == ["published"]
    finally:
        service.close()


async def test_a_rollback_that_was_cut_off_is_finished(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    first = await published(settings, publisher, kb)
    second = await refresh(settings, publisher, first)
    await keep(second, first, 0, 1, 2)
    await second.page("http://site/3", ["another"])
    await second.end()
    await finished(settings, second)
    consumer.kill()
    revision = await second.command("rolled_back")
    await tell_state(settings, publisher, second, "undone", "rolled back")
    consumer.start()
    await reported(settings, second, "undone", revision)
    assert await rows(store, first) == {chunk_id: (1, NEVER) for chunk_id in everything(first)}


async def test_vacuum_deletes_what_no_search_can_see(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    first = await published(settings, publisher, kb)
    undone = await refresh(settings, publisher, first)
    await reported(settings, undone, "undone", await undone.command("cancelled"))
    third = await refresh(settings, publisher, first, generation=3)
    await keep(third, first, 0, 1, 2)
    await third.page("http://site/3", ["another"])
    await third.end()
    await finished(settings, third)
    await write_late(store, undone, "late")
    (kept,) = first.pages["http://site/2"]
    await store.retire(
        place_of(first), [kept], 2
    )  # by a worker that slept: what an undone generation retired is visible

    await vacuum_below(settings, publisher, third, 3)

    async def told(count: int) -> list[Vacuumed]:
        facts = await read_all(settings, Vacuumed)
        return facts if len(facts) >= count else []

    (fact,) = await until(lambda: told(1))
    assert (fact.kb_id, fact.below, fact.objects_deleted) == (kb, 3, 2)
    assert set(await rows(store, third)) == everything(third)
    consumer.kill()
    consumer.start()
    assert (await until(lambda: told(2)))[-1].objects_deleted == 0
