"""What the proof lets pass, holds up, sends back and undoes; producer and control are played by the test."""
# ruff: noqa: F401 - fixtures are shared by importing them

from pathlib import Path

import pytest

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas.events import Event
from schemas.facts import IndexReport, JobFinished, Outcomes, ReviewNeeded
from schemas.identity import manifest_digest
from schemas.kb import NEVER, GenerationState, collection_name
from tests.fakes.openai_server import OpenAIServer
from tests.integration.consumer.play import everything, finished, ids, reported
from tests.support.log import PlayedJob, read_all
from tests.support.offsets import caught_up
from tests.support.services import Service
from tests.support.waiting import until


async def published(settings: Settings, publisher: Publisher, kb: str, pages: int = 4) -> PlayedJob:
    """A first generation of pages with one chunk each."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    for page in range(pages):
        await job.page(f"http://site/{page}", [f"text {page}"])
    await job.end()
    await finished(settings, job)
    return job


async def refresh(settings: Settings, publisher: Publisher, first: PlayedJob, generation: int = 2) -> PlayedJob:
    job = PlayedJob(settings, publisher, first.kb_id, generation=generation, base=first.generation)
    await job.command("running")
    await job.begin()
    return job


async def keep(job: PlayedJob, first: PlayedJob, *pages: int) -> None:
    for page in pages:
        url = f"http://site/{page}"
        await job.record(url, tuple(first.pages[url]), born=first.generation, state="unchanged")


async def reviews(settings: Settings, job: PlayedJob, count: int = 1) -> list[ReviewNeeded]:
    async def found() -> list[ReviewNeeded] | None:
        told = [each for each in await read_all(settings, ReviewNeeded) if each.job_id == job.job_id]
        return told if len(told) >= count else None

    return await until(found, what=f"{count} reviews")


async def states(settings: Settings, job: PlayedJob) -> list[GenerationState]:
    told = await read_all(settings, GenerationState)
    return [each for each in told if (each.kb_id, each.generation) == (job.kb_id, job.generation)]


async def results(settings: Settings, job: PlayedJob, kind: str) -> list[str]:
    told = [each for each in await read_all(settings, Outcomes) if each.job_id == job.job_id]
    return [entry.result for each in told for entry in each.entries if entry.type == kind]


def place_of(job: PlayedJob) -> Tenancy:
    return Tenancy(collection_name(job.definition.embedding), job.kb_id)


async def rows(store: VectorStore, job: PlayedJob) -> dict[str, tuple[int, int]]:
    """Chunk id to born and retired, of all that is stored."""
    return {chunk_id: (born, retired) for chunk_id, born, retired in await store.rows(place_of(job))}


class TestGuard:
    async def test_vanishing_waits_for_approval_over_a_restart(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        first = await published(settings, publisher, kb)
        job = await refresh(settings, publisher, first)
        await keep(job, first, 0)
        for page in (1, 2):
            await job.record(f"http://site/{page}", (), state="gone")
        await job.record("http://site/3", (), state="out_of_scope")
        await job.end()

        (told,) = await reviews(settings, job)
        assert (told.revision, told.pages_before, told.pages_vanished, told.pages_failed) == (1, 4, 2, 0)
        assert told.digest == manifest_digest(job.pages["http://site/0"]) and "2 of 4" in told.reason
        await caught_up(settings)
        assert [state.state for state in await states(settings, job)] == ["open"]
        assert all(retired == NEVER for _, retired in (await rows(store, job)).values())

        consumer.kill()
        consumer.start()
        await reviews(settings, job, 2)
        await job.command("running", approved="0" * 64)
        assert (await reviews(settings, job, 3))[-1].revision == 2
        await job.command("running", approved=told.digest)
        fact = await finished(settings, job)
        assert (fact.outcome, fact.chunks_visible, fact.chunks_retired) == ("completed", 1, 3)
        await caught_up(settings)

    async def test_cancel_in_review_undoes(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        first = await published(settings, publisher, kb)
        job = await refresh(settings, publisher, first)
        await job.page("http://site/0", ["new text"])
        await job.end()
        assert (await reviews(settings, job))[0].pages_vanished == 3
        await reported(settings, job, "undone", await job.command("cancelled"))
        assert set(await rows(store, job)) == everything(first)
        await caught_up(settings)

    async def test_errors_wait_too_and_few_do_not(
        self, settings: Settings, publisher: Publisher, consumer: Service, kb: str
    ) -> None:
        first = await published(settings, publisher, kb, pages=5)
        job = await refresh(settings, publisher, first)
        await keep(job, first, 0, 1, 2, 3)
        await job.record("http://site/4", tuple(first.pages["http://site/4"]), born=1, state="kept", status=500)
        await job.end()
        fact = await finished(settings, job)
        assert (fact.outcome, fact.reason) == ("completed_with_errors", "1 page with errors")

        third = await refresh(settings, publisher, first, generation=3)
        await keep(third, first, 0, 1, 2)
        for page in (3, 4):
            url = f"http://site/{page}"
            await third.record(url, tuple(first.pages[url]), born=1, state="kept", status=500)
        await third.end()
        (told,) = await reviews(settings, third)
        assert (told.pages_vanished, told.pages_failed) == (0, 2)

    async def test_the_first_generation_is_guarded_by_nothing(
        self, settings: Settings, publisher: Publisher, consumer: Service, kb: str
    ) -> None:
        job = PlayedJob(settings, publisher, kb)
        await job.command("running")
        await job.begin()
        await job.page("http://site/0", ["text"])
        await job.record("http://site/1", (), state="failed")
        await job.end()
        assert (await finished(settings, job)).outcome == "completed_with_errors"


class TestRollback:
    async def test_the_published_generation_is_undone_and_the_one_before_shows_again(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        first = await published(settings, publisher, kb)
        second = await refresh(settings, publisher, first)
        await keep(second, first, 0, 1, 2)
        await second.page("http://site/3", ["another text"])
        await second.end()
        assert (await finished(settings, second)).chunks_retired == 1
        await reported(settings, second, "undone", await second.command("rolled_back"))
        told = [state.state for state in await states(settings, second)]
        assert (told[:3], set(told[3:])) in ((["open", "published", "undone"], rest) for rest in (set(), {"undone"}))
        assert await rows(store, first) == {chunk_id: (1, NEVER) for chunk_id in everything(first)}
        assert (await states(settings, first))[-1].state == "published"

    async def test_a_cancel_of_what_is_published_has_no_effect(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        first = await published(settings, publisher, kb)
        await first.command("cancelled")
        await first.end()
        await until(lambda: _two(settings, first))
        assert set(await rows(store, first)) == everything(first)
        assert (await states(settings, first))[-1].state == "published"

    async def test_what_a_job_under_way_builds_on_stays(
        self, settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
    ) -> None:
        first = await published(settings, publisher, kb)
        second = await refresh(settings, publisher, first)
        revision = await first.command("rolled_back")

        async def refused(times: int) -> bool:
            return consumer.said().count("builds on it") >= times

        await until(lambda: refused(1))
        await keep(second, first, 0, 1, 2, 3)
        await second.end()
        assert (await finished(settings, second)).outcome == "completed"
        consumer.kill()
        consumer.start()  # it is published by now: the owner looks at the rollback again
        await until(lambda: refused(2))
        assert set(await rows(store, second)) == everything(first)
        told = [each for each in await read_all(settings, IndexReport) if each.job_id == first.job_id]
        assert not [each for each in told if each.revision == revision]


async def _two(settings: Settings, job: PlayedJob) -> bool:
    return len([each for each in await read_all(settings, JobFinished) if each.job_id == job.job_id]) == 2


async def test_the_end_of_an_earlier_scope_is_superseded(
    settings: Settings, publisher: Publisher, consumer: Service, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/0", ["text"])
    paused = await job.command("paused")
    await reported(settings, job, "holding", paused)
    await job.end()
    await caught_up(settings)
    await job.command("running", scope_revision=3)

    async def superseded() -> bool:
        return "superseded" in await results(settings, job, "crawl_end")

    await until(superseded)
    await job.page("http://site/1", ["more"])
    await job.end(scope_revision=3)
    assert (await finished(settings, job)).chunks_visible == 2


async def test_dead_lettered_chunks_stand_in_the_state(
    settings: Settings, publisher: Publisher, consumer: Service, openai: OpenAIServer, kb: str
) -> None:
    openai.refused_marker = "unembeddable"
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    _, bad = await job.page("http://site/0", ["good", "unembeddable text"])
    await job.end()
    await finished(settings, job)
    assert (await states(settings, job))[-1].not_indexed == (bad.chunk_id,)
