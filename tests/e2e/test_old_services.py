"""Services of today among writers of tomorrow: what they don't know is set aside or passed over, and told."""

from collections.abc import AsyncIterator

import pytest

from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.publisher import Publisher
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.codec import Headers
from schemas.dead_letters import PREFIX
from schemas.facts import DeadLettered, JobFinished
from tests.e2e.conftest import House
from tests.support.log import PlayedJob, read_all
from tests.support.offsets import caught_up
from tests.support.waiting import until

FUTURE = b'{"job_id": "j", "kb_id": "k", "what": "nobody knows yet"}'
NEW_TYPE = "headrace.summary.v1"


@pytest.fixture
async def publisher(house: House) -> AsyncIterator[Publisher]:
    publisher = Publisher(house.settings.bootstrap_servers, prefix=house.settings.topic_prefix, source="tomorrow")
    await publisher.start()
    yield publisher
    await publisher.stop()


async def write(publisher: Publisher, topic: str, ce_type: str, value: bytes, *, key: str, partition: int) -> None:
    headers: Headers = [("ce_type", ce_type.encode())]
    future = await publisher.publish_raw(topic, key=key.encode(), value=value, headers=headers, partition=partition)
    await future


async def records(settings: Settings, topic: str) -> list[RawRecord]:
    found: list[RawRecord] = []
    for partition in range(settings.partitions):
        where = {"bootstrap_servers": settings.bootstrap_servers, "topic": topic, "partition": partition}
        end = await end_offset(**where, prefix=settings.topic_prefix)
        found += [raw async for raw in stream_span(**where, first=0, end=end, prefix=settings.topic_prefix)]
    return found


async def test_an_old_consumer_dead_letters_a_type_that_is_new_and_goes_on(house: House, publisher: Publisher) -> None:
    await house.start("consumer")
    job = PlayedJob(house.settings, publisher, house.kb(), partition=1)
    await job.command("running")
    await job.begin()
    await write(publisher, "chunks", NEW_TYPE, FUTURE, key=job.job_id, partition=1)
    await job.page("http://site/1", ["one", "two"])
    await job.end()

    async def finished() -> list[JobFinished]:
        return await read_all(house.settings, JobFinished)

    (fact,) = await until(finished, what="job_finished")
    assert (fact.outcome, fact.chunks_visible) == ("completed", 2)
    await caught_up(house.settings)
    (letter,) = await records(house.settings, "dead-letters")
    assert (letter.value, dict(letter.headers)["ce_type"]) == (FUTURE, NEW_TYPE.encode())
    assert dict(letter.headers)[PREFIX + "exception.message"] == f"unknown event type {NEW_TYPE}".encode()
    assert {fact.stage for fact in await read_all(house.settings, DeadLettered)} == {"decode"}


async def test_old_services_pass_over_what_is_new_on_every_other_topic(
    house: House,
    publisher: Publisher,
) -> None:
    """Both what stood there before they started and what comes while they run."""
    await house.start()
    kb = house.kb()
    topics = ("commands", "kbs", "parked", "events", "pages")

    async def tomorrow() -> None:
        for topic in topics:
            for partition in range(house.settings.partitions):
                await write(publisher, topic, NEW_TYPE, FUTURE, key=f"{kb}/1/x", partition=partition)

    await tomorrow()
    for service in house.services.values():
        assert await service.terminate() == 0
    await house.start()
    await house.api.start(kb, house.definition())
    await tomorrow()
    await house.api.until_status(kb, "completed")
    assert all(service.alive for service in house.services.values())
    assert (await house.api.ok("POST", f"/kb/{kb}/search", {"query": "cache"}))["hits"]

    said = {name: service.said() for name, service in house.services.items()}
    for name, topic in [
        ("producer", "commands"), ("producer", "pages"), ("consumer", "commands"), ("consumer", "kbs"),
        ("consumer", "parked"), ("consumer", "pages"), ("control", "kbs"), ("control", "events"),
        ("control", "pages"),
    ]:  # fmt: skip
        assert passed_over(said[name], topic), f"{name} says nothing of {topic}"
    assert "refused: unknown event type headrace.summary.v1" in said["control"]


def passed_over(said: str, topic: str) -> list[str]:
    return [line for line in said.splitlines() if f"{topic} " in line and "passed over" in line and NEW_TYPE in line]
