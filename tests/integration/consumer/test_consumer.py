"""The consumer against real servers; producer and control are played by the test."""

import pytest

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas.facts import DeadLettered, Outcomes, Stall
from schemas.kb import GenerationState, collection_name
from tests.fakes.openai_errors import Failure, insufficient_quota, invalid_key, rate_limited, server_error
from tests.fakes.openai_server import OpenAIServer
from tests.integration.consumer.play import everything, finished, ids, reported
from tests.support.log import PlayedJob, definition, read_all
from tests.support.offsets import caught_up
from tests.support.services import Service
from tests.support.waiting import until


async def test_a_job_is_indexed_proven_and_published(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    for page in range(20):
        await job.page(f"http://site/{page}", [f"text {page} {i}" for i in range(10)])
    await job.page("http://site/copy", ["text 3 3", "text 3 4"])
    await job.end()

    fact = await finished(settings, job)
    assert (fact.outcome, fact.pages, fact.chunks_visible) == ("completed", 21, 202)
    assert await ids(store, job) == everything(job)
    assert max(openai.texts.values()) == 1 and len(openai.texts) == 200
    await caught_up(settings)
    entries = [entry for event in await read_all(settings, Outcomes) for entry in event.entries]
    assert sorted(entry.offset for entry in entries) == list(range(202 + 21 + 2))
    states = [s.state for s in await read_all(settings, GenerationState)]
    assert states == ["open", "published"]


async def test_pause_parks_and_resume_takes_up(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb, partition=1)
    other = PlayedJob(settings, publisher, kb + "-b", partition=1)
    for each in (job, other):
        await each.command("running")
        await each.begin()
    await job.page("http://site/1", ["one", "two"])
    paused = await job.command("paused")
    await reported(settings, job, "holding", paused)
    before = openai.texts.copy()
    await job.page("http://site/2", [f"later {i}" for i in range(50)])
    await other.page("http://site/x", ["another"])
    await other.end()
    await job.end()
    assert (await finished(settings, other)).outcome == "completed"
    assert not [text for text in openai.texts - before if "later" in text]
    assert await consumer.terminate() == 0
    consumer.start()
    await reported(settings, job, "holding", paused)
    await job.command("running")
    fact = await finished(settings, job)
    assert (fact.outcome, fact.chunks_visible) == ("completed", 52)
    assert await ids(store, job) == everything(job)
    assert max(openai.texts.values()) == 1


async def test_cancel_leaves_nothing(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    chunks = await job.page("http://site/1", [f"text {i}" for i in range(300)])

    async def some() -> bool:
        return bool(await ids(store, job))

    await until(some)
    cancelled = await job.command("cancelled")
    await job.page("http://site/2", ["late"])
    report = await reported(settings, job, "undone", cancelled)
    assert 0 < report.objects_deleted <= len(chunks)
    await caught_up(settings)
    assert await ids(store, job) == set()


async def test_killed_and_started_again_nothing_is_lost_or_paid_twice(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    for page in range(40):
        await job.page(f"http://site/{page}", [f"text {page} {i}" for i in range(100)])
        if page in (15, 30):
            consumer.kill()
            consumer.start()
    await job.end()
    fact = await finished(settings, job, within_s=60)
    assert (fact.outcome, fact.chunks_visible) == ("completed", 4000)
    assert await ids(store, job) == everything(job)
    window = settings.embed_window * settings.embed_batch
    assert sum(openai.texts.values()) <= 4000 + 2 * window


async def test_garbage_is_dead_lettered_and_stops_nothing(
    settings: Settings, publisher: Publisher, consumer: Service, openai: OpenAIServer, kb: str
) -> None:
    openai.refused_marker = "unembeddable"
    job = PlayedJob(settings, publisher, kb, partition=0)
    await job.command("running")
    await job.begin()
    for value in (b"\xff\xfe not json", b"{}", None):
        await (await publisher.publish_raw("chunks", key=b"junk", value=value, headers=[], partition=0))
    stranger = PlayedJob(settings, publisher, kb, partition=0)
    await stranger.page("http://site/x", ["nobody's"], recorded=False)
    await job.page("http://site/1", ["good", "unembeddable text", "also good"])
    await job.end()
    fact = await finished(settings, job)
    assert (fact.outcome, fact.chunks_visible, fact.chunks_missing) == ("completed_with_errors", 2, 1)
    letters = await read_all(settings, DeadLettered)
    assert len(letters) == 3 + 2 + 1
    assert all(letter.reason for letter in letters)


@pytest.mark.parametrize("failure", [invalid_key(), insufficient_quota(), rate_limited(), server_error()])
async def test_an_outage_of_the_api_stalls_and_heals(
    settings: Settings, publisher: Publisher, consumer: Service, openai: OpenAIServer, kb: str, failure: Failure
) -> None:
    openai.fail(failure)
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/1", ["one", "two"])
    await job.end()

    async def stalled() -> list[Stall]:
        return [s for s in await read_all(settings, Stall) if s.job_id == job.job_id]

    stall = (await until(stalled))[0]
    assert stall.dependency == "OpenAI" and "sk-test" not in stall.reason
    openai.heal()
    fact = await finished(settings, job)
    assert (fact.outcome, fact.chunks_visible) == ("completed", 2)
    assert (await until(stalled))[-1].ended
    assert not await read_all(settings, DeadLettered)


async def test_a_refused_key_holds_up_no_other_job(
    settings: Settings, publisher: Publisher, consumer: Service, openai: OpenAIServer, kb: str
) -> None:
    openai.fail(invalid_key())
    stuck = PlayedJob(settings, publisher, kb, partition=2)
    local = PlayedJob(settings, publisher, kb + "-local", partition=2, of=definition(local=True))
    for job in (stuck, local):
        await job.command("running")
        await job.begin()
        await job.page("http://site/1", ["one", "two"])
        await job.end()
    assert (await finished(settings, local)).outcome == "completed"
    openai.heal()
    assert (await finished(settings, stuck)).outcome == "completed"


async def test_failed_crawl_fails_the_job(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.end(failure="no page could be fetched: http://site/: connection refused")
    fact = await finished(settings, job)
    assert fact.outcome == "failed" and fact.reason and "refused" in fact.reason
    assert [s.state for s in await read_all(settings, GenerationState)][-1] == "undone"


async def test_a_refresh_replaces_at_once(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    first = PlayedJob(settings, publisher, kb)
    await first.command("running")
    await first.begin()
    await first.page("http://site/1", ["one", "two"])
    await first.end()
    await finished(settings, first)
    second = PlayedJob(settings, publisher, kb, generation=2, base=1)
    await second.command("running")
    await second.begin()
    await second.page("http://site/1", ["two", "three"])
    await second.end()
    fact = await finished(settings, second)
    assert (fact.chunks_visible, fact.chunks_retired) == (2, 2)
    place = Tenancy(collection_name(second.definition.embedding), kb)
    retired = {chunk_id: gone async for chunk_id, _, gone in store.ids(place)}
    assert {chunk_id for chunk_id, gone in retired.items() if gone == 2} == everything(first)
    assert max(openai.texts.values()) == 1, "an unchanged text is not paid for again"
