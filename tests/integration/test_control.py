"""Control against a real broker; the producer and the consumer are played by publishing their facts."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import pytest

from control import service
from control.writer import Fenced
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.tokens import create, revoke, rotate
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.facts import CommandIssued, CommandRefused, Request, TokenChanged
from schemas.kb import Embedding, KbDefined, collection_name
from tests.integration.control_play import (
    API,
    DEADLINE_S,
    DEFINITION,
    Api,
    Json,
    Played,
    commit,
    control,
    free_port,
    kb_name,
    ready,
    values,
    without_clock,
)
from tests.support.log import read_all
from tests.support.waiting import until

LOCAL = collection_name(Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384))


async def test_a_job_from_queued_to_completed(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        started = await api.start(kb, DEFINITION)
        job = Played(settings, publisher, started)
        assert (await api.status(kb))["status"] == "queued"
        await job.crawl("crawling", 1, pages_crawled=1, pages_queued=2)
        await job.index("running", 1)
        await api.until(kb, "running")

        paused = await api.command(kb, "pause", {"reason": "lunch"})
        assert (paused["revision"], paused["desired"]) == (2, "paused")
        assert (await api.status(kb))["status"] == "pausing"
        await job.crawl("holding", 2, pages_crawled=1, pages_queued=2)
        await job.index("holding", 1)  # answers the command before
        await until(lambda: _reflects(api, kb, producer=2, consumer=1))
        assert (await api.status(kb, "?after=2&wait_s=1"))["status"] == "pausing"
        await job.index("holding", 2)
        assert (await api.status(kb, "?after=2"))["status"] == "paused"

        assert (await api.command(kb, "resume"))["revision"] == 3
        assert (await api.status(kb))["status"] == "resuming"
        await job.crawl("crawling", 3)
        await api.until(kb, "running")
        await job.stall("Weaviate", ended=False)
        stalled = await api.until(kb, "stalled")
        assert "Weaviate" in stalled["reason"]
        await job.stall("Weaviate", ended=True)
        await api.until(kb, "running")

        await job.page("https://example.org/docs/a", "a0", "a1")
        await job.page("https://example.org/docs/b", "b0")
        await job.crawl("finished", 3, pages_crawled=2)
        await job.index("running", 3)
        assert (await api.until(kb, "running"))["metrics"]["chunks_processed"] == 0
        await job.outcomes(0, "a0", "a1", "b0")
        await commit(settings, {job.partition: 3})
        answer = await _until_processed(api, kb, 3)
        assert (answer["phase"], answer["progress"]) == ("publishing", 99.0)
        assert answer["metrics"]["chunks_total"] == 3
        assert answer["metrics"]["documents_processed"] == answer["metrics"]["documents_total"] == 2
        assert answer["offsets"] == {"partition": job.partition, "committed": 3, "end": 0, "lag": 0}
        assert {**answer["offsets"], "kbs": [kb]} in (await api.ok("GET", f"{API}/partitions"))["partitions"]

        await job.generation("published", collection=LOCAL)
        await job.finish()
        done = await api.until(kb, "completed")
        assert (done["progress"], done["phase"], done["published_generation"]) == (100.0, "done", 1)

        events = (await api.ok("GET", f"{API}/jobs/{started['job_id']}/events"))["events"]
        assert [(e["action"], e["reason"]) for e in values(events, "command_issued")] == [
            ("start", None), ("pause", "lunch"), ("resume", None),
        ]  # fmt: skip
        pages = await api.ok("GET", f"{API}/kb/{kb}/jobs/{started['job_id']}/pages?limit=1")
        assert [p["url"] for p in pages["pages"]] == [pages["next_after"]] == ["https://example.org/docs/a"]
        await _pages_are_chosen(api, f"{API}/jobs/{started['job_id']}/pages", pages["next_after"])
        generations = (await api.ok("GET", f"{API}/kb/{kb}/generations"))["generations"]
        assert [(g["generation"], g["state"], g["searched"]) for g in generations] == [(1, "published", True)]


async def _pages_are_chosen(api: Api, of_job: str, url: str) -> None:
    for query, count in ("state=fetched", 2), ("state=failed", 0), (f"url={url}", 1), ("url=x", 0), ("contains=/B", 1):
        assert len((await api.ok("GET", f"{of_job}?{query}"))["pages"]) == count, query
        states = (await api.ok("GET", f"{of_job}/summary?{query}"))["states"]
        assert [(row["state"], row["pages"]) for row in states] == ([("fetched", count)] if count else [])


async def _reflects(api: Api, kb: str, **revisions: int) -> bool:
    return bool((await api.status(kb))["reflected"] == revisions)


async def test_what_embedding_cost_is_told_by_day_and_job(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        await api.start(kb, DEFINITION | {"budget": {"max_usd": 0.1}})
        job = Played(settings, publisher, await api.status(kb))
        await job.call("one", 30, 600_000)
        await job.call("two", 12, 240_000)
        spent = {"tokens_embedded": 42, "calls": 2, "usd": 8.4e-07, "unsettled_tokens": 0, "unsettled_usd": 0.0}

        async def told() -> bool:
            return spent.items() <= (await api.status(kb))["cost"].items()

        await until(told)
        status = (await api.status(kb))["cost"]
        assert status["budget"] == {"max_tokens": None, "max_usd": 0.1}
        cost = await api.ok("GET", f"{API}/kb/{kb}/cost")
        (of_job,), (day,) = cost["jobs"], cost["days"]
        assert all(spent.items() <= each.items() for each in (status["kb"], *status["kb"]["days"], cost, of_job, day))
        assert (of_job["job_id"], of_job["generation"]) == (job.job["job_id"], 1)
        (of_kb,) = (await api.ok("GET", f"{API}/cost"))["kbs"]
        assert of_kb.items() >= {"kb_id": kb, **spent}.items()


async def _until_processed(api: Api, kb: str, chunks: int) -> Json:
    async def processed() -> Json | None:
        answer = await api.status(kb)
        return answer if answer["metrics"]["chunks_processed"] >= chunks else None

    answer = await until(processed)
    assert answer is not None
    return answer


async def test_outcomes_count_once_the_group_has_committed_past_them(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await job.page("https://example.org/docs/a", "a0", "a1", "a2")
        await job.outcomes(5, "a0", "a1", "a2")
        await job.crawl("crawling", 1)
        await api.until(kb, "running")
        assert (await api.status(kb))["metrics"]["chunks_processed"] == 0
        await commit(settings, {job.partition: 7})
        assert (await _until_processed(api, kb, 2))["metrics"]["chunks_processed"] == 2
        await commit(settings, {job.partition: 8})
        await _until_processed(api, kb, 3)


async def test_what_was_asked_of_hosts(settings: Settings, publisher: Publisher) -> None:
    kb, host = kb_name(), "docs.example.org:8443"
    async with control(settings) as api:
        started = await api.start(kb, DEFINITION)
        job = Played(settings, publisher, started)
        asked = [
            Request(at=now(), url=f"https://{host}/{n}", purpose="page", status=200, bytes=10, duration_ms=n)
            for n in range(5)
        ]
        await job.requests(host, *asked[:3], robots="none")
        await job.requests(host, *asked[3:], robots="found", crawl_delay_s=1.0)
        await job.crawl("crawling", 1)
        await api.until(kb, "running")
        for base in (f"{API}/jobs/{started['job_id']}", f"{API}/kb/{kb}/jobs/{started['job_id']}"):
            (found,) = (await api.ok("GET", f"{base}/hosts"))["hosts"]
            assert (found["host"], found["requests"], found["succeeded"], found["bytes"]) == (host, 5, 5, 50)
            assert (found["robots"], found["crawl_delay_s"], found["mean_ms"], found["p95_ms"]) == (
                "found",
                1.0,
                2.0,
                3.8,
            )
            first = await api.ok("GET", f"{base}/hosts/{host}/requests?limit=4")
            rest = await api.ok("GET", f"{base}/hosts/{host}/requests?limit=4&after={first['next_after']}")
            assert [each["url"] for each in first["requests"] + rest["requests"]] == [each.url for each in asked]
            assert rest["next_after"] is None
            assert (await api.call("GET", f"{base}/hosts/elsewhere.example/requests"))[0] == 404
            assert (await api.call("GET", f"{base}/hosts/{host}/requests?after=soon"))[0] == 422
        assert (await api.call("GET", f"{API}/jobs/nothing/hosts"))[0] == 404


async def test_lost_records_are_said_until_the_job_is_over(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await job.page("https://example.org/docs/a", "a0")
        await job.crawl("crawling", 1)
        await job.index("running", 1)
        for first, end in ((0, 5), (0, 5), (7, 9)):  # the first is told twice: its owner fell over after that
            await job.lost(first, end)
        await job.forget("https://example.org/docs/a")
        answer = await until(lambda: _lost_pages(api, kb))
        assert (answer["lost"]["records"], answer["lost"]["pages"]) == (7, 1)
        assert answer["reason"] == "records were lost; 1 page fetched again"
        events = (await api.ok("GET", f"{API}/jobs/{job.job['job_id']}/events"))["events"]
        assert len(values(events, "records_lost")) == 3
        await job.complete()
        done = await api.until(kb, "completed")
        assert (done["reason"], done["lost"]["records"]) == (None, 7)


async def test_chunks_that_weaviate_lacks_are_said_until_the_job_is_over(
    settings: Settings, publisher: Publisher
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await job.page("https://example.org/docs/a", "a0")
        await job.crawl("finished", 1)
        for epoch in (0, 0, 7):  # the first is told twice: its owner fell over after that
            await job.missing(epoch, 4)
        await job.forget("https://example.org/docs/a")

        async def said() -> Json | None:
            answer = await api.status(kb)
            return answer if answer["lost"] and answer["lost"]["chunks"] == 8 and answer["lost"]["pages"] else None

        answer = await until(said)
        assert (answer["reason"], answer["lost"]["records"]) == (
            "8 chunks are missing in Weaviate; 1 page fetched again", 0,
        )  # fmt: skip
        await job.page("https://example.org/docs/a", "a0")
        await job.complete()
        assert (await api.until(kb, "completed"))["reason"] is None


async def _lost_pages(api: Api, kb: str) -> Json | None:
    answer = await api.status(kb)
    return answer if answer["lost"] and answer["lost"]["pages"] and answer["lost"]["records"] == 7 else None


async def test_cancel_waits_for_the_proof(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await job.crawl("crawling", 1)
        await job.index("running", 1)
        revision = (await api.command(kb, "cancel"))["revision"]
        assert (await api.command(kb, "cancel"))["revision"] == revision
        for action in ("pause", "resume"):
            status, problem = await api.call("POST", f"{API}/kb/{kb}/{action}")
            assert status == 409 and "final" in problem["detail"]
        await job.generation("undone")
        assert (await api.status(kb))["status"] == "cancelling"
        status, problem = await api.call("POST", f"{API}/kb/{kb}/start")
        assert status == 409 and "being cancelled" in problem["detail"]
        await job.index("undone", revision)
        assert (await api.until(kb, "cancelled"))["phase"] == "done"
        assert (await api.command(kb, "cancel"))["revision"] == revision
        assert (await api.start(kb))["generation"] == 2


async def test_one_job_at_a_time_and_none_too_many(settings: Settings) -> None:
    kb = kb_name()
    async with control(settings) as api:
        status, problem = await api.call("POST", f"{API}/kb/{kb}/start")
        assert status == 404 and f"PUT {API}/kb/{kb}" in problem["detail"]
        assert (await api.call("GET", f"{API}/kb/{kb}/status"))[0] == 404
        await api.ok("PUT", f"{API}/kb/{kb}", DEFINITION)
        status, problem = await api.call("POST", f"{API}/kb/{kb}/pause")
        assert status == 409 and "no job" in problem["detail"]
        answers = await asyncio.gather(*(api.call("POST", f"{API}/kb/{kb}/start") for _ in range(8)))
        assert sorted(status for status, _ in answers) == [202, *[409] * 7]
        assert (await api.ok("GET", f"{API}/kb/{kb}"))["last_generation"] == 1
        assert len((await api.ok("GET", f"{API}/kb/{kb}/jobs"))["jobs"]) == 1


async def test_a_start_is_one_transaction(settings: Settings) -> None:
    kb = kb_name()
    async with control(settings) as api:
        started = await api.start(kb, DEFINITION)
    commands = await read_all(settings, JobCommand)
    assert [(c.job_id, c.revision, c.definition.embedding.provider) for c in commands] == [
        (started["job_id"], 1, "local")
    ]
    assert [(d.kb_id, d.last_generation) for d in await read_all(settings, KbDefined)] == [(kb, 1)]
    assert [(e.action, e.job_id) for e in await read_all(settings, CommandIssued)] == [("start", started["job_id"])]


async def test_a_refresh_builds_on_what_is_published_with_the_same_profile(
    settings: Settings, publisher: Publisher
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        first = await api.start(kb, DEFINITION)
        await Played(settings, publisher, first).complete()
        await api.until(kb, "completed")
        second = await api.start(kb)
        assert (await api.status(kb))["base"] == 1
        await Played(settings, publisher, second).complete()
        await api.until(kb, "completed")
        third = await api.start(kb, {**DEFINITION, "chunking": {"max_tokens": 128}})
        assert (third["generation"], (await api.status(kb))["base"]) == (3, None)


async def test_an_idempotency_key_over_a_restart(settings: Settings) -> None:
    kb = kb_name()
    async with control(settings) as api:
        started = await api.start(kb, DEFINITION, Idempotency_Key="once")
        assert await api.start(kb, DEFINITION, Idempotency_Key="once") == started
    async with control(settings) as api:
        assert await api.start(kb, DEFINITION, Idempotency_Key="once") == started
        body = {"source": {"urls": ["https://example.org/other/"]}}
        status, problem = await api.call("POST", f"{API}/kb/{kb}/start", body, Idempotency_Key="once")
        assert status == 422 and "another body" in problem["detail"]
        status, problem = await api.call("POST", f"{API}/kb/{kb}-2/start", DEFINITION, Idempotency_Key="once")
        assert status == 422 and "another knowledge base" in problem["detail"] and kb not in problem["detail"]
        assert len((await api.ok("GET", f"{API}/kb/{kb}/jobs"))["jobs"]) == 1


async def _has_offsets(api: Api, kb: str) -> bool:
    return (await api.status(kb))["offsets"]["end"] is not None


@pytest.mark.parametrize("fate", ["kept", "deleted", "corrupt"])
async def test_the_same_status_comes_back_from_the_log(settings: Settings, publisher: Publisher, fate: str) -> None:
    done, open_ = kb_name(), kb_name()
    async with control(settings) as api:
        finished = Played(settings, publisher, await api.start(done, DEFINITION))
        await finished.page("https://example.org/docs/a", "a0")
        await finished.outcomes(0, "a0")
        await finished.complete()
        await api.until(done, "completed")
        job = Played(settings, publisher, await api.start(open_, DEFINITION))
        await job.page("https://example.org/docs/b", "b0", "b1")
        await job.outcomes(1, "b0", result="dead_lettered")
        await commit(settings, {job.partition: 3})
        await api.command(open_, "pause")
        await job.crawl("holding", 2)
        await job.index("holding", 2)
        await api.until(open_, "paused")
        await _until_processed(api, open_, 1)
        before = [without_clock(await api.status(kb)) for kb in (done, open_)]
    file = settings.data_dir / "projection.duckdb"
    if fate == "deleted":
        file.unlink()
    elif fate == "corrupt":
        file.write_bytes(b"no database" * 1_000)
    async with control(settings) as api:
        await _until_processed(api, open_, 1)
        await until(lambda: _has_offsets(api, done))
        assert [without_clock(await api.status(kb)) for kb in (done, open_)] == before
    assert len(list(settings.data_dir.glob("*.aside-*"))) == (fate == "corrupt")


async def test_an_operators_garbage_is_refused_and_what_it_hides_is_put_back(
    settings: Settings, publisher: Publisher
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        started = await api.start(kb, DEFINITION)
        job = Played(settings, publisher, started)
        await job.publish_raw("commands", started["job_id"], b"{not json")
        refused = await _refusals(settings, 1)
        assert refused[0].record_key == started["job_id"] and "not a headrace.job_command" in refused[0].reason
        await job.publish_raw("commands", "nobody", b"hello")
        await job.publish_raw("commands", started["job_id"], None)
        newest = (await read_all(settings, JobCommand))[-1]
        skipping = msgspec.structs.replace(newest, revision=7, desired="paused")
        await job.publish_raw("commands", started["job_id"], msgspec.json.encode(skipping))
        refused = await _refusals(settings, 4)
        reasons = " ".join(each.reason for each in refused)
        assert "revision 7 does not follow 1" in reasons and "tombstone" in reasons
        valid = msgspec.structs.replace(newest, revision=2, desired="paused", issued_by="operator")
        await job.publish_raw("commands", started["job_id"], msgspec.json.encode(valid))
        await api.until(kb, "pausing")
        assert (await api.status(kb))["commanded_by"] == "operator"
    actions = [event.action for event in await read_all(settings, CommandIssued)]
    assert actions == ["start", "restore", "restore", "restore"]
    async with control(settings) as api:
        await api.command(kb, "resume")
    assert len(await read_all(settings, CommandRefused)) == 4


async def _refusals(settings: Settings, count: int) -> list[CommandRefused]:
    async def enough() -> list[CommandRefused]:
        found = await read_all(settings, CommandRefused)
        return found if len(found) >= count else []

    return await until(enough, within_s=DEADLINE_S)


async def test_what_was_refused_while_control_was_away_is_reported_later(
    settings: Settings, publisher: Publisher
) -> None:
    async with control(settings) as api:
        started = await api.start(kb_name(), DEFINITION)
    await Played(settings, publisher, started).publish_raw("commands", started["job_id"], b"[]")
    async with control(settings):
        assert len(await _refusals(settings, 1)) == 1
    assert [event.action for event in await read_all(settings, CommandIssued)] == ["start", "restore"]


async def test_a_second_control_fences_the_first(settings: Settings, tmp_path: Path) -> None:
    kb = kb_name()
    first = replace(settings, http_port=free_port(), data_dir=tmp_path / "first")
    running = asyncio.create_task(service.main(first, asyncio.Event()))
    async with aiohttp.ClientSession() as session:
        old = Api(session, f"http://127.0.0.1:{first.http_port}")
        await ready(old, running)
        await old.ok("PUT", f"{API}/kb/{kb}", DEFINITION)
        async with control(settings) as new:
            status, problem = await old.call("POST", f"{API}/kb/{kb}/start")
            assert status == 503 and "took over" in problem["detail"]
            with pytest.raises(Fenced, match="took over"):
                await asyncio.wait_for(running, DEADLINE_S)
            assert (await new.start(kb))["generation"] == 1


async def test_what_becomes_of_tokens_is_told_once_over_restarts(settings: Settings) -> None:
    async def told(least: int) -> list[tuple[str, str]]:
        async def found() -> list[TokenChanged] | None:
            events = await read_all(settings, TokenChanged, settings.partitions)
            return events if len(events) >= least else None

        return [(each.name, each.action) for each in await until(found, what=f"{least} changes are told")]

    _, mine = create(settings.tokens, "me", "admin")
    async with control(settings):
        assert await told(1) == [("me", "created")]
        create(settings.tokens, "bot", "read", kbs=["docs"])
        await told(2)
    rotate(settings.tokens, "bot")
    revoke(settings.tokens, "bot")
    async with control(settings) as api:
        everything = [("me", "created"), ("bot", "created"), ("bot", "revoked")]
        assert await told(3) == everything

        async def answered() -> list[Json] | None:
            events: list[Json] = (await api.ok("GET", f"{API}/tokens/events", Authorization=f"Bearer {mine}"))["events"]
            return events if len(events) >= 3 else None

        listed = await until(answered, what="control has read its own words")
        assert [(each["value"]["name"], each["value"]["action"]) for each in listed] == everything
    async with control(settings):
        create(settings.tokens, "last", "read")
        assert await told(4) == [*everything, ("last", "created")]


async def test_stopping_pauses_running_jobs(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings, pause_on_stop=True) as api:
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await job.crawl("crawling", 1)
        await job.index("running", 1)
        await api.until(kb, "running")
        holding = asyncio.create_task(_hold_when_paused(settings, job))
    await holding
    async with control(settings) as api:
        answer = await api.until(kb, "paused")
        assert (answer["commanded_by"], answer["reason"]) == ("shutdown", "shutdown")


async def _hold_when_paused(settings: Settings, job: Played) -> None:
    async def paused() -> bool:
        return any(command.desired == "paused" for command in await read_all(settings, JobCommand))

    await until(paused, within_s=DEADLINE_S)
    await job.crawl("holding", 2)
    await job.index("holding", 2)


async def test_kafka_away_at_start_is_said(settings: Settings) -> None:
    away = replace(settings, kafka_bootstrap_servers=f"127.0.0.1:{free_port()}", http_port=free_port())
    stop = asyncio.Event()
    running = asyncio.create_task(service.main(away, stop))
    async with aiohttp.ClientSession() as session:
        api = Api(session, f"http://127.0.0.1:{away.http_port}")

        async def said() -> bool:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                status, problem = await api.call("GET", f"{API}/kb")
                return status == 503 and "Kafka is away" in problem["detail"]
            return False

        await until(said, within_s=40.0)
        assert (await api.call("GET", "/healthz"))[0] == 200
        assert (await api.call("GET", "/readyz"))[0] == 503
        stop.set()
        await asyncio.wait_for(running, DEADLINE_S)
