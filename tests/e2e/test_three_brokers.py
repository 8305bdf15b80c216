"""Three brokers with three replicas of everything, as in production: the drills of docs/production.md.

One is lost; each is restarted with a new certificate; two are lost, and with them the quorum; all three go back to a
copy of their data.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka import KafkaException

from headrace.kafka import admin
from schemas.commands import JobCommand
from tests.e2e.conftest import House
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import status
from tests.support.brokers import Cluster, three_brokers
from tests.support.log import read_all
from tests.support.waiting import until

Json = dict[str, Any]
PAGES = 30


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with three_brokers(tmp_path_factory.mktemp("brokers")) as cluster:
        yield cluster


@pytest.fixture
def cluster(brokers: Cluster) -> Iterator[Cluster]:
    """All three serve, whatever the test before left."""
    if down := [number for number, broker in brokers.brokers.items() if broker.pid is None]:
        brokers.start(down)
    yield brokers


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    server = FakeSite(pages=PAGES, min_kb=2, max_kb=8)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def house(
    cluster: Cluster, environment: dict[str, str], tmp_path: Path, site: FakeSite, openai: OpenAIServer
) -> AsyncIterator[House]:
    house = House(environment | cluster.environment(), tmp_path / "services", site, openai)
    yield house
    print(house.said())
    await house.close()


@pytest.fixture
async def small() -> AsyncIterator[FakeSite]:
    server = FakeSite(pages=6, min_kb=2, max_kb=4, seed=2)
    await server.start()
    yield server
    await server.stop()


async def in_the_middle(house: House, **crawl: Any) -> str:
    """A knowledge base with a job that has chunks indexed, and pages left that the site holds."""
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition(crawl=crawl))
    await house.api.until_metric(kb, "chunks_processed", 1)
    return kb


async def completed(house: House, kb: str) -> Json:
    done = await house.api.until_status(kb, "completed", within_s=120)
    assert done["crawl"]["pages_crawled"] == PAGES
    assert done["metrics"]["chunks_processed"] == done["metrics"]["chunks_total"]
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]
    return done


async def in_sync(cluster: Cluster) -> None:
    async def healed() -> bool:
        return not await asyncio.to_thread(cluster.behind)

    await until(healed, within_s=60, what="every replica is in sync")


async def leader_of(house: House, cluster: Cluster) -> int:
    """The broker that leads the partition of the only job."""
    (command,) = await read_all(house.settings, JobCommand, house.settings.partitions)
    return cluster.leader(house.settings.topic("chunks"), command.partition)


async def recorded(house: House, kb: str, pages: int) -> bool:
    """A page under way that can't be recorded within a second of a pause is cut off, and fetched again."""
    return bool((await house.api.status(kb))["crawl"]["pages_crawled"] == pages)


def made_sure_of_topics(house: House) -> list[admin.Difference]:
    """As each service does at its start; blocks."""
    settings = house.settings
    return admin.ensure_topics(
        settings.bootstrap_servers,
        prefix=settings.topic_prefix,
        partitions=settings.partitions,
        replication=settings.replication,
        min_insync=settings.min_insync,
    )


async def test_a_broker_is_lost_and_comes_back(house: House, cluster: Cluster) -> None:
    house.site.hold(after=8)
    kb = await in_the_middle(house)
    await until(lambda: recorded(house, kb, 8), what="the pages that were fetched are recorded")
    lost = cluster.brokers[await leader_of(house, cluster)]
    await asyncio.to_thread(lost.kill)
    await house.api.ok("POST", f"/kb/{kb}/pause")
    paused = await house.api.until_status(kb, "paused", within_s=60)
    assert paused["crawl"]["pages_crawled"] < PAGES
    house.site.release()
    await house.api.ok("POST", f"/kb/{kb}/resume")
    await completed(house, kb)
    assert house.fetched_once() == PAGES
    behind = cluster.behind()
    assert any(name.startswith(house.settings.topic("chunks")) for name in behind)
    await asyncio.to_thread(lost.start)
    await in_sync(cluster)
    assert set().union(*cluster.replicas().values()) == {3}, "the brokers' own topics too"
    assert await asyncio.to_thread(made_sure_of_topics, house) == []


@asynccontextmanager
async def commanding(house: House, kb: str) -> AsyncIterator[None]:
    """One definition after another meanwhile, each another one; none is refused."""

    async def keep_on() -> None:
        for number in itertools.count(1):
            await house.api.ok("PUT", f"/kb/{kb}", house.definition(source={"max_pages": number}))
            await asyncio.sleep(0.1)  # the services share the machine's cores with this

    working = asyncio.create_task(keep_on())
    try:
        yield
        assert not working.done()
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def test_each_is_restarted_with_a_new_certificate(house: House, cluster: Cluster) -> None:
    house.site.hold(after=8, each_s=10)  # less than the crawler waits for an answer
    kb = await in_the_middle(house, concurrency_per_host=1)
    async with commanding(house, house.kb("other")):
        for number, broker in cluster.brokers.items():
            before = cluster.shown_by(number)
            cluster.certificate_of(number).unlink()
            cluster.make_secrets()
            await asyncio.to_thread(broker.stop)
            indexed = (await house.api.status(kb))["metrics"]["chunks_processed"]
            house.site.release()
            house.site.hold(after=4, each_s=10)
            now = await house.api.until_metric(kb, "chunks_processed", indexed + 1)
            assert now["phase"] == "crawling"
            await asyncio.to_thread(broker.start)
            await in_sync(cluster)
            assert cluster.shown_by(number) != before
    house.site.release()
    await completed(house, kb)
    assert house.fetched_once() == PAGES


async def test_the_quorum_is_lost_and_comes_back(
    house: House, cluster: Cluster, small: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.site.hold(after=8)
    kb, other = await in_the_middle(house), house.kb("other")
    leader = await leader_of(house, cluster)  # nobody takes over from it
    lost = [leader, next(number for number in cluster.brokers if number != leader)]
    await asyncio.to_thread(cluster.kill, lost)
    house.site.release()
    start = ("POST", f"/kb/{other}/start", house.definition(small))
    starting = asyncio.create_task(house.api.call(*start, **{"Idempotency-Key": other}))
    stalled = await house.api.until_status(kb, "stalled")
    assert stalled["reason"] == "Kafka: it doesn't answer; what is shown may be old"
    assert stalled["metrics"]["chunks_total"] > 0 and stalled["stalls"][0]["since"] > stalled["commanded_at"]
    assert (await house.api.ok("POST", f"/kb/{kb}/search", {"query": "cache"}))["hits"], "searches need no Kafka"
    assert await house.api.call("GET", "/readyz") == (200, {"ready": True, "reason": None})
    monkeypatch.setattr(admin, "TIMEOUT_S", 5.0)
    with pytest.raises(KafkaException, match="the controllers don't decide"):
        await asyncio.to_thread(made_sure_of_topics, house)
    code, problem = await starting
    assert (code, problem["detail"][:13]) == (503, "Kafka is away"), problem

    house.service("control").kill()
    house.service("control").start()

    async def told() -> bool:
        with suppress(aiohttp.ClientError):  # until it listens
            code, problem = await house.api.call("GET", "/readyz")
            return code == 503 and "to Kafka at" in problem["detail"]
        return False

    await until(told, what="a control that starts now says that it waits for Kafka")
    await asyncio.to_thread(cluster.start, lost)
    await house.api.ready()
    await completed(house, kb)
    assert house.fetched_once() == PAGES
    code, _ = await house.api.call(*start, **{"Idempotency-Key": other})
    assert code == 202
    await house.api.until_status(other, "completed")
    assert len((await house.api.ok("GET", f"/kb/{other}/jobs"))["jobs"]) == 1, "whichever of the two requests began it"
    assert all(service.alive for service in house.services.values())
    assert "Traceback" not in house.said()


async def shown(house: House, kb: str, generation: int) -> list[str]:
    """doc_hash of every object that a search at this generation may find."""
    tenant = await house.store.tenant(house.place(kb))
    assert tenant is not None
    rows = [each.properties async for each in tenant.iterator(return_properties=["doc_hash", "born", "retired"])]
    return sorted(str(row["doc_hash"]) for row in rows if row["born"] <= generation < row["retired"])


async def test_all_go_back_to_a_copy_of_their_data(
    house: House, cluster: Cluster, small: FakeSite, tmp_path: Path
) -> None:
    """One of all disks at one moment, in the middle of a job. Nothing is left of what came after, in Weaviate too."""
    house.site.hold(after=8, each_s=10)
    half = await in_the_middle(house, concurrency_per_host=1)
    whole, fresh = house.kb("whole"), house.kb("fresh")
    start, definition = f"/kb/{whole}/start", house.definition(small)
    await house.api.ok("POST", start, definition)
    await house.api.until_status(whole, "completed")
    *_, edited, gone = small.paths
    with cluster.suspended():
        await asyncio.to_thread(cluster.copy, tmp_path / "copy")
    house.site.release()
    await completed(house, half)
    small.edit(edited)
    small.behave(gone, status(404))
    await house.api.ok("POST", start, definition)
    lost = await house.api.until_status(whole, "completed", "needs_review")
    assert (lost["generation"], lost["status"]) == (2, "completed")

    await asyncio.gather(*(service.terminate() for service in house.services.values()))
    await asyncio.to_thread(cluster.kill)
    await asyncio.to_thread(cluster.restore, tmp_path / "copy")
    await asyncio.to_thread(cluster.start)
    small.edit(edited)
    small.heal(gone)
    await house.start("control")  # before anybody writes beyond what its projection has seen
    assert "restored from an older copy" in house.service("control").said()
    await house.start("producer", "consumer")
    await completed(house, half)
    assert (await house.api.status(whole))["generation"] == 1
    await house.api.ok("POST", start, definition)
    await house.api.until_status(whole, "completed")
    await house.api.start(fresh, definition)
    await house.api.until_status(fresh, "completed")
    assert await shown(house, whole, 2) == await shown(house, fresh, 1)
