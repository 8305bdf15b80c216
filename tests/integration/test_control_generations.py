"""Review, rollback and vacuum, commanded over HTTP; the producer and the consumer are played."""

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.commands import JobCommand
from schemas.facts import CommandIssued
from schemas.kb import KbDefined
from tests.integration.control_play import API, DEFINITION, Api, Json, Played, control, kb_name
from tests.support.log import read_all
from tests.support.waiting import until


async def published(api: Api, settings: Settings, publisher: Publisher, kb: str, times: int) -> list[Played]:
    """As many jobs of one KB, each published."""
    jobs = []
    for n in range(times):
        jobs.append(Played(settings, publisher, await api.start(kb, None if n else DEFINITION)))
        await jobs[-1].complete()
        await api.until(kb, "completed")
    return jobs


async def refused(api: Api, kb: str, action: str, body: Json | None = None) -> str:
    status, problem = await api.call("POST", f"{API}/kb/{kb}/{action}", body)
    assert status == 409, problem
    return str(problem["detail"])


async def job_status(api: Api, job: Played, *, until_is: str) -> Json:
    async def reached() -> Json | None:
        answer: Json = (await api.ok("GET", f"{API}/jobs/{job.job['job_id']}"))["status"]
        return answer if answer["status"] == until_is else None

    answer = await until(reached)
    assert answer is not None
    return answer


async def test_a_review_is_approved_once(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        assert "nothing to approve" in await refused(api, kb, "approve")
        await job.crawl("finished", 1)
        await job.index("running", 1)
        await job.review(1)
        answer = await api.until(kb, "needs_review")
        assert answer["reason"] == "9 of 10 pages would vanish"
        assert (answer["review"]["pages_before"], answer["review"]["pages_vanished"]) == (10, 9)
        assert "waiting for a review" in await refused(api, kb, "start")
        assert "under review is abc" in await refused(api, kb, "approve", {"digest": "other"})
        approved = await api.command(kb, "approve", {"digest": "abc", "reason": "they moved"})
        assert (approved["desired"], approved["revision"]) == ("running", 2)
        assert (await api.command(kb, "approve", {"digest": "abc"}))["revision"] == 2
        assert (await api.status(kb))["review"] is None
        await job.index("running", 2)
        await job.generation("published")
        await job.finish()
        await api.until(kb, "completed")
        assert "nothing to approve" in await refused(api, kb, "approve")
    assert [c.approved for c in await read_all(settings, JobCommand)] == [None, "abc"]
    assert [(e.action, e.reason) for e in await read_all(settings, CommandIssued)][1:] == [("approve", "they moved")]


async def test_a_review_is_asked_for_anew_after_a_pause_and_can_be_cancelled(
    settings: Settings, publisher: Publisher
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await job.crawl("finished", 1)
        await job.index("running", 1)
        await job.review(1)
        await api.until(kb, "needs_review")
        await api.command(kb, "pause")
        assert "nothing to approve" in await refused(api, kb, "approve")
        await api.command(kb, "resume")
        await job.index("running", 3)
        await api.until(kb, "running")
        await job.review(3, "def")
        await api.until(kb, "needs_review")
        revision = (await api.command(kb, "cancel"))["revision"]
        await job.generation("undone")
        await job.index("undone", revision)
        assert (await api.until(kb, "cancelled"))["review"] is None


async def test_rollback_undoes_the_newest_published_generation_once(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        _, second, third = await published(api, settings, publisher, kb, 3)
        assert "newest published generation" in await refused(api, kb, "rollback", {"generation": 2})
        command = await api.command(kb, "rollback", {"generation": 3, "reason": "wrong site"})
        assert (command["job_id"], command["desired"]) == (third.job["job_id"], "rolled_back")
        assert await api.command(kb, "rollback", {"generation": 3}) == command
        assert await api.command(kb, "rollback") == command
        assert (await api.status(kb))["status"] == "cancelling"
        assert "being rolled back" in await refused(api, kb, "start")
        assert "being rolled back" in await refused(api, kb, "vacuum")
        assert (await api.call("DELETE", f"{API}/kb/{kb}"))[0] == 409
        await third.generation("undone")
        await third.index("undone", command["revision"])
        answer = await api.until(kb, "cancelled")
        assert (answer["reason"], answer["published_generation"]) == ("rolled back: wrong site", 2)
        assert await api.command(kb, "rollback", {"generation": 3}) == command

        again = await api.command(kb, "rollback", {"generation": 2})
        assert again["job_id"] == second.job["job_id"]
        assert "being rolled back" in await refused(api, kb, "start")
        await second.generation("undone")
        await second.index("undone", again["revision"])
        await job_status(api, second, until_is="cancelled")
        assert "the only published one" in await refused(api, kb, "rollback")
        assert (await api.start(kb))["generation"] == 4
        assert (await api.status(kb))["base"] == 1
        assert "active" in await refused(api, kb, "rollback")
    actions = [event.action for event in await read_all(settings, CommandIssued)]
    assert actions.count("rollback") == 2


async def test_an_older_job_that_is_rolled_back_stands_in_the_way_after_a_restart(
    settings: Settings, publisher: Publisher
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        _, second = await published(api, settings, publisher, kb, 2)
        third = Played(settings, publisher, await api.start(kb))
        cancelled = await api.command(kb, "cancel")
        await third.generation("undone")
        await third.index("undone", cancelled["revision"])
        await api.until(kb, "cancelled")
        command = await api.command(kb, "rollback", {"generation": 2})
        await second.generation("undone")
    async with control(settings) as api:
        assert "being rolled back" in await refused(api, kb, "start")
        await second.index("undone", command["revision"])
        await job_status(api, second, until_is="cancelled")
        await api.start(kb)


async def test_vacuum_raises_a_floor(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        *_, last = await published(api, settings, publisher, kb, 3)
        assert await _shown(api, kb) == {3: (True, True), 2: (False, True), 1: (False, True)}
        assert "can't be vacuumed" in await refused(api, kb, "vacuum", {"below": 4})
        assert (await api.command(kb, "vacuum", {"keep": 2}))["vacuumed_below"] == 2
        assert (await api.command(kb, "vacuum", {"keep": 3}))["vacuumed_below"] == 2
        assert await _shown(api, kb) == {3: (True, True), 2: (False, True), 1: (False, False)}
        status, problem = await api.call("POST", f"{API}/kb/{kb}/search", {"query": "x", "generation": 1})
        assert status == 410 and "vacuumed" in problem["detail"]
        await last.vacuumed(2, 7)
        await until(lambda: _vacuumed(api, kb, 7))
        assert (await api.command(kb, "vacuum"))["vacuumed_below"] == 3
        assert (await api.ok("GET", f"{API}/kb/{kb}/generations"))["vacuum"]["vacuumed_at"] is None
        assert "vacuumed" in await refused(api, kb, "rollback")
        for wrong in ({"keep": 0}, {"keep": 1, "below": 1}, {"below": "x"}, {"keeps": 1}):
            assert (await api.call("POST", f"{API}/kb/{kb}/vacuum", wrong))[0] == 422
        await api.ok("PUT", f"{API}/kb/{kb}", {"source": {"urls": ["https://example.org/other/"]}})
    assert [each.vacuumed_below for each in await read_all(settings, KbDefined)][-3:] == [2, 3, 3]


async def test_the_base_of_an_active_job_is_not_vacuumed(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        await api.ok("PUT", f"{API}/kb/{kb}", DEFINITION)
        assert "nothing to vacuum" in await refused(api, kb, "vacuum")
        await published(api, settings, publisher, kb, 2)
        await api.start(kb)
        assert "can't be vacuumed" in await refused(api, kb, "vacuum", {"below": 3})
        assert (await api.command(kb, "vacuum"))["vacuumed_below"] == 2


async def _shown(api: Api, kb: str) -> dict[int, tuple[bool, bool]]:
    rows = (await api.ok("GET", f"{API}/kb/{kb}/generations"))["generations"]
    return {row["generation"]: (row["searched"], row["searchable"]) for row in rows}


async def _vacuumed(api: Api, kb: str, objects: int) -> bool:
    state = (await api.ok("GET", f"{API}/kb/{kb}/generations"))["vacuum"]
    return bool(state["objects_deleted"] == objects and state["vacuumed_at"])
