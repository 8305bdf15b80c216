"""`dry_run`: an estimate by the producer's program, and nothing is written."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from control.engine import Engine
from control.estimates import Estimates
from control.http import application
from control.problems import Unavailable
from headrace.settings import Settings
from schemas.estimates import Estimate, EstimateRequest
from tests.fakes.site import FakeSite
from tests.unit.control.memory_log import DEFINITION, MemoryLog
from tests.unit.control.test_http import API


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=3, min_kb=4, max_kb=8) as running:
        yield running


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def client(tmp_path: Path, log: MemoryLog) -> AsyncIterator[Any]:
    engine = Engine(replace(Settings.from_env({}), data_dir=tmp_path))
    engine.unready, engine._books, engine._desk = None, log.books, log.desk
    async with TestClient(TestServer(application(engine))) as client:
        yield client
    await engine.stop()


def definition(site: FakeSite, **changed: Any) -> dict[str, Any]:
    return {"source": {"urls": [site.url], "allow_addresses": ["127.0.0.0/8"]}, **changed}


async def test_a_dry_run_tells_what_a_job_would_come_to(client: Any, log: MemoryLog, site: FakeSite) -> None:
    for body in (definition(site, dry_run=True), {"definition": definition(site), "dry_run": True}):
        answered = await client.post(f"{API}/kb/docs/start", json=body)
        answer = await answered.json()
        assert answered.status == 200, answer
        assert (answer["whole"], answer["pages"]["expected"], answer["usd"]["high"]) == (True, 3, 0)
    assert log.transactions == []


async def test_of_a_knowledge_base_that_is_defined(client: Any, log: MemoryLog, site: FakeSite) -> None:
    assert (await client.put(f"{API}/kb/docs", json=definition(site))).status == 200
    answered = await client.post(f"{API}/kb/docs/start", json={"dry_run": True})
    assert (answered.status, (await answered.json())["pages"]["expected"]) == (200, 3)
    assert len(log.transactions) == 1 and log.books.jobs("docs") == []


async def test_what_a_knowledge_base_holds_is_asked_for_where_there_may_be_something(
    client: Any, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[EstimateRequest] = []

    async def of(_: Estimates, request: EstimateRequest) -> Estimate:
        asked.append(request)
        return Estimate()

    monkeypatch.setattr(Estimates, "of", of)
    new = {"source": {"urls": ["http://site/"]}, "dry_run": True}
    assert (await client.post(f"{API}/kb/new/start", json=new)).status == 200
    await log.published()
    assert (await client.post(f"{API}/kb/docs/start", json={"dry_run": True, "sample": 5})).status == 200
    assert [(each.kb_id, each.sample) for each in asked] == [(None, 30), ("docs", 5)]


async def test_without_it_a_job_starts(client: Any, log: MemoryLog, site: FakeSite) -> None:
    answered = await client.post(f"{API}/kb/docs/start", json=definition(site, dry_run=False))
    assert answered.status == 202 and len(log.books.jobs("docs")) == 1
    assert not site.requests


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"dry_run": "yes"}, 422, "dry_run is true or false"),
        ({"dry_run": True, "sample": 0}, 422, "sample is a number of pages up to 1,000"),
        ({"dry_run": True, "sample": True}, 422, "sample is a number of pages"),
        ({"sample": 5}, 422, "goes with dry_run"),
        ({"dry_run": True, "chunking": {"max_tokens": 1}}, 422, "chunking.max_tokens"),
        ({"dry_run": True, "source": {"urls": ["http://127.0.0.1:1/"]}}, 422, "no page with content was found"),
    ],
)
async def test_what_can_t_be_estimated_says_why(
    client: Any, site: FakeSite, changed: Any, status: int, words: str
) -> None:
    answered = await client.post(f"{API}/kb/docs/start", json=definition(site) | changed)
    assert answered.status == status and words in (await answered.json())["detail"]


async def test_nothing_is_known_of_what_is_not_defined(client: Any) -> None:
    assert (await client.post(f"{API}/kb/docs/start", json={"dry_run": True})).status == 404


async def test_a_program_that_breaks_off_or_hangs_is_no_answer() -> None:
    with pytest.raises(Unavailable, match="broke off"):
        await Estimates("producer.no_such_program").of(EstimateRequest(definition=DEFINITION))
    with pytest.raises(Unavailable, match="there was no estimate within"):
        await Estimates("http.server", timeout_s=0.01).of(EstimateRequest(definition=DEFINITION))
