"""Dead letters over HTTP: what is listed, what a retry writes, and what a crash between its steps leaves."""

from typing import Any

import pytest

from control import retry
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from schemas.chunks import Chunk, RepairEnd
from schemas.events import Event, Place
from schemas.facts import DeadLetterRetried
from tests.integration.control_play import API, DEFINITION, Api, Json, Played, commit, control, kb_name
from tests.support.log import read_all
from tests.support.waiting import until


async def listed(api: Api, query: str = "", *, count: int) -> list[Json]:
    found: list[Json] = []

    async def so_many() -> bool:
        nonlocal found
        found = (await api.ok("GET", f"{API}/dead-letters{query}"))["dead_letters"]
        return len(found) == count

    await until(so_many)
    return found


async def retried(api: Api, **selection: Any) -> Json:
    return await api.ok("POST", f"{API}/dead-letters/retry", selection)


def written(place: Place) -> Json:
    return {"partition": place.partition, "offset": place.offset}


def path(place: Place) -> str:
    return f"{API}/dead-letters/{place.partition}/{place.offset}"


async def open_job(api: Api, settings: Settings, publisher: Publisher) -> Played:
    job = Played(settings, publisher, await api.start(kb_name(), DEFINITION))
    await job.crawl("crawling", 1)
    await job.index("running", 1)
    return job


async def test_a_list_by_kb_job_state_and_reason_page_by_page(settings: Settings, publisher: Publisher) -> None:
    async with control(settings) as api:
        one, two = [await open_job(api, settings, publisher) for _ in range(2)]
        places = [await one.refused_chunk(f"a{n}", at=n, reason=f"Reason {n}") for n in range(3)]
        await two.refused_chunk("b", at=7)
        everything = await listed(api, count=4)
        assert everything == sorted(everything, key=lambda e: (e["place"]["partition"], e["place"]["offset"]))
        kb, job_id = one.job["kb_id"], one.job["job_id"]
        first = (await listed(api, f"?kb={kb}", count=3))[0]
        assert (first["place"], first["origin"]) == (written(places[0]), written(Place(one.partition, 0)))
        assert (first["kb_id"], first["job_id"], first["chunk_id"]) == (kb, job_id, "a0")
        assert (first["state"], first["reason"], first["stage"]) == ("waiting", "Reason 0", "embed")
        assert len(await listed(api, f"?job={job_id}&reason=reason+2", count=1)) == 1
        assert await listed(api, "?state=retried", count=0) == []
        page = await api.ok("GET", f"{API}/dead-letters?kb={kb}&limit=2")
        assert [each["chunk_id"] for each in page["dead_letters"]] == ["a0", "a1"]
        rest = await api.ok("GET", f"{API}/dead-letters?kb={kb}&limit=2&after={page['next_after']}")
        assert ([each["chunk_id"] for each in rest["dead_letters"]], rest["next_after"]) == (["a2"], None)


async def test_the_record_as_it_came(settings: Settings, publisher: Publisher) -> None:
    async with control(settings) as api:
        job = await open_job(api, settings, publisher)
        chunk = await api.ok("GET", path(await job.refused_chunk("a", at=3)))
        assert (chunk["key"], chunk["value"]["text"], chunk["value_base64"]) == (job.job["job_id"], "a", None)
        assert chunk["headers"]["ce_type"] == "headrace.chunk.v1"
        assert chunk["reason"]["__connect.errors.exception.message"] == "the text is refused"
        assert chunk["reason"]["__connect.errors.offset"] == "3"
        garbage = await api.ok("GET", path(await job.dead_letter(Place(job.partition, 4), b"\xff{", [], "no JSON")))
        assert (garbage["value"], garbage["value_base64"]) == (None, "/3s=")
        for nowhere in ("0/999", "99/0", f"{2**70}/0"):
            assert (await api.call("GET", f"{API}/dead-letters/{nowhere}"))[0] in (404, 422)
        assert (await api.call("GET", f"{API}/dead-letters/x/1"))[0] == 422


async def test_a_retry_copies_each_letter_once_and_asks_for_one_proof(settings: Settings, publisher: Publisher) -> None:
    async with control(settings) as api:
        job = await open_job(api, settings, publisher)
        await job.page("https://example.org/a", "a0", "a1")
        places = [await job.refused_chunk(f"a{n}", at=n + 1) for n in range(2)]
        await job.outcomes(1, "a0", "a1", result="dead_lettered")
        await commit(settings, {job.partition: 3})
        await until(lambda: _failed(api, job, 2))
        answer = await retried(api, kb_id=job.job["kb_id"])
        assert (answer["retried"], answer["job_ids"], answer["not_retried"]) == (2, [job.job["job_id"]], [])
        again = await retried(api, places=[written(each) for each in places])
        assert (again["retried"], [each["code"] for each in again["not_retried"]]) == (0, ["already_retried"] * 2)
        assert (await retried(api, all=True))["retried"] == 0
        copies = await read_all(settings, Chunk)
        assert [(c.chunk_id, c.origin, c.retry_of) for c in copies] == [
            (f"a{n}", Place(job.partition, n + 1), places[n]) for n in range(2)
        ]
        assert len(await read_all(settings, RepairEnd)) == 1
        told = await read_all(settings, DeadLetterRetried)
        assert [(t.dead_letter, t.copy) for t in told] == [(places[n], Place(job.partition, n)) for n in range(2)]
        assert [each["state"] for each in await listed(api, count=2)] == ["retried", "retried"]
        await job.outcomes(5, "a0")
        await commit(settings, {job.partition: 6})
        await until(lambda: _failed(api, job, 1))
        assert [each["state"] for each in await listed(api, count=2)] == ["healed", "retried"]
        events = (await api.ok("GET", f"{API}/jobs/{job.job['job_id']}/events"))["events"]
        assert [event["type"] for event in events].count("dead_letter_retried") == 2


async def _failed(api: Api, job: Played, count: int) -> bool:
    metrics = (await api.status(job.job["kb_id"]))["metrics"]
    return bool(metrics["chunks_failed"] == count and metrics["chunks_processed"] == 2)


async def test_a_copy_that_fails_again_is_a_letter_that_waits(settings: Settings, publisher: Publisher) -> None:
    async with control(settings) as api:
        job = await open_job(api, settings, publisher)
        first = await job.refused_chunk("a", at=1)
        await listed(api, count=1)
        assert (await retried(api, places=[written(first)]))["retried"] == 1
        second = await job.refused_chunk("a", at=1, reason="refused again")
        (letter,) = await listed(api, "?state=waiting", count=1)
        assert (letter["place"], letter["reason"]) == (written(second), "refused again")
        old = await retried(api, places=[written(first)])
        assert [each["code"] for each in old["not_retried"]] == ["unknown"]
        assert (await retried(api, reason="AGAIN"))["retried"] == 1


async def test_what_can_t_be_retried_says_why(settings: Settings, publisher: Publisher) -> None:
    async with control(settings) as api:
        job = await open_job(api, settings, publisher)
        kb = job.job["kb_id"]
        garbage = await job.dead_letter(Place(job.partition, 0), b"{", [], "no JSON")
        old = await job.refused_chunk("old", at=1)
        await job.complete()
        await api.until(kb, "completed")
        newer = Played(settings, publisher, await api.start(kb))
        await newer.complete()
        await api.until(kb, "completed")
        last = await newer.refused_chunk("new", at=9)  # the two jobs may share a partition
        await listed(api, count=3)
        answer = await retried(api, all=True)
        why = {(e["place"]["partition"], e["place"]["offset"]): (e["code"], e["reason"]) for e in answer["not_retried"]}
        assert why[garbage.partition, garbage.offset][0] == "not_retryable"
        assert why[old.partition, old.offset][0] == "refused"
        assert "start a refresh instead" in why[old.partition, old.offset][1]
        assert (answer["retried"], answer["passed_over"]) == (1, 2)
        (copy,) = await read_all(settings, Chunk)
        assert copy.retry_of == last
        for wrong in ({}, {"all": True, "kb_id": kb}, {"places": [{"partition": 1}]}, {"placez": []}, {"all": 1}):
            assert (await api.call("POST", f"{API}/dead-letters/retry", wrong))[0] == 422, wrong
        assert (await api.call("POST", f"{API}/dead-letters/retry", {"kb_id": "nobody"}))[0] == 404
        assert (await api.call("POST", f"{API}/dead-letters/retry", {"job_id": "nobody"}))[0] == 404
        assert (await api.call("GET", f"{API}/dead-letters?state=lost"))[0] == 422
        assert (await api.call("GET", f"{API}/dead-letters?after=7"))[0] == 422


@pytest.mark.parametrize(
    ("breaks_at", "copies", "repairs"), [(Chunk, 1, 1), (RepairEnd, 2, 1), (DeadLetterRetried, 2, 2)]
)
async def test_a_crash_between_two_steps_leaves_a_letter_that_waits(
    settings: Settings, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, breaks_at: type[Event], copies: int,
    repairs: int,
) -> None:  # fmt: skip
    """The call dies as it comes to write `breaks_at`: the next control retries the letter, once.

    A copy that was indexed meanwhile makes no difference: its generation is not proven until a `repair_end` follows.
    """
    method = "publish_copy" if breaks_at is Chunk else "publish"
    publish = getattr(Publisher, method)

    async def breaking(self: Publisher, event: Event, *args: Any, **named: Any) -> Any:
        if isinstance(event, breaks_at) and event.job_id == job.job["job_id"]:  # type: ignore[attr-defined]
            raise RuntimeError("killed here")
        return await publish(self, event, *args, **named)

    async with control(settings) as api:
        job = await open_job(api, settings, publisher)
        place = await job.refused_chunk("a", at=1)
        await listed(api, count=1)
        with monkeypatch.context() as patched:
            patched.setattr(retry.Publisher, method, breaking)
            assert (await api.call("POST", f"{API}/dead-letters/retry", {"all": True}))[0] == 500
    if breaks_at is not Chunk:
        await job.outcomes(9, "a")
    async with control(settings) as api:
        assert (await listed(api, count=1))[0]["state"] == ("waiting" if breaks_at is Chunk else "healed")
        assert (await retried(api, all=True))["retried"] == 1
        assert (await retried(api, all=True))["retried"] == 0
    assert [c.retry_of for c in await read_all(settings, Chunk)] == [place] * copies
    assert len(await read_all(settings, RepairEnd)) == repairs


async def test_a_retry_that_was_answered_is_known_after_a_restart(settings: Settings, publisher: Publisher) -> None:
    async with control(settings) as api:
        job = await open_job(api, settings, publisher)
        await job.refused_chunk("a", at=1)
        await listed(api, count=1)
        assert (await retried(api, all=True))["retried"] == 1
    (settings.data_dir / "projection.duckdb").unlink()
    async with control(settings) as api:
        assert (await retried(api, all=True))["retried"] == 0
        assert (await listed(api, count=1))[0]["state"] == "retried"
