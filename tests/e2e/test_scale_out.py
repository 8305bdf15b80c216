"""Several producers and consumers: joining, leaving, killed, and stopped for longer than their session."""

import time

import pytest

from schemas.commands import JobCommand
from schemas.facts import CrawlReport, IndexReport
from tests.e2e.conftest import House
from tests.support.log import read_all
from tests.support.services import Service
from tests.support.waiting import until

SESSION_S = 3
WINDOW = 2 * 32
"""Texts under way at most in one consumer of these tests: what its death may have embedded twice."""


def short_sessions(house: House) -> None:
    for service in house.services.values():
        service.environment["HEADRACE_SESSION_S"] = str(SESSION_S)


async def index_reports(house: House) -> list[IndexReport]:
    return await read_all(house.settings, IndexReport, house.settings.partitions)


async def crawl_owners(house: House, job_id: str) -> list[str]:
    """Each once, in the order in which they first told of the job."""
    reports = await read_all(house.settings, CrawlReport, house.settings.partitions)
    return list(dict.fromkeys(report.owner for report in reports if report.job_id == job_id))


async def second_producer(house: House) -> Service:
    """Returns once both have their partitions: no job changes hands by its joining."""
    other = house.another("producer")

    async def shared() -> bool:
        return "owns partitions" in other.said()

    await until(shared, within_s=40, what="the second producer owns partitions")
    return other


async def spread(house: House, label: str, partitions: int = 3) -> list[str]:
    """Knowledge bases whose running jobs lie on every partition, several on some."""
    kbs: list[str] = []
    taken: set[int] = set()
    while len(taken) < partitions:
        kbs.append(house.kb(f"{label}{len(kbs)}"))
        await house.api.start(kbs[-1], house.definition())
        commands = await read_all(house.settings, JobCommand, partitions)
        taken |= {command.partition for command in commands if command.kb_id == kbs[-1]}
    return kbs


async def test_consumers_join_leave_and_are_killed(house: House) -> None:
    short_sessions(house)
    house.slow_consumer()
    usual, house.openai.latency_s = house.openai.latency_s, 2.0  # no job is over before all have joined
    await house.start()
    kbs = await spread(house, "kb")
    await house.api.until_metric(kbs[0], "chunks_processed", 1)
    second = house.another("consumer")
    third = house.another("consumer")

    async def shared() -> bool:
        return len({report.worker for report in await index_reports(house)}) == 3

    await until(shared, within_s=90, what="three workers have jobs")
    house.openai.latency_s = usual
    third.kill()
    assert await second.terminate() == 0
    for kb in kbs:
        done = await house.api.until_status(kb, "completed", within_s=90)
        assert done["metrics"]["chunks_processed"] == done["metrics"]["chunks_total"] == len(await house.objects(kb))
    hashes = [await house.hashes(kb) for kb in kbs]
    assert all(each == hashes[0] for each in hashes)
    again = house.openai.texts.total() - len(kbs) * len(house.openai.texts)
    assert again <= WINDOW, f"{again} texts were embedded again"


async def test_a_killed_producer_is_replaced(house: House) -> None:
    """On the session as it is by default: about 11 s, however long the wait may last on a busy machine."""
    house.site.hold(after=12)
    await house.start()
    await second_producer(house)
    kb = house.kb()
    started = await house.api.start(kb, house.definition(crawl={"concurrency_per_host": 2}))
    await house.api.until_metric(kb, "documents_total", 5)
    (owner,) = await crawl_owners(house, started["job_id"])
    crawling = next(s for s in (house.service("producer"), *house.others("producer")) if owner.endswith(f"-{s.pid}"))
    crawling.kill()
    killed_at = time.monotonic()

    async def taken_over() -> bool:
        return len(await crawl_owners(house, started["job_id"])) > 1

    await until(taken_over, within_s=40, what="the other producer has the job")
    house.site.release()
    print(f"taken over {time.monotonic() - killed_at:.1f} s after the kill")
    done = await house.api.until_status(kb, "completed", within_s=90)
    assert done["crawl"]["pages_crawled"] == 60
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]


async def test_a_producer_that_slept_through_its_replacement_does_no_harm(house: House) -> None:
    short_sessions(house)
    house.site.hold(after=12)
    await house.start()
    other = await second_producer(house)
    kb = house.kb()
    started = await house.api.start(kb, house.definition(crawl={"concurrency_per_host": 2}))
    await house.api.until_metric(kb, "documents_total", 5)
    (owner,) = await crawl_owners(house, started["job_id"])
    sleeper = other if owner.endswith(f"-{other.pid}") else house.service("producer")
    sleeper.suspend()

    async def taken_over() -> bool:
        return len(await crawl_owners(house, started["job_id"])) > 1

    await until(taken_over, within_s=40, what="the other producer has the job")
    house.site.release()
    sleeper.wake()
    done = await house.api.until_status(kb, "completed", within_s=90)
    assert done["crawl"]["pages_crawled"] == 60
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]
    assert sleeper.alive


async def test_a_consumer_that_slept_through_a_cancel_leaves_nothing(house: House) -> None:
    short_sessions(house)
    house.slow_consumer()
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    await house.api.until_metric(kb, "chunks_indexed", 1)
    sleeper = house.service("consumer")
    sleeper.suspend()
    other = house.another("consumer")
    await house.api.ok("POST", f"/kb/{kb}/cancel")
    await house.api.until_status(kb, "cancelled", within_s=60)
    assert await house.objects(kb) == {}
    sleeper.wake()
    assert other.alive
    # The sleeper has its group back once it owns partitions; what it wrote late is gone by the next sweep.
    await house.api.start(kb, house.definition())
    done = await house.api.until_status(kb, "completed", within_s=90)
    rows = await house.objects(kb)
    assert {born for born, _ in rows.values()} == {done["generation"]}
    assert len(rows) == done["metrics"]["chunks_total"]
    assert sleeper.alive


@pytest.mark.parametrize("after", ["chunks_total", "chunks_processed"])
async def test_jobs_go_on_without_control(house: House, after: str) -> None:
    house.slow_consumer()
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    await house.api.until_metric(kb, after, 1)
    house.service("control").kill()
    calls = house.openai.calls

    async def goes_on() -> bool:
        return house.openai.calls > calls + 2

    await until(goes_on, within_s=30, what="the job goes on")
    await house.start("control")
    done = await house.api.until_status(kb, "completed", within_s=60)
    assert done["metrics"]["chunks_processed"] == done["metrics"]["chunks_total"] == len(await house.objects(kb))
