"""What the replaced design promised, line by line."""

import asyncio
import random

import pytest

from headrace.embedded.kafka_tools import KafkaInstallation
from headrace.embedded.progress import SilentReporter
from tests.e2e.conftest import House
from tests.fakes.site import FakeSite
from tests.support.api import Json, gather
from tests.support.offsets import group_offsets
from tests.support.waiting import until


async def test_the_crawl_runs_ahead_and_indexing_catches_up(house: House) -> None:
    house.openai.latency_s = 0.4
    await house.start("producer", "control")
    kb = house.kb()
    await house.api.start(kb, house.definition())
    ahead = await house.api.until_metric(kb, "chunks_total", 900)
    assert ahead["metrics"]["chunks_processed"] == 0 and ahead["phase"] in ("crawling", "indexing")
    assert ahead["offsets"]["committed"] is None and ahead["offsets"]["end"] > 0
    await house.start("consumer")
    seen = [await house.api.until_metric(kb, "chunks_processed", 1)]
    seen.append(await house.api.until_status(kb, "completed"))
    processed = [status["metrics"]["chunks_processed"] for status in seen]
    assert processed == sorted(processed) and processed[-1] == seen[-1]["metrics"]["chunks_total"]
    assert seen[-1]["offsets"]["lag"] == 0


async def test_pause_stops_both_and_resume_fetches_nothing_again(house: House) -> None:
    house.openai.latency_s = 0.3
    house.site.hold(after=10, each_s=2)
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition(crawl={"concurrency_per_host": 2}))
    await house.api.until_metric(kb, "chunks_processed", 1)
    await house.api.ok("POST", f"/kb/{kb}/pause")
    paused = await house.api.until_status(kb, "paused")
    asked, calls = house.site.requests.total(), house.openai.calls
    assert 0 < paused["crawl"]["pages_crawled"] < 60
    house.site.release()
    await asyncio.sleep(2)  # nothing may happen: there is no condition to wait for
    assert (house.site.requests.total(), house.openai.calls) == (asked, calls)
    for name in ("consumer", "producer", "control"):
        assert await house.service(name).terminate() == 0
    await house.start()
    again = await house.api.until_status(kb, "paused")
    assert again["crawl"]["pages_crawled"] == paused["crawl"]["pages_crawled"]
    assert (house.site.requests.total(), house.openai.calls) == (asked, calls)
    await house.api.ok("POST", f"/kb/{kb}/resume")
    done = await house.api.until_status(kb, "completed", within_s=90)
    assert house.fetched_once() == 60
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]
    assert max(house.openai.texts.values()) == 1


async def test_a_paused_job_holds_while_another_goes_on(house: House) -> None:
    for service in house.services.values():
        service.environment["HEADRACE_PARTITIONS"] = "1"  # all jobs share one partition
    house.slow_consumer()
    await house.start()
    first, second = house.kb("first"), house.kb("second")
    await house.api.start(first, house.definition())
    await house.api.until_metric(first, "chunks_total", 300)
    await house.api.ok("POST", f"/kb/{first}/pause")
    await house.api.until_status(first, "paused")
    held = await house.api.status(first)
    await house.api.start(second, house.definition())
    await house.api.until_status(second, "completed")
    now = await house.api.status(first)
    assert now["status"] == "paused" and now["metrics"]["chunks_parked"] > 300
    assert now["metrics"]["chunks_indexed"] == held["metrics"]["chunks_indexed"]
    await house.api.ok("POST", f"/kb/{first}/resume")
    done = await house.api.until_status(first, "completed")
    assert done["metrics"]["chunks_processed"] == done["metrics"]["chunks_total"] == len(await house.objects(first))


async def test_cancel_removes_every_object(house: House) -> None:
    house.slow_consumer()
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    await house.api.until_metric(kb, "chunks_indexed", 1)
    await house.api.ok("POST", f"/kb/{kb}/cancel")
    await house.api.until_status(kb, "cancelled")
    assert await house.objects(kb) == {}
    await house.caught_up()
    assert await house.objects(kb) == {}
    status, problem = await house.api.call("POST", f"/kb/{kb}/resume")
    assert status == 409 and "cancel" in problem["detail"]
    await house.api.start(kb, house.definition())
    done = await house.api.until_status(kb, "completed")
    assert done["generation"] == 2
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]


async def test_two_knowledge_bases_at_once(house: House) -> None:
    other = FakeSite(pages=30, min_kb=4, max_kb=20, seed=7)
    await other.start()
    try:
        await house.start()
        one, two = house.kb("one"), house.kb("two")
        await gather(house.api.start(one, house.definition()), house.api.start(two, house.definition(other)))
        await house.api.until_metric(two, "chunks_total", 10)
        await house.api.ok("POST", f"/kb/{two}/pause")
        await house.api.until_status(two, "paused", "completed")
        await house.api.until_status(one, "completed")
        if (await house.api.status(two))["status"] == "paused":
            await house.api.ok("POST", f"/kb/{two}/resume")
        await house.api.until_status(two, "completed")
        for kb, site in ((one, house.site), (two, other)):
            answer = await house.api.ok("POST", f"/kb/{kb}/search", {"query": "install", "k": 100, "mode": "vector"})
            assert answer["hits"] and all(hit["url"].startswith(site.root) for hit in answer["hits"])
            total = (await house.api.status(kb))["metrics"]["chunks_total"]
            assert len(await house.objects(kb)) == total
    finally:
        await other.stop()


async def test_duplicate_texts_are_embedded_once(house: House) -> None:
    paragraphs = "".join(f"<p>Sentence number {i} is long enough to stand for itself.</p>" for i in range(30))
    page = "<html><head><title>Same</title></head><body><main><h1>Same</h1>{}<h2>Own</h2>{}</main></body></html>"
    links = "".join(f'<a href="/copies/{i}.html">{i}</a>' for i in range(10))
    house.site.put("/copies/index.html", f"<html><body><main><h1>Copies</h1>{links}</main></body></html>")
    for i in range(10):
        own = "".join(f"<p>Sentence {n} of copy {i} is found nowhere else on the site.</p>" for n in range(30))
        house.site.put(f"/copies/{i}.html", page.format(paragraphs, own))
    await house.start()
    kb = house.kb()
    definition = house.definition(source={"urls": [house.site.root + "/copies/index.html"]})
    await house.api.start(kb, definition)
    done = await house.api.until_status(kb, "completed")
    assert max(house.openai.texts.values()) == 1
    assert done["metrics"]["chunks_total"] >= len(house.openai.texts) + 9
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_each_service_at_a_random_moment(house: House, seed: int) -> None:
    moment = random.Random(seed)
    house.site.latency_s, house.openai.latency_s = 0.2, 0.2
    await house.start()
    undisturbed, kb = house.kb("calm"), house.kb("killed")
    await house.api.start(undisturbed, house.definition())
    calm = await house.api.until_status(undisturbed, "completed")
    assert house.fetched_once() == 60
    house.site.forget()

    await house.api.start(kb, house.definition(crawl={"concurrency_per_host": 2}))
    for name in moment.sample(["producer", "consumer", "control"], 3):
        await asyncio.sleep(moment.uniform(0.2, 2.0))  # the moment is the point
        house.service(name).kill()
        await house.start(name)
    done = await house.api.until_status(kb, "completed", within_s=120)

    assert done["metrics"]["chunks_total"] == calm["metrics"]["chunks_total"]
    assert done["metrics"]["chunks_processed"] == done["metrics"]["chunks_total"]
    assert await house.hashes(kb) == await house.hashes(undisturbed)
    recorded = await house.pages_recorded(kb)
    twice = {path for path, times in house.site.fetched.items() if times > 1 and path.startswith("/docs/")}
    assert not {path for path in twice if recorded[path] > 1}, "a page with a record was fetched again"
    assert len(twice) <= 16, f"more than what was under way was fetched again: {twice}"


async def test_status_and_consumer_groups_tell_the_same(house: House) -> None:
    house.slow_consumer()
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    group = group_offsets(house.settings)

    def described(partition: int) -> tuple[int, int]:
        return group.committed().get(partition, 0), group.ends()[partition]

    await house.api.until_metric(kb, "chunks_processed", 1)
    for _ in range(5):
        partition = (await house.api.status(kb))["offsets"]["partition"]
        before, _ = await asyncio.to_thread(described, partition)

        async def caught_up(least: int = before) -> Json | None:
            offsets: Json = (await house.api.status(kb))["offsets"]
            return offsets if offsets["committed"] >= least else None

        offsets = await until(caught_up, what="the status shows what was committed")
        committed, end = await asyncio.to_thread(described, partition)
        assert offsets["committed"] <= committed and offsets["end"] <= end
    await house.api.until_status(kb, "completed")
    await house.caught_up()
    offsets = (await house.api.status(kb))["offsets"]
    assert (offsets["committed"], offsets["end"]) == await asyncio.to_thread(described, offsets["partition"])
    assert offsets["lag"] == 0
    group.close()
    described_by_kafka = await _consumer_groups_describe(house)
    assert described_by_kafka[offsets["partition"]] == (offsets["committed"], offsets["end"], offsets["lag"])


async def _consumer_groups_describe(house: House) -> dict[int, tuple[int, int, int]]:
    """Partition to current offset, log end offset and lag, as Kafka's own tool prints them."""
    kafka = KafkaInstallation.prepare(house.settings.cache_dir, SilentReporter())
    arguments = ["--describe", "--group", house.settings.consumer_group]
    result = await asyncio.to_thread(
        kafka.run_tool, "consumer-groups", arguments, bootstrap_servers=house.settings.bootstrap_servers
    )
    rows = [line.split() for line in result.stdout.splitlines() if house.settings.topic("chunks") in line]
    return {int(row[2]): (int(row[3]), int(row[4]), int(row[5])) for row in rows if row[3] != "-"}


async def test_the_projection_is_disposable(house: House) -> None:
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    await house.api.until_status(kb, "completed")
    await house.caught_up()
    before = await house.api.status(kb)
    for service in house.services.values():
        assert await service.terminate() == 0
    projection = house.settings.data_dir / "projection.duckdb"
    projection.unlink()
    await house.start("control")
    after = await house.api.status(kb)
    clocks = {"rate", "eta_s", "reported_at"}
    assert {k: v for k, v in after.items() if k not in clocks} == {k: v for k, v in before.items() if k not in clocks}


async def test_a_refresh_is_published_at_once(house: House) -> None:
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    first = await house.api.until_status(kb, "completed")
    paid = house.openai.texts.total()
    house.site.edit(house.site.paths[5])
    removed = house.site.paths[-1]
    house.site.remove(removed)
    await house.api.start(kb, house.definition())
    second = await house.api.until_status(kb, "completed")
    assert second["generation"] == first["generation"] + 1
    assert 0 < house.openai.texts.total() - paid < 60
    answer = await house.api.ok("POST", f"/kb/{kb}/search", {"query": "install", "k": 100, "mode": "vector"})
    assert answer["generation"] == 2
    assert not [hit for hit in answer["hits"] if hit["url"].endswith(removed)]
