"""Records that are gone though they were needed are a loss that is told, and their job is crawled anew."""
# ruff: noqa: F401, F811 - fixtures are shared by importing them

import asyncio

from headrace.embedded.kafka_tools import KafkaInstallation
from headrace.embedded.progress import SilentReporter
from headrace.kafka.admin import admin_client
from headrace.kafka.follower import end_offset
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import VectorStore
from schemas.facts import RecordsLost, Stall
from schemas.kb import GenerationState
from tests.fakes.openai_server import OpenAIServer
from tests.integration.test_consumer import (
    caught_up,
    consumer,
    environment,
    everything,
    finished,
    ids,
    kb,
    openai,
    publisher,
    reported,
    store,
    topics,
)
from tests.support.log import PlayedJob, delete_records, read_all
from tests.support.services import Service
from tests.support.waiting import until


async def asked_to_crawl_anew(settings: Settings, job: PlayedJob) -> int:
    async def asked() -> int | None:
        states = [s for s in await read_all(settings, GenerationState) if s.job_id == job.job_id]
        return next((state.recrawl for state in states if state.recrawl >= 0), None)

    return await until(asked, what="a crawl anew is asked for")


async def crawl_anew(job: PlayedJob, pages: dict[str, list[str]]) -> None:
    await job.begin()
    for url, texts in pages.items():
        await job.page(url, texts)
    await job.end()


async def chunks_end(settings: Settings, job: PlayedJob) -> int:
    return await end_offset(settings.bootstrap_servers, "chunks", job.partition, prefix=settings.topic_prefix)


async def losses(settings: Settings) -> set[tuple[str, str, int, int]]:
    facts = await read_all(settings, RecordsLost)
    return {(fact.job_id, fact.needed, fact.first, fact.end) for fact in facts}


async def test_parked_records_that_are_gone_are_told_and_crawled_anew(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/1", ["read before"])
    await caught_up(settings)
    paused = await job.command("paused")
    await reported(settings, job, "holding", paused)
    await job.page("http://site/2", ["parked and gone"])
    gone_before = await chunks_end(settings, job)
    await job.page("http://site/3", ["parked and there"])
    await job.end()
    await caught_up(settings)
    await delete_records(settings, job.partition, gone_before)
    await job.command("running")
    assert await asked_to_crawl_anew(settings, job) == gone_before - 1
    assert await losses(settings) == {(job.job_id, "parked", 3, gone_before)}
    await crawl_anew(job, {"http://site/2": ["parked and gone"]})
    fact = await finished(settings, job)
    assert (fact.outcome, fact.chunks_visible) == ("completed", 3)
    assert await ids(store, job) == everything(job)
    assert max(openai.texts.values()) == 1


async def test_unread_records_that_are_gone_are_told_and_crawled_anew(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb, partition=1)
    over = PlayedJob(settings, publisher, kb + "-over", partition=1)
    for each in (over, job):
        await each.command("running")
        await each.begin()
        await each.page("http://site/1", ["read"])
    await over.end()
    await finished(settings, over)
    await caught_up(settings)
    assert consumer.terminate() == 0
    await job.page("http://site/2", ["never read"])
    await job.end()
    await delete_records(settings, 1, -1)
    consumer.start()
    recrawl = await asked_to_crawl_anew(settings, job)
    ((job_id, needed, _, end),) = await losses(settings)
    assert (job_id, needed, end) == (job.job_id, "unread", recrawl + 1)
    await crawl_anew(job, {"http://site/2": ["never read"]})
    assert (await finished(settings, job)).outcome == "completed"
    assert await ids(store, job) == everything(job)
    assert consumer.terminate() == 0
    consumer.start()
    await caught_up(settings)
    assert len(await losses(settings)) == 1, "told once, for the log's start is committed"


async def test_a_group_whose_offsets_are_gone_reads_nothing_until_a_person_decides(
    settings: Settings, publisher: Publisher, consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/1", ["read", "before"])
    await caught_up(settings)
    assert consumer.terminate() == 0
    await delete_group(settings)
    await job.page("http://site/2", ["read after"])
    await job.end()
    consumer.start()

    async def stalled() -> Stall | None:
        return next((s for s in await read_all(settings, Stall) if s.dependency == "offsets"), None)

    stall = await until(stalled, what="a stall over the offsets")
    assert stall.job_id == job.job_id and "--reset-offsets --to-earliest" in stall.reason
    assert consumer.terminate() == 0
    assert "read after" not in " ".join(openai.texts)
    await do_as_told(settings, stall.reason)
    consumer.start()
    fact = await finished(settings, job)
    assert (fact.outcome, fact.chunks_visible) == ("completed", 3)
    assert await ids(store, job) == everything(job)
    assert max(openai.texts.values()) == 1, "what is read again is not paid for again"


async def delete_group(settings: Settings) -> None:
    admin, group = admin_client(settings.bootstrap_servers), settings.consumer_group

    async def deleted() -> bool:
        return await asyncio.to_thread(admin.delete_consumer_groups([group])[group].exception) is None

    await until(deleted, what="the group is empty, and gone")


async def do_as_told(settings: Settings, reason: str) -> None:
    """Runs the command that a stall's reason names."""
    kafka = KafkaInstallation.prepare(settings.cache_dir, SilentReporter())
    arguments = reason.partition("run kafka-consumer-groups ")[2].partition(" (")[0].split()
    result = await asyncio.to_thread(
        kafka.run_tool, "consumer-groups", arguments, bootstrap_servers=settings.bootstrap_servers
    )
    assert result.returncode == 0 and "rror" not in result.stdout, result
