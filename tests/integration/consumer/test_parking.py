"""What is parked is taken up whole; what is gone though it was needed is told, and its job is crawled anew."""

import asyncio
import random
import signal
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

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
from tests.integration.consumer.play import everything, finished, ids, reported
from tests.support.log import PlayedJob, delete_records, read_all
from tests.support.offsets import caught_up
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


class Played:
    """Jobs on one partition, one consumer or two, and chance: what is written, paused, resumed and ended when."""

    def __init__(self, seed: int, jobs: list[PlayedJob], second: Service) -> None:
        self.chance, self.jobs, self.second = random.Random(seed), jobs, second
        self.desired = dict.fromkeys(jobs, "running")
        self.open = set(jobs)
        self.pages = 0

    async def step(self, settings: Settings) -> None:
        deed = self.chance.choice([self.page, self.page, self.turn, self.turn, self.turn, self.end, self.rebalance])
        job = self.chance.choice(self.jobs)
        await deed(job)
        if deed == self.turn and self.chance.random() < 0.6:
            state = "running" if self.desired[job] == "running" else "holding"
            await reported(settings, job, state, job.revision)

    async def page(self, job: PlayedJob) -> None:
        if job in self.open:
            self.pages += 1
            await job.page(f"http://site/{self.pages}", [f"{job.kb_id} {self.pages} {i}" for i in range(15)])

    async def turn(self, job: PlayedJob) -> None:
        self.desired[job] = "paused" if self.desired[job] == "running" else "running"
        await job.command(self.desired[job])

    async def end(self, job: PlayedJob) -> None:
        """Paused, or it may be over before it is paused again."""
        if job in self.open and self.desired[job] == "paused":
            self.open.discard(job)
            await job.end()

    async def rebalance(self, job: PlayedJob) -> None:
        if self.second.alive:
            assert await self.second.terminate() in (0, -signal.SIGTERM)  # it may not be up yet
        else:
            self.second.start()

    async def come_to_rest(self) -> None:
        for job in self.jobs:
            if self.desired[job] == "paused":
                await self.turn(job)
            if job in self.open:
                await job.end()


@pytest.mark.parametrize("seed", range(3))
async def test_pauses_at_any_moment_lose_nothing_and_pay_for_nothing_twice(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, environment: dict[str, str],
    tmp_path: Path, kb: str, seed: int,
) -> None:  # fmt: skip
    slow = environment | {"HEADRACE_EMBED_BATCH": "4", "HEADRACE_EMBED_WINDOW": "2"}
    first, second = Service("consumer", slow, tmp_path / "1").start(), Service("consumer", slow, tmp_path / "2")
    jobs = [PlayedJob(settings, publisher, f"{kb}-{number}", partition=1) for number in range(3)]
    try:
        for job in jobs:
            await job.command("running")
            await job.begin()
        played = Played(seed, jobs, second)
        for _ in range(30):
            await played.step(settings)
        await played.come_to_rest()
        for job in jobs:
            fact = await finished(settings, job)
            assert (fact.outcome, fact.chunks_visible) == ("completed", len(everything(job)))
            assert await ids(store, job) == everything(job)
        assert max(openai.texts.values()) == 1
    finally:
        first.close()
        second.close()


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
    assert await consumer.terminate() == 0
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
    assert await consumer.terminate() == 0
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
    assert await consumer.terminate() == 0
    await delete_group(settings)
    await job.page("http://site/2", ["read after"])
    await job.end()
    consumer.start()

    async def stalled() -> Stall | None:
        return next((s for s in await read_all(settings, Stall) if s.dependency == "offsets"), None)

    stall = await until(stalled, what="a stall over the offsets")
    assert stall.job_id == job.job_id and "--reset-offsets --to-earliest" in stall.reason
    assert await consumer.terminate() == 0
    assert "read after" not in " ".join(openai.texts)
    await do_as_told(settings, stall.reason)
    consumer.start()
    fact = await finished(settings, job)
    assert (fact.outcome, fact.chunks_visible) == ("completed", 3)
    assert await ids(store, job) == everything(job)
    assert max(openai.texts.values()) == 1, "what is read again is not paid for again"


async def test_offsets_beyond_the_logs_end_are_for_a_person_to_decide_on(
    settings: Settings, publisher: Publisher, consumer: Service, kb: str
) -> None:
    """Reading would begin anew by itself, and pass over all that stands before the offset."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await caught_up(settings)
    assert await consumer.terminate() == 0
    beyond = TopicPartition(settings.topic("chunks"), job.partition, 1_000)
    request = ConsumerGroupTopicPartitions(settings.consumer_group, [beyond])
    admin = admin_client(settings.bootstrap_servers)

    async def altered() -> bool:
        futures = admin.alter_consumer_group_offsets([request])
        return await asyncio.to_thread(futures[settings.consumer_group].exception) is None

    await until(altered, what="the group is empty, and its offset another")
    await job.page("http://site/1", ["unread"])
    await job.end()
    consumer.start()

    async def stalled() -> Stall | None:
        return next((s for s in await read_all(settings, Stall) if s.dependency == "offsets"), None)

    stall = await until(stalled, what="a stall over the offsets")
    assert "beyond the end" in stall.reason
    assert await consumer.terminate() == 0
    await do_as_told(settings, stall.reason)
    consumer.start()
    assert (await finished(settings, job)).outcome == "completed"


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
