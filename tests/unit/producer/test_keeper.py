"""When a job is nothing to a producer any more; a client that can't go on; a job that asks for newer code."""

import asyncio
from typing import Any, cast

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import KafkaError, KafkaException

from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from producer.crawl import Crawl
from producer.keeper import MAX_FAULTS, Keeper, _fatal
from producer.metrics import Metrics
from producer.report import Reports
from producer.spill import SpillError
from producer.tools import Tools
from schemas.chunks import CrawlBegin
from schemas.codec import encode, headers_for
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.facts import CrawlReport, Stall
from schemas.pages import EXTRACTOR
from tests.unit.consumer.made import command, generation, record


class Log:
    """Takes what is published; a `crawl_begin` ends the test's crawl as a fault of its own."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.came = asyncio.Event()
        self.fails_with: Exception | None = None

    async def send(self, event: Event, *, partition: int) -> Place:
        self.told.append(event)
        self.came.set()
        if isinstance(event, CrawlBegin) and self.fails_with:
            raise self.fails_with
        return Place(partition, len(self.told) - 1)

    async def until(self, kind: type[Event]) -> Event:
        async with asyncio.timeout(30):
            while not (found := [event for event in self.told if isinstance(event, kind)]):
                self.came.clear()
                await self.came.wait()
        return found[-1]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture(autouse=True)
def no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    async def looked(self: Crawl) -> None: ...

    monkeypatch.setattr(Crawl, "look", looked)


def keeper_of(job: JobCommand, commands: Commands, log: Log) -> Keeper:
    commands.apply(record(job))
    tools = Tools(Settings(), cast(Any, log), cast(Any, None), Reports(cast(Any, log), "producer/me"), Metrics(), 6)
    return Keeper(job, commands, KnowledgeBases(), tools, catch_up=cast(Any, None))


async def test_a_job_that_asks_for_a_newer_extraction_is_left_alone_and_says_so(commands: Commands, log: Log) -> None:
    newer = command(extractor=EXTRACTOR + 1)
    keeper = keeper_of(newer, commands, log)
    running = asyncio.create_task(keeper.run())
    stall = await log.until(Stall)
    assert isinstance(stall, Stall)
    assert (stall.service, stall.dependency, stall.ended) == ("producer", "version", False)
    assert f"version {EXTRACTOR}" in stall.reason and f"for {EXTRACTOR + 1}" in stall.reason
    assert [type(event) for event in log.told] == [CrawlReport, Stall], "the command is answered, and nothing begun"

    log.told.clear()
    commands.apply(record(msgspec.structs.replace(newer, desired="paused", revision=2)))
    keeper.wake()
    report = await log.until(CrawlReport)
    assert isinstance(report, CrawlReport)
    assert (report.state, report.revision) == ("holding", 2)
    keeper.stop(0)
    await running


async def test_a_job_of_an_older_extraction_goes_on(commands: Commands, log: Log) -> None:
    log.fails_with = KafkaException(KafkaError(KafkaError._FATAL, "fenced"))
    with pytest.raises(KafkaException):
        await keeper_of(command(extractor=EXTRACTOR - 1), commands, log).run()
    assert [type(event) for event in log.told] == [CrawlBegin]


async def test_a_client_that_can_not_go_on_ends_the_keeper(commands: Commands, log: Log) -> None:
    """As poll() raises it: its own fatal() says no."""
    log.fails_with = KafkaException(KafkaError(KafkaError._FATAL, "out of order sequence number"))
    async with asyncio.timeout(30):
        with pytest.raises(KafkaException, match="out of order"):
            await keeper_of(command(), commands, log).run()


async def test_a_full_disk_is_waited_out(commands: Commands, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.keeper.FULL_DISK_S", 0.01)
    log.fails_with = SpillError("/data/spill can't be written or read: No space left on device")
    keeper = keeper_of(command(), commands, log)
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(30):
        while len([event for event in log.told if isinstance(event, Stall)]) <= MAX_FAULTS:
            log.came.clear()
            await log.came.wait()
    stall = await log.until(Stall)
    assert isinstance(stall, Stall)
    assert (stall.service, stall.dependency, stall.reason) == ("producer", "disk", str(log.fails_with))
    log.fails_with = KafkaException(KafkaError(KafkaError._FATAL, "the next epoch began"))
    with pytest.raises(KafkaException):
        await running


async def test_a_paused_job_is_answered_also_where_the_disk_is_full(
    commands: Commands, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: Crawl) -> None:
        raise SpillError("No space left on device")

    monkeypatch.setattr(Crawl, "look", full)
    keeper = keeper_of(command(desired="paused"), commands, log)
    running = asyncio.create_task(keeper.run())
    report = await log.until(CrawlReport)
    assert isinstance(report, CrawlReport) and report.state == "holding"
    keeper.stop(0)
    await running


def test_which_errors_are_fatal() -> None:
    assert _fatal(KafkaException(KafkaError(KafkaError._FATAL)))
    assert _fatal(KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, "x", True)))
    assert not _fatal(KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)))
    assert not _fatal(KafkaConnectionError())


@pytest.mark.parametrize(
    ("state", "job_id", "over"),
    [(None, "job", False), ("open", "job", False), ("published", "job", True), ("undone", "job", True),
     ("open", "by-hand", True)],
)  # fmt: skip
def test_over(state: Any, job_id: str, over: bool) -> None:
    """Also where the generation is another job's: a page's record is keyed by it, and would replace that job's."""
    kbs, asked = KnowledgeBases(), command(job_id=job_id)
    if state is not None:
        event = generation(state)
        headers = tuple(headers_for(event, "test"))
        kbs.apply(RawRecord(topic="kbs", partition=0, offset=0, key=b"k", value=encode(event), headers=headers))

    async def caught_up() -> None:
        pass

    unused: Any = None
    assert Keeper(asked, Commands(), kbs, unused, caught_up).over(asked) is over
