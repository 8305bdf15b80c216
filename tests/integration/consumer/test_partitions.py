"""Jobs on several partitions of one consumer, or on one."""

import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from consumer.window import MOST_WAITING
from headrace.embedded.ports import free_ports
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import VectorStore
from schemas.facts import JobFinished, Stall
from tests.fakes.openai_limits import Allowance
from tests.fakes.openai_server import OpenAIServer
from tests.integration.consumer.play import everything, finished, ids
from tests.support.log import PlayedJob, read_all
from tests.support.services import Service
from tests.support.waiting import until

HEALTH_PORT = "HEADRACE_CONSUMER_HEALTH_PORT"

MORE_THAN_WAIT = 24_000
"""Chunks: so many more than `MOST_WAITING` that the partition is not read on for a while, however slowly it is read
beside what is embedded meanwhile."""


@pytest.fixture
def late_consumer(environment: dict[str, str], topics: None, tmp_path: Path) -> Iterator[Service]:
    """Not started: what it is to do stands in the log before."""
    (port,) = free_ports(1)
    service = Service("consumer", environment | {HEALTH_PORT: str(port)}, tmp_path)
    yield service
    service.close()


async def _waiting(consumer: Service, count: int) -> bool:
    url = f"http://127.0.0.1:{consumer.environment[HEALTH_PORT]}/metrics"
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            metrics = await response.text()
    except aiohttp.ClientError:
        return False
    found = re.search(r"^headrace_consumer_records_waiting (\S+)", metrics, re.M)
    return found is not None and float(found[1]) >= count


@pytest.mark.parametrize("partition", [1, 0], ids=["on another partition", "on the same partition"])
async def test_a_small_job_is_over_long_before_a_large_one(
    settings: Settings, publisher: Publisher, late_consumer: Service, store: VectorStore, openai: OpenAIServer, kb: str,
    partition: int,
) -> None:  # fmt: skip
    openai.allowance = Allowance(tokens=6_000)
    large = PlayedJob(settings, publisher, kb, partition=0)
    small = PlayedJob(settings, publisher, f"{kb}-small", partition=partition)
    await large.command("running")
    await large.begin()
    count = MORE_THAN_WAIT if partition else 5_000
    for page in range(count // 500):
        await large.page(f"http://site/{page}", [f"{page} {i}" for i in range(500)])
    await large.end()
    late_consumer.start()
    waiting = MOST_WAITING if partition else 1_000
    await until(lambda: _waiting(late_consumer, waiting), within_s=120, what="many records wait")
    await small.command("running")
    await small.begin()
    await small.page("http://site/small", [f"small {i}" for i in range(100)])
    await small.end()

    assert (await finished(settings, small)).chunks_visible == 100
    assert [fact.job_id for fact in await read_all(settings, JobFinished)] == [small.job_id]
    assert len(openai.texts) < count / 2
    openai.allowance = Allowance(tokens=10**9)
    fact = await finished(settings, large, within_s=180)
    assert (fact.outcome, fact.chunks_visible) == ("completed", count)
    assert await ids(store, large) == everything(large)
    assert max(openai.texts.values()) == 1 and len(openai.texts) == count + 100
    assert sum(call.status == 429 for call in openai.log) <= 1 + openai.calls / 100
    assert not await read_all(settings, Stall)
