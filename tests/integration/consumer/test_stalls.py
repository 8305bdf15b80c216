"""A dependency that is unwell: the status says what is wrong and since when, nothing is dead-lettered, and the work
goes on by itself once the cause is gone. That control tells of a Kafka that is away is in test_control_faults."""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.ports import free_ports
from headrace.embedded.progress import SilentReporter
from headrace.kafka.admin import ensure_topics
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas.codec import now
from schemas.facts import DeadLettered, Outcomes, Stall
from schemas.kb import collection_name
from tests.conftest import Servers
from tests.fakes import openai_errors as errors
from tests.fakes.openai_errors import Failure
from tests.fakes.openai_server import OpenAIServer
from tests.faults.wires import Wire
from tests.integration.consumer.play import everything, finished, ids
from tests.support.log import PlayedJob, definition, read_all
from tests.support.services import Service
from tests.support.waiting import until

PARTITION = 1
"""All jobs of a test stand behind each other: who holds one up holds up all."""

OPENAI: dict[str, tuple[Failure, str]] = {
    "key": (errors.invalid_key(), "the key is refused (401): set a valid OPENAI_API_KEY"),
    "quota": (errors.insufficient_quota(), "the quota is exhausted: add credit"),
    "limit": (errors.rate_limited(2.0), "rate limited (429)"),
    "limit-silent": (errors.rate_limited(None), "rate limited (429)"),
    "hang": (errors.hang(), "no answer"),
    "500": (errors.server_error(500), "answers 500"),
    "503": (errors.server_error(503), "answers 503"),
    "no-json": (errors.malformed(), "malformed answer: no JSON"),
    "too-few": (errors.missing_vectors(), "malformed answer: 1 vectors for 2 texts"),
    "nan": (errors.not_numbers(), "malformed answer: vectors of no finite numbers"),
    "dimensions": (errors.wrong_dimensions(), "vectors of 9 dimensions, not the 8 of the definition"),
}
"""What goes wrong, and what the stall's reason must say."""


async def stalls(settings: Settings, job: PlayedJob) -> list[Stall]:
    return [each for each in await read_all(settings, Stall) if each.job_id == job.job_id]


async def play(settings: Settings, publisher: Publisher, job: PlayedJob) -> PlayedJob:
    """A whole job with two texts of its own."""
    await job.command("running")
    await job.begin()
    await job.page("http://site/1", [f"{job.kb_id} one", f"{job.kb_id} two"])
    await job.end()
    return job


async def check_stalled(settings: Settings, job: PlayedJob, dependency: str, says: str, since: str) -> None:
    """The job is told to wait, for what, and since when."""

    async def told() -> bool:
        return any(re.search(says, stall.reason) for stall in await stalls(settings, job))

    await until(told, what=f"{job.kb_id}: a stall that says {says!r}")
    found = await stalls(settings, job)
    assert {(stall.dependency, stall.ended) for stall in found} == {(dependency, False)}
    assert len({stall.since for stall in found}) == 1 and since < found[0].since < now()


async def check_well(settings: Settings, store: VectorStore, job: PlayedJob) -> None:
    """The job went on: the stall is over, and each chunk was indexed once."""
    fact = await finished(settings, job, within_s=60)
    assert (fact.outcome, fact.chunks_visible) == ("completed", len(everything(job)))
    assert await ids(store, job) == everything(job)
    found = await stalls(settings, job)
    assert found[-1].ended and found[-1].since == found[0].since
    assert await indexed(settings, job) == dict.fromkeys(everything(job), 1)


async def indexed(settings: Settings, job: PlayedJob) -> Counter[str | None]:
    return Counter(
        entry.chunk_id
        for event in await read_all(settings, Outcomes)
        for entry in event.entries
        if event.job_id == job.job_id and entry.result == "indexed"
    )


async def test_whatever_openai_answers_its_jobs_wait_and_no_other(
    settings: Settings, publisher: Publisher, late_consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str
) -> None:
    """The job that needs no OpenAI comes last, and is over while all the others wait. They are read at once, so that
    they are out of patience at once."""
    jobs = {}
    for name, (failure, _) in OPENAI.items():
        openai.fail_model(f"model-{name}", failure)
        of = definition(f"model-{name}")
        jobs[name] = PlayedJob(settings, publisher, f"{kb}-{name}", partition=PARTITION, of=of)
    local = PlayedJob(settings, publisher, f"{kb}-local", partition=PARTITION, of=definition(local=True))
    began = now()
    for job in (*jobs.values(), local):
        await play(settings, publisher, job)
    late_consumer.start()
    assert (await finished(settings, local, within_s=60)).outcome == "completed"
    for name, (_, says) in OPENAI.items():
        await check_stalled(settings, jobs[name], "OpenAI", re.escape(says), began)
    assert not await read_all(settings, DeadLettered)

    openai.heal()
    for job in jobs.values():
        await check_well(settings, store, job)
    assert not await read_all(settings, DeadLettered)


WEAVIATE: dict[str, str] = {
    "cut": "can't be reached or refuses",
    "mute": "no answer|can't be reached",  # its server gives up on an idle connection about as soon
    "slow": "no answer|can't be reached",
    "read-only": "is read-only: make room",
}
"""What befalls Weaviate: what the stall's reason must match."""
DELAY_S = 5.0
"""Each way: beyond what is told as slow, within what the client waits for."""


class Weaviate:
    """The consumer's two ways to Weaviate, and what may befall them or a tenant."""

    def __init__(self, stack: Servers) -> None:
        self._url = stack.weaviate_url
        grpc = int(stack.environment()["HEADRACE_WEAVIATE_GRPC_PORT"])
        self.http, self.grpc = Wire(urlsplit(self._url).port or 80), Wire(grpc)

    def environment(self) -> dict[str, str]:
        return {
            "WEAVIATE_URL": f"http://127.0.0.1:{self.http.port}",
            "HEADRACE_WEAVIATE_GRPC_PORT": str(self.grpc.port),
        }

    async def suffer(self, trouble: str, place: Tenancy) -> None:
        match trouble:
            case "read-only":
                await self._shard(place, "READONLY")
            case "cut" | "mute" | "slow":
                self.http.be(trouble, DELAY_S)
                self.grpc.be(trouble, DELAY_S)

    async def recover(self, place: Tenancy) -> None:
        self.http.be("whole")
        self.grpc.be("whole")
        await self._shard(place, "READY")

    async def _shard(self, place: Tenancy, status: str) -> None:
        async with httpx.AsyncClient() as client:
            url = f"{self._url}/v1/schema/{place.collection}/shards/{place.tenant}"
            (await client.put(url, json={"status": status})).raise_for_status()


@pytest.fixture
async def weaviate(stack: Servers) -> AsyncIterator[Weaviate]:
    weaviate = Weaviate(stack)
    for wire in (weaviate.http, weaviate.grpc):
        await wire.start()
    yield weaviate
    for wire in (weaviate.http, weaviate.grpc):
        await wire.stop()


@pytest.fixture
def late_consumer(environment: dict[str, str], topics: None, tmp_path: Path) -> Iterator[Service]:
    """Not started yet."""
    service = Service("consumer", environment, tmp_path)
    yield service
    service.close()


@pytest.fixture
def wired_consumer(environment: dict[str, str], weaviate: Weaviate, topics: None, tmp_path: Path) -> Iterator[Service]:
    service = Service("consumer", environment | weaviate.environment(), tmp_path).start()
    yield service
    service.close()


async def test_whatever_befalls_weaviate_the_job_waits_and_goes_on(
    settings: Settings, publisher: Publisher, wired_consumer: Service, store: VectorStore, weaviate: Weaviate,
    openai: OpenAIServer, kb: str,
) -> None:  # fmt: skip
    for trouble, says in WEAVIATE.items():
        job = PlayedJob(settings, publisher, f"{kb}-{trouble}", partition=PARTITION)
        place = Tenancy(collection_name(job.definition.embedding), job.kb_id)
        await store.ensure(place)
        began = now()
        await weaviate.suffer(trouble, place)
        await play(settings, publisher, job)
        await check_stalled(settings, job, "Weaviate", says, began)
        await weaviate.recover(place)
        await check_well(settings, store, job)
    assert not await read_all(settings, DeadLettered)
    assert max(openai.texts.values()) == 1, "an outage of Weaviate costs nothing"


OUTAGE_S = float(os.environ.get("HEADRACE_TEST_OUTAGE_S", "5"))


@pytest.fixture
def own_kafka(settings: Settings, tmp_path: Path) -> Iterator[EmbeddedKafka]:
    (port,) = free_ports(1)
    kafka = EmbeddedKafka(tmp_path / "kafka", settings.cache_dir, SilentReporter(), port=port)
    kafka.start()
    yield kafka
    kafka.stop()


async def test_a_broker_that_is_away_for_a_while_costs_nothing(
    environment: dict[str, str], settings: Settings, own_kafka: EmbeddedKafka, store: VectorStore,
    openai: OpenAIServer, kb: str, tmp_path: Path,
) -> None:  # fmt: skip
    """It is stopped in the middle of a job; consumer and publisher go on when it is back."""
    own = replace(settings, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    ensure_topics(own.bootstrap_servers, prefix=own.topic_prefix, partitions=own.partitions)
    publisher = Publisher(own.bootstrap_servers, prefix=own.topic_prefix, source="test")
    await publisher.start()
    service = Service("consumer", environment | {"KAFKA_BOOTSTRAP_SERVERS": own.bootstrap_servers}, tmp_path).start()
    try:
        job = PlayedJob(own, publisher, kb, partition=PARTITION)
        await job.command("running")
        await job.begin()
        await job.page("http://site/1", [f"text {i}" for i in range(1_000)])

        async def some() -> bool:
            return bool(await ids(store, job))

        await until(some, what="the first objects")
        await asyncio.to_thread(own_kafka.stop)
        await asyncio.sleep(OUTAGE_S)
        assert service.alive
        await asyncio.to_thread(own_kafka.start)
        back_s = time.monotonic()
        await job.page("http://site/2", ["after the outage"])
        await job.end()
        fact = await finished(own, job, within_s=60)
        print(f"finished {time.monotonic() - back_s:.1f} s after the broker was back from {OUTAGE_S:.0f} s")
        assert (fact.outcome, fact.chunks_visible) == ("completed", 1_001)
        assert await ids(store, job) == everything(job)
        assert not await read_all(own, DeadLettered)
        assert max(openai.texts.values()) == 1, "an outage of Kafka costs nothing"
    finally:
        service.close()
        await publisher.stop()
