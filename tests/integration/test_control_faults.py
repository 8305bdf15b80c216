"""Control under faults: a disk that is full, a broker that is away, a second instance."""

import asyncio
import resource
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka import Producer

from control import questions
from control.ailments import Ailments
from control.projection import Projection
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.ports import free_ports
from headrace.embedded.progress import SilentReporter
from headrace.kafka.admin import ensure_topics
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.commands import JobCommand
from tests.integration.control_play import DEFINITION, Played, control, kb_name
from tests.support.api import Api
from tests.support.log import read_all
from tests.support.services import Service
from tests.support.waiting import until

FOREVER = resource.RLIM_INFINITY
SECOND_ENDS_FIRST_S = 30.0


class Process:
    """A control of its own process, and its API."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        (port,) = free_ports(1)
        own = {"HEADRACE_HTTP_PORT": str(port), "HEADRACE_DATA_DIR": str(directory / "data")}
        self.service = Service("control", environment | own, directory)
        self.directory = directory
        self.api = Api(f"http://127.0.0.1:{port}")

    async def __aenter__(self) -> "Process":
        self.service.start()
        await self.api.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.service.close()
        await self.api.close()


async def test_a_full_disk_shows_in_the_status_and_work_goes_on_when_there_is_room(
    environment: dict[str, str], settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    """A file that may not grow is refused by the kernel like one on a full disk."""
    kb = kb_name()
    async with Process(environment, tmp_path / "control") as process:
        api, pid = process.api, process.service.pid
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await job.crawl("crawling", 1)
        await job.index("running", 1)
        await job.page("https://example.org/docs/0", "c0")
        await api.until_status(kb, "running")
        await api.until_metric(kb, "chunks_total", 1)

        log = process.directory / "data" / "projection.duckdb.wal"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 500, FOREVER))
        for n in range(1, 200):
            await job.page(f"https://example.org/docs/{n}", f"c{n}")
        stalled = await api.until_status(kb, "stalled")
        (stall,) = stalled["stalls"]
        assert (stall["service"], stall["dependency"]) == ("control", "projection")
        assert stall["reason"] == "its file can't be written: File too large"
        assert stall["reason"] in stalled["reason"]
        assert (await api.call("GET", "/readyz"))[0] == 200
        await job.crawl("crawling", 1, pages_crawled=7)
        assert (await api.status(kb))["stalls"] == [stall], "it began when it began"
        assert (await api.status(kb))["metrics"]["chunks_total"] < 200

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FOREVER, FOREVER))
        running = await api.until_status(kb, "running")
        assert running["stalls"] == [] and running["reason"] is None
        await api.until_metric(kb, "chunks_total", 200)
        assert process.service.alive and process.service.pid == pid
    assert "Traceback" not in process.service.said()


async def test_catching_up_does_not_wait_for_a_transaction_that_nobody_ends(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    """A control that died in the middle of a commit leaves one open for its timeout."""
    await asyncio.to_thread(ensure_topics, settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=3)
    job = Played(settings, publisher, {"job_id": "0", "kb_id": "docs", "generation": 1})
    await job.crawl("crawling", 1)
    dead = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": kb_name(),
            "transaction.timeout.ms": 60_000,
        }
    )
    await asyncio.to_thread(dead.init_transactions, 20)
    dead.begin_transaction()
    dead.produce(settings.topic("events"), b"{}", partition=job.partition)
    await asyncio.to_thread(dead.flush)
    projection = Projection(tmp_path / "p.duckdb", on_applied=lambda _: None, ailments=Ailments(lambda: None))
    await projection.open()
    await projection.start(settings.bootstrap_servers, prefix=settings.topic_prefix, log_identity="log")
    async with asyncio.timeout(20):
        await projection.catch_up()
    assert (await projection.read(lambda cursor: questions.told(cursor, "0"))).crawl is not None
    await asyncio.to_thread(dead.abort_transaction)
    async with asyncio.timeout(20):
        await projection.catch_up()  # its marker is passed too
    await projection.stop()


@pytest.fixture
def own_kafka(settings: Settings, tmp_path: Path) -> Any:
    (port,) = free_ports(1)
    kafka = EmbeddedKafka(tmp_path / "kafka", settings.cache_dir, SilentReporter(), port=port)
    kafka.start()
    yield kafka
    kafka.stop()


async def test_kafka_away_shows_in_the_status_and_it_goes_on_when_it_is_back(
    settings: Settings, own_kafka: EmbeddedKafka
) -> None:
    own = replace(settings, kafka_bootstrap_servers=own_kafka.bootstrap_servers)
    kb = kb_name()
    publisher = Publisher(own.bootstrap_servers, prefix=own.topic_prefix, source="test")
    async with control(own) as api:
        await publisher.start()
        job = Played(own, publisher, await api.start(kb, DEFINITION))
        await job.crawl("crawling", 1)
        await job.index("running", 1)
        await api.until(kb, "running")

        await asyncio.to_thread(own_kafka.kill)
        stalled = await api.until(kb, "stalled")
        (stall,) = stalled["stalls"]
        assert (stall["service"], stall["dependency"]) == ("control", "Kafka")
        assert "doesn't answer" in stall["reason"] and stalled["commanded_at"] < stall["since"]
        assert (await api.call("GET", "/readyz"))[0] == 200

        await asyncio.to_thread(own_kafka.start)
        back = await api.until(kb, "running")
        assert back["stalls"] == []
        await job.page("https://example.org/docs/a", "a0")

        async def counted() -> bool:
            return bool((await api.status(kb))["metrics"]["chunks_total"])

        await until(counted, what="what is told after the outage is counted")
        await publisher.stop()


async def test_a_second_control_ends_the_first_which_writes_nothing_more(
    environment: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    """Processes with data directories of their own: only the log keeps them apart."""
    kb = kb_name()
    async with Process(environment, tmp_path / "first") as first, aiohttp.ClientSession() as session:
        await first.api.start(kb, DEFINITION)
        assert first.service.process is not None
        ordering = asyncio.create_task(_order(session, first.api.url, kb))
        async with Process(environment, tmp_path / "second") as second:
            taken_over = await read_all(settings, JobCommand)
            code = await _exit_code(first, second, kb)
            assert code == 1 and "another control instance took over" in first.service.said()
            accepted = await ordering
            issued = [command for command in await read_all(settings, JobCommand) if command not in taken_over]
            assert [command.reason for command in issued] == ["second"]
            assert accepted == (await second.api.status(kb))["revision"] - 1


async def _order(session: aiohttp.ClientSession, url: str, kb: str) -> int:
    """Pauses and resumes as long as the first takes it; gives the last revision that it answered with."""
    revision, actions = 1, ("pause", "resume")
    while True:
        action = actions[(revision - 1) % 2]
        try:
            async with session.post(f"{url}/api/ingestion/kb/{kb}/{action}", json={"reason": "first"}) as response:
                if response.status >= 400:
                    return revision
                revision = (await response.json())["revision"]
        except aiohttp.ClientError:  # it has ended
            return revision


async def _exit_code(first: Process, second: Process, kb: str) -> int:
    """The first ends when it next writes, or is told by then."""
    desired = (await second.api.status(kb))["desired"]
    await second.api.ok("POST", f"/kb/{kb}/{'pause' if desired == 'running' else 'resume'}", {"reason": "second"})
    process = first.service.process
    assert process is not None
    try:
        return await asyncio.to_thread(process.wait, SECOND_ENDS_FIRST_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the first goes on: {first.service.said()[-2_000:]}") from None
