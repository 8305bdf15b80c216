"""Nobody replaces or deletes a definition that they have not seen: If-Match and If-None-Match, over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from control.engine import Engine
from control.http import application
from headrace.settings import Settings
from tests.unit.control.memory_log import MemoryLog, nothing
from tests.unit.control.test_http import API

KB = f"{API}/kb/docs"
MINE: dict[str, Any] = {"source": {"urls": ["https://example.org/docs/"]}}
OTHER: dict[str, Any] = {"source": {"urls": ["https://example.org/docs/"], "max_pages": 5}, "crawl": {"delay_s": 1}}
WRITES = pytest.mark.parametrize(("method", "path", "done"), [("PUT", KB, 200), ("POST", f"{KB}/start", 202)])


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def client(tmp_path: Path, log: MemoryLog) -> AsyncIterator[TestClient[Any, Any]]:
    engine = Engine(replace(Settings.from_env({}), data_dir=tmp_path))
    engine.unready, engine._books, engine._desk = None, log.books, log.desk
    async with TestClient(TestServer(application(engine))) as client:
        yield client
    await engine.stop()


async def _etag(client: Any) -> str:
    answer = await client.get(KB)
    assert answer.headers["ETag"] == (await answer.json())["etag"]
    return str(answer.headers["ETag"])


async def _refused(response: Any, code: str, *says: str) -> None:
    problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["type"]) == (412, f"urn:headrace:problem:{code}"), problem
    assert all(words in problem["detail"] for words in says), problem


@WRITES
async def test_a_new_one_replaces_none(client: Any, log: MemoryLog, method: str, path: str, done: int) -> None:
    only = {"If-None-Match": "*"}
    assert (await client.request(method, path, json=MINE, headers=only)).status == done
    before = log.committed[:]
    refused = await client.request(method, path, json=OTHER, headers=only)
    await _refused(
        refused, "kb-exists", "'docs' already, of https://example.org/docs/",
        "differs from yours in source.max_pages, crawl.delay_s; ", await _etag(client),
    )  # fmt: skip
    again = await client.request(method, path, json=MINE, headers=only)
    await _refused(again, "kb-exists", "by the same definition as yours")
    assert log.committed == before, "nothing is written"
    await log.desk.delete("docs", by="t", first=nothing, drop=nothing)
    assert (await client.request(method, path, json=OTHER, headers=only)).status == done, "a deleted one is none"


@WRITES
async def test_what_was_changed_meanwhile_is_not_replaced(
    client: Any, log: MemoryLog, method: str, path: str, done: int
) -> None:
    seen = (await client.put(KB, json=MINE)).headers["ETag"]
    changed = (await client.put(KB, json=OTHER, headers={"If-Match": seen})).headers["ETag"]
    assert changed != seen
    before = log.committed[:]
    mine = await client.request(method, path, json=MINE, headers={"If-Match": seen})
    await _refused(mine, "kb-changed", "changed meanwhile, and differs from yours in source.max_pages, crawl.delay_s")
    weak = await client.request(method, path, json=MINE, headers={"If-Match": f"W/{changed}"})
    await _refused(weak, "kb-changed")
    assert log.committed == before, "nothing is written"
    several = {"If-Match": f'"other", {changed}'}
    assert (await client.request(method, path, json=MINE, headers=several)).status == done
    assert await _etag(client) == seen, "equal definitions, equal tags"


@WRITES
async def test_what_is_not_there_matches_nothing(client: Any, method: str, path: str, done: int) -> None:
    for tag in ("*", '"some"'):
        await _refused(await client.request(method, path, json=MINE, headers={"If-Match": tag}), "kb-missing")
    assert (await client.request(method, path, json=MINE, headers={"If-None-Match": '"some"'})).status == done
    assert (await client.request(method, path, json=MINE, headers={"If-Match": "*"})).status == done
    refused = await client.request(method, path, json=MINE, headers={"If-None-Match": f"W/{await _etag(client)}"})
    await _refused(refused, "kb-exists")


@WRITES
async def test_without_a_precondition_the_last_word_counts(client: Any, method: str, path: str, done: int) -> None:
    for definition in (MINE, OTHER):
        assert (await client.request(method, path, json=definition)).status == done


async def test_a_job_leaves_the_tag_alone(client: Any) -> None:
    seen = (await client.put(KB, json=MINE)).headers["ETag"]
    assert (await client.post(f"{KB}/start")).status == 202
    assert await _etag(client) == seen
    assert (await client.put(KB, json=OTHER, headers={"If-Match": seen})).status == 200


async def test_a_repeated_start_is_answered_as_the_first(client: Any) -> None:
    only = {"If-None-Match": "*", "Idempotency-Key": "once"}
    first = await client.post(f"{KB}/start", json=MINE, headers=only)
    again = await client.post(f"{KB}/start", json=MINE, headers=only)
    assert (first.status, again.status) == (202, 202)
    assert await first.json() == await again.json()


async def test_an_estimate_says_what_the_start_would(client: Any) -> None:
    await client.put(KB, json=MINE)
    refused = await client.post(f"{KB}/start", json={**OTHER, "dry_run": True}, headers={"If-None-Match": "*"})
    await _refused(refused, "kb-exists")


@WRITES
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize(
    "value", ["", "docs", "*, *", "W/*", '"x", *', '*, "x"', '"x", docs', '"x" "y"', '"x", "y', '"a b"', 'w/"x"']
)
async def test_what_can_t_be_read_lets_nothing_through(
    client: Any, log: MemoryLog, method: str, path: str, done: int, name: str, value: str
) -> None:
    refused = await client.request(method, path, json=MINE, headers={name: value})
    assert refused.status == 422 and "write * or an ETag in its quotes" in (await refused.json())["detail"]
    assert log.committed == []


@pytest.mark.parametrize(("second", "status"), [("*", 422), ("docs", 422), (None, 412)])
async def test_each_line_of_a_header_counts(client: Any, second: str | None, status: int) -> None:
    await client.put(KB, json=MINE)
    lines = [("If-None-Match", '"some"'), ("If-None-Match", second or await _etag(client))]
    assert (await client.put(KB, json=OTHER, headers=lines)).status == status


async def test_a_star_in_quotes_is_a_tag_like_any_other(client: Any) -> None:
    await client.put(KB, json=MINE)
    await _refused(await client.put(KB, json=OTHER, headers={"If-Match": '"*"'}), "kb-changed")
    assert (await client.put(KB, json=OTHER, headers={"If-None-Match": '"*"'})).status == 200


async def test_what_was_changed_meanwhile_is_not_deleted(client: Any, log: MemoryLog) -> None:
    assert (await client.delete(KB, headers={"If-Match": "*"})).status == 404
    seen = (await client.put(KB, json=MINE)).headers["ETag"]
    changed = {"If-Match": (await client.put(KB, json=OTHER)).headers["ETag"]}
    before = log.committed[:]
    await _refused(await client.delete(KB, headers={"If-Match": seen}), "kb-changed", "was changed meanwhile; GET it")
    assert (await client.delete(KB, headers={"If-Match": "docs"})).status == 422
    assert log.committed == before, "nothing is written"
    assert (await client.delete(KB, headers=changed)).status == 200 and log.kb().deleted
    assert (await client.delete(KB, headers=changed)).status == 200, "a repetition finishes what broke off"


async def test_the_refusal_of_many_urls_is_short(client: Any) -> None:
    await client.put(KB, json={"source": {"urls": [f"https://example.org/{n}/" for n in range(1_000)]}})
    refused = await client.put(KB, json=MINE, headers={"If-None-Match": "*"})
    assert len(await refused.text()) < 1_000
