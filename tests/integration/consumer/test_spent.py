"""What a job has spent, read off a real log."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from consumer.account import Sum
from consumer.spent import CLOCKS_MS, Spent
from headrace.kafka.admin import ensure_topics
from headrace.kafka.follower import offset_since
from headrace.kafka.publisher import BASE_CONFIG, Publisher
from headrace.settings import Settings
from schemas.commands import JobCommand
from schemas.facts import CallReserved, CallSettled
from schemas.identity import begun_ms, new_job_id
from tests.unit.consumer.made import NOW, PARTITION, command


def reserved(of: JobCommand, call_id: str, tokens: int) -> CallReserved:
    return CallReserved(**named(of, call_id), texts=1, max_tokens=tokens, max_pico_usd=tokens, group_generation=1,
                        reserved_at=NOW)  # fmt: skip


def settled(of: JobCommand, call_id: str, tokens: int) -> CallSettled:
    return CallSettled(**named(of, call_id), texts=1, requests=1, tokens=tokens, pico_usd=tokens, settled_at=NOW)


def named(of: JobCommand, call_id: str) -> dict[str, Any]:
    return {"job_id": of.job_id, "kb_id": of.kb_id, "generation": 1, "call_id": call_id, "provider": "openai",
            "model": "m", "worker": "w"}  # fmt: skip


@pytest.fixture
async def publisher(settings: Settings) -> AsyncIterator[Publisher]:
    ensure_topics(settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=settings.partitions)
    publisher = Publisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source="test")
    await publisher.start()
    yield publisher
    await publisher.stop()


async def test_its_calls_are_summed_and_nobody_elses(settings: Settings, publisher: Publisher) -> None:
    mine, other = command(job_id=new_job_id()), command(job_id=new_job_id())
    read = Spent(settings, publisher)
    assert (await read(mine)).spent() == Sum()
    for event in (reserved(mine, "a", 100), settled(other, "x", 9), settled(mine, "a", 70), reserved(mine, "b", 50)):
        await publisher.publish(event, partition=PARTITION)  # what is on its way is waited for
    assert (await read(mine)).spent() == Sum(120, 120)
    assert (await read(other)).spent() == Sum(9, 9)


async def test_a_job_that_does_not_tell_when_it_began_is_looked_for_from_the_logs_start(
    settings: Settings, publisher: Publisher
) -> None:
    by_hand = command(job_id="by-hand")
    of_no_price = msgspec.structs.replace(settled(by_hand, "a", 7), pico_usd=None)
    await publisher.publish(of_no_price, partition=PARTITION)
    assert begun_ms("by-hand") is None
    assert (await Spent(settings, publisher)(by_hand)).spent() == Sum(7, 7 * 20_000), "at the price of today"


async def test_what_stood_there_before_the_job_began_is_not_read(settings: Settings, publisher: Publisher) -> None:
    mine = command(job_id=new_job_id())
    begun = begun_ms(mine.job_id)
    assert begun is not None
    of_log: dict[str, Any] = {"bootstrap_servers": settings.bootstrap_servers, "topic": "events"}
    of_log |= {"partition": PARTITION, "prefix": settings.topic_prefix}
    old = Producer(BASE_CONFIG | {"bootstrap.servers": settings.bootstrap_servers})
    for hours in (5, 3):
        old.produce(settings.topic("events"), b"{}", b"k", PARTITION, timestamp=begun - hours * CLOCKS_MS)
    await asyncio.to_thread(old.flush)
    assert await offset_since(**of_log, since_ms=begun - CLOCKS_MS) is None
    assert (await Spent(settings, publisher)(mine)).spent() == Sum()
    await publisher.send(settled(mine, "a", 7), partition=PARTITION)
    assert await offset_since(**of_log, since_ms=begun - CLOCKS_MS) == 2
    assert (await Spent(settings, publisher)(mine)).spent().tokens == 7


async def test_an_open_transaction_in_front_is_waited_for(settings: Settings, publisher: Publisher) -> None:
    """Control's: readers of what is committed don't see past it, and an account that ended there would be short."""
    mine = command(job_id=new_job_id())
    config = {"bootstrap.servers": settings.bootstrap_servers, "message.timeout.ms": 30_000}
    control = Producer(BASE_CONFIG | config | {"transactional.id": settings.topic("control")})
    await asyncio.to_thread(control.init_transactions)
    control.begin_transaction()
    control.produce(settings.topic("events"), b"{}", b"k", PARTITION)
    await asyncio.to_thread(control.flush)
    await publisher.send(settled(mine, "a", 7), partition=PARTITION)
    reading = asyncio.create_task(Spent(settings, publisher)(mine))
    done, _ = await asyncio.wait({reading}, timeout=1.0)
    assert not done
    await asyncio.to_thread(control.commit_transaction)
    assert (await asyncio.wait_for(reading, 20)).spent().tokens == 7
