"""All three services, the command line and Kafka's tools against brokers that are encrypted and signed in to, and a
Weaviate with a key."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from headrace.kafka.admin import GroupOffsets, absence, ensure_topics, reached
from headrace.kafka.follower import end_offset, read_span
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.tokens import create
from schemas.parked import RequeuedThrough
from tests.e2e.conftest import House
from tests.e2e.secured import Secured, secured
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(
    os.environ.get("HEADRACE_TEST_STACK") == "containers", reason="guards the embedded servers, not the containers"
)
WAYS = ("plain", "scram", "certificate")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("secured")) as servers:
        yield servers


def environment_of(guarded: Secured, way: str, directory: Path) -> dict[str, str]:
    return guarded.environment(way) | {
        "HEADRACE_TOPIC_PREFIX": f"{way}.",
        "HEADRACE_PARTITIONS": "2",
        "HEADRACE_DATA_DIR": str(directory / "data"),
    }


async def test_a_site_becomes_searchable_by_tokens_alone(guarded: Secured, tmp_path: Path) -> None:
    site, openai = FakeSite(pages=8, min_kb=2, max_kb=4), OpenAIServer(latency_s=0.0, dimensions=8)
    await asyncio.gather(site.start(), openai.start())
    house = House(environment_of(guarded, "plain", tmp_path), tmp_path / "services", site, openai)
    _, me = create(house.settings.tokens, "me", "admin")
    house.api.token = me
    try:
        await house.start()
        await house.api.start("docs", house.definition())
        status = await house.api.until_status("docs", "completed")
        assert status["commanded_by"] == "token:me"
        assert (await house.api.ok("POST", "/kb/docs/search", {"query": "cache"}))["hits"]
        listed = await command(house, "kb", "list", HEADRACE_TOKEN=me)
        assert listed.returncode == 0 and "docs" in listed.stdout
        assert "HEADRACE_TOKEN" in (await command(house, "kb", "list")).stderr
        topics = await command(house, "kafka", "topics", "--list")
        assert "plain.chunks" in topics.stdout.split(), topics.stderr
        assert "as defined" in (await command(house, "doctor")).stdout
        said = house.said() + topics.stdout + topics.stderr
        assert not any(secret in said for secret in (guarded.password, guarded.weaviate.key, me.split("_", 2)[2]))
    except BaseException:
        print(house.said())
        raise
    finally:
        await house.close()
        await asyncio.gather(site.stop(), openai.stop())


@pytest.mark.parametrize("way", WAYS)
async def test_each_kind_of_client_connects(guarded: Secured, tmp_path: Path, way: str) -> None:
    settings = Settings.from_env(environment_of(guarded, way, tmp_path))
    servers, prefix = settings.bootstrap_servers, settings.topic_prefix
    assert await asyncio.to_thread(ensure_topics, servers, prefix=prefix, partitions=settings.partitions) == []
    publisher = Publisher(servers, prefix=prefix, source="test")
    await publisher.start()
    await publisher.send(RequeuedThrough(job_id="j", partition=1, offset=7), partition=1)
    await publisher.stop()
    end = await end_offset(servers, "parked", 1, prefix=prefix)
    assert len(await read_span(servers, "parked", 1, 0, end, prefix=prefix)) >= 1
    offsets = GroupOffsets(servers, group="g", topic=settings.topic("chunks"), partitions=2)

    async def known() -> bool:
        try:
            return await asyncio.to_thread(offsets.committed) == {}
        except KafkaException:  # a new broker's coordinator is not there yet
            return False

    await until(known, within_s=60, what="the group's offsets are told")
    offsets.close()
    topics = await tool(settings, way, tmp_path, guarded)
    assert topics.returncode == 0 and settings.topic("parked") in topics.stdout.split(), topics.stderr


async def tool(settings: Settings, way: str, tmp_path: Path, guarded: Secured) -> subprocess.CompletedProcess[str]:
    environment = os.environ | environment_of(guarded, way, tmp_path)
    arguments = [sys.executable, "-m", "headrace.cli", "kafka", "topics", "--list"]
    return await asyncio.to_thread(
        subprocess.run, arguments, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


async def command(house: House, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "headrace.cli", *arguments],
        env=os.environ | house.environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"KAFKA_SASL_PASSWORD": "wrong"}, "see KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SSL_CAFILE": ""}, "KAFKA_SSL_CAFILE"),
        ({"KAFKA_SSL_CAFILE": "", "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "away"),
    ],
    ids=["another password", "an authority that is not known", "in plain"],
)  # fmt: skip
async def test_others_do_not(guarded: Secured, tmp_path: Path, changes: dict[str, str], says: str) -> None:
    servers = Settings.from_env(environment_of(guarded, "plain", tmp_path) | changes).bootstrap_servers

    async def told() -> bool:
        with pytest.raises(KafkaException) as refused:
            await asyncio.to_thread(reached, servers, 3.0)
        reason = absence(servers, refused.value)
        assert guarded.password not in reason
        return says in reason

    await until(told, within_s=60, what=f"the reason says {says!r}")
