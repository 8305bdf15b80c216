"""Who may call what: the table of roles whole, scopes, logins, limits, and a file of tokens that changes meanwhile."""

import asyncio
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientError, ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

from control.access import GATE, REFUSED_COSTS
from control.api import ROUTES
from control.engine import Engine
from control.http import ENGINE, application, check_host
from control.limits import Limits
from control.openapi import document
from control.problems import Unavailable
from control.roles import NEEDS
from control.seats import Seats
from control.sessions import COOKIE, LASTS_S, MAX_SESSIONS, Sessions
from control.watch import Gone
from headrace.client import ControlClient, ControlProblem
from headrace.settings import InvalidSetting, Secret, Settings
from headrace.tokens import ROLES, create, digest_of, new_secret, revoke, rotate, written
from schemas.events import Place
from schemas.facts import DeadLettered
from schemas.identity import new_job_id
from tests.support.waiting import until
from tests.unit.control.memory_log import MemoryLog
from tests.unit.control.test_folds import Filed, records, settled

API = "/api/ingestion"
Client = TestClient[Any, Any]
REFUSED = {401, 403, 429}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings.from_env({}), data_dir=tmp_path, http_rate=0)


@pytest.fixture
async def log(settings: Settings) -> MemoryLog:
    log = MemoryLog()
    for kb_id in ("docs", "wiki"):
        await log.published(kb_id)
    return log


@pytest.fixture
async def engine(settings: Settings, log: MemoryLog) -> AsyncIterator[Engine]:
    """One that has read a log with two knowledge bases; of each, a dead letter and a call that was paid for."""
    jobs = {kb_id: log.books.jobs(kb_id)[0].job_id for kb_id in ("docs", "wiki")}
    filed = Filed(settings.data_dir / "projection.duckdb")
    letters = [dead_letter(job_id, n) for n, job_id in enumerate([*jobs.values(), "unreadable"])]
    calls = [settled(kb_id, kb_id=kb_id, job_id=job_id) for kb_id, job_id in jobs.items()]
    filed.apply(records("events", 0, [*letters, *calls]))
    filed.file.close()
    engine = Engine(settings)
    await engine.projection.open()
    engine._books = engine.snapshots._books = log.books
    engine._desk, engine.unready = log.desk, None
    yield engine
    engine._books = Engine(settings)._books
    await engine.stop()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(engine))) as client:
        yield client


def dead_letter(job_id: str, n: int) -> DeadLettered:
    return DeadLettered(
        job_id=job_id, chunk_id=f"c{n}", record_key=job_id, topic="chunks", place=Place(0, n), dead_letter=Place(0, n),
        stage="embed", reason="400", dead_lettered_at="t",
    )  # fmt: skip


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def behind(proxies: str, settings: Settings) -> Settings:
    return replace(settings, http_proxies=Settings.from_env({"HEADRACE_HTTP_PROXIES": proxies}).http_proxies)


def path_of(route: str, log: MemoryLog) -> tuple[str, str]:
    """Method and a path of that form, of the knowledge base `docs`."""
    method, path = route.split(" ")
    job = log.books.jobs("docs")[0].job_id
    given = {"kb": "docs", "job": job, "host": "example.org", "partition": "0", "offset": "0", "name": "app.js"}
    return method, re.sub(r"{(\w+)}", lambda name: given[name[1]], path)


def test_each_route_has_a_role_and_each_role_a_route(engine: Engine) -> None:
    served = {
        f"{route.method} {route.resource.canonical}"
        for route in application(engine).router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    assert set(NEEDS) == served
    assert all(f"{route.method} {route.path}" in NEEDS for route in ROUTES)


def test_what_changes_something_takes_more_than_reading() -> None:
    readers = {route for route, need in NEEDS.items() if need.role in (None, "read")}
    writes = {route for route in readers if not route.startswith("GET ")}
    assert writes == {f"POST {API}/kb/{{kb}}/search", f"POST {API}/sql", f"POST {API}/login", f"POST {API}/logout"}
    unasked = {route for route, need in NEEDS.items() if need.role is None}
    page = {"GET /", "GET /dashboard/{name}"}
    assert unasked == {"GET /openapi.json", "GET /healthz", "GET /readyz", f"POST {API}/logout", *page}
    for route, need in NEEDS.items():
        assert (need.bound == "path") == ("{kb}" in route or "{job}" in route), route


@pytest.mark.parametrize("route", NEEDS)
async def test_each_route_by_each_role(client: Client, settings: Settings, log: MemoryLog, route: str) -> None:
    texts = {role: create(settings.tokens, role, role)[1] for role in ROLES}
    method, path = path_of(route, log)
    need = NEEDS[route]
    without = await client.request(method, path)
    assert (without.status == 401) == (need.role is not None)
    if need.role is None:
        return
    assert without.headers["WWW-Authenticate"].startswith("Bearer")
    for role, text in texts.items():
        enough = ROLES.index(role) >= ROLES.index(need.role)
        if enough and method != "GET":
            continue  # it would do it; what is allowed is shown by `test_what_a_role_may_it_does`
        answer = await client.request(method, path, headers=bearer(text))
        assert (answer.status not in REFUSED) == enough, (role, answer.status, await answer.text())


@pytest.mark.parametrize("route", [route for route, need in NEEDS.items() if need.bound == "path"])
async def test_each_route_out_of_scope(client: Client, settings: Settings, log: MemoryLog, route: str) -> None:
    _, text = create(settings.tokens, "other", "admin", kbs=["wiki", "team-*"])
    method, path = path_of(route, log)
    before = len(log.committed)
    answer = await client.request(method, path, headers=bearer(text))
    problem = await answer.json(content_type=None)
    assert answer.status == (403 if "/kb/" in path else 404), problem
    assert len(log.committed) == before
    if answer.status == 404:
        unknown = await client.request(
            method, path.replace(log.books.jobs("docs")[0].job_id, new_job_id()), headers=bearer(text)
        )
        assert unknown.status == 404 and (await unknown.json(content_type=None))["type"] == problem["type"]


async def test_lists_hold_what_is_in_scope(client: Client, settings: Settings, log: MemoryLog) -> None:
    _, text = create(settings.tokens, "wiki-bot", "operate", kbs=["wiki"])
    _, whole = create(settings.tokens, "all", "operate")

    async def get(path: str, token: str) -> Any:
        return await (await client.get(f"{API}{path}", headers=bearer(token))).json(content_type=None)

    assert [kb["kb_id"] for kb in (await get("/kb", text))["kbs"]] == ["wiki"]
    assert [kb["kb_id"] for kb in (await get("/kb", whole))["kbs"]] == ["docs", "wiki"]
    docs = log.books.jobs("docs")[0].job_id
    assert [each["kb_id"] for each in (await get("/dead-letters", text))["dead_letters"]] == ["wiki"]
    assert [each["kb_id"] for each in (await get("/dead-letters", whole))["dead_letters"]] == ["docs", "wiki", None]
    assert (await get("/dead-letters?kb=docs", text))["status"] == 403
    assert (await get(f"/dead-letters?job={docs}", text))["status"] == 404
    assert [(await get(f"/dead-letters/0/{offset}", text))["status"] for offset in (0, 2, 9)] == [404] * 3
    cost, all_cost = await get("/cost", text), await get("/cost", whole)
    assert [each["kb_id"] for each in cost["kbs"]] == ["wiki"]
    assert 0 < cost["tokens_embedded"] < all_cost["tokens_embedded"]
    assert sum(each["tokens_embedded"] for each in cost["days"]) == cost["tokens_embedded"]
    assert (await client.get("/metrics", headers=bearer(text))).status == 403
    assert (await client.get("/metrics", headers=bearer(whole))).status == 200


async def test_what_a_role_may_it_does_and_its_name_stands_in_the_log(
    client: Client, settings: Settings, log: MemoryLog
) -> None:
    _, operator = create(settings.tokens, "night-shift", "operate", kbs=["docs"])
    _, admin = create(settings.tokens, "me", "admin")
    started = await client.post(f"{API}/kb/docs/start", headers=bearer(operator))
    assert started.status == 202
    assert log.books.jobs("docs")[0].issued_by == "token:night-shift"
    log.active.add(log.books.jobs("docs")[0].job_id)
    paused = await client.post(f"{API}/kb/docs/pause", json={"reason": "shutdown"}, headers=bearer(operator))
    assert paused.status == 202
    assert log.books.jobs("docs")[0].issued_by == "token:night-shift", "only who started control says shutdown"
    defined = {"source": {"urls": ["https://example.org/other/"]}}
    refused = await client.post(f"{API}/kb/docs/start", json=defined, headers=bearer(operator))
    assert refused.status == 403 and "role admin" in (await refused.json(content_type=None))["detail"]
    assert (await client.put(f"{API}/kb/new", json=defined, headers=bearer(admin))).status == 200
    assert log.kb("new").updated_by == "token:me"


async def test_without_tokens_nobody_is_asked_and_the_first_closes_the_door(
    client: Client, settings: Settings, log: MemoryLog
) -> None:
    assert (await client.get(f"{API}/kb")).status == 200
    open_to_all = await (await client.get(f"{API}/whoami")).json()
    assert (open_to_all["token"], open_to_all["role"]) == (None, "admin")
    assert (await client.post(f"{API}/login")).cookies == {}
    _, text = create(settings.tokens, "me", "read")
    assert (await client.get(f"{API}/kb")).status == 401
    assert (await client.get(f"{API}/kb", headers=bearer(text))).status == 200
    settings.tokens.unlink()
    assert (await client.get(f"{API}/kb")).status == 401, "a file that vanishes opens nothing"
    assert (await client.get(f"{API}/kb", headers=bearer(text))).status == 401


async def test_a_change_of_the_file_counts_at_once(client: Client, settings: Settings) -> None:
    _, first = create(settings.tokens, "me", "read")

    async def status(text: str) -> int:
        return (await client.get(f"{API}/kb", headers=bearer(text))).status

    assert await status(first) == 200
    _, second = rotate(settings.tokens, "me")
    assert (await status(first), await status(second)) == (401, 200)
    good = settings.tokens.read_text()
    settings.tokens.write_text(good + "oops")
    assert await status(second) == 200, "half a file changes nothing"
    settings.tokens.write_text(good)
    revoke(settings.tokens, "me")
    assert await status(second) == 401


async def test_a_watcher_sees_its_scope_until_its_token_ends(
    client: Client, engine: Engine, settings: Settings
) -> None:
    _, text = create(settings.tokens, "me", "read", kbs=["wiki"])
    assert (await client.get(f"{API}/events?kb=docs", headers=bearer(text))).status == 403
    for kb_id in ("docs", "wiki"):
        engine.hub.tell("deleted", kb_id, Gone(kb_id))
        engine.hub.tell("kb", kb_id, Gone(kb_id))
    async with client.get(f"{API}/events", headers=bearer(text)) as stream:
        told = b""
        while b"wiki" not in told:
            told += await asyncio.wait_for(stream.content.readany(), 30)
        assert b"docs" not in told
        revoke(settings.tokens, "me")
        engine.hub.tell("deleted", "wiki", Gone("wiki"))
        rest = await asyncio.wait_for(stream.content.read(), 30)
        assert b"deleted" not in rest, "the stream ends in place of what happens after"


async def _log_out(client: Client, engine: Engine, settings: Settings, value: str) -> None:
    own = {"Cookie": f"{COOKIE}={value}", "Origin": str(client.make_url("/")).rstrip("/")}
    assert (await client.post(f"{API}/logout", headers=own)).status == 200


async def _run_out(client: Client, engine: Engine, settings: Settings, value: str) -> None:
    sessions = client.server.app[GATE].sessions  # type: ignore[attr-defined]
    sessions._clock = lambda: time.monotonic() + LASTS_S


async def _narrow(client: Client, engine: Engine, settings: Settings, value: str) -> None:
    settings.tokens.write_text(settings.tokens.read_text().replace('"wiki"', '"docs"'))


async def _lower(client: Client, engine: Engine, settings: Settings, value: str) -> None:
    settings.tokens.write_text(settings.tokens.read_text().replace('"operate"', '"read"'))


@pytest.mark.parametrize("end", [_log_out, _run_out, _narrow, _lower])
async def test_a_stream_ends_with_what_opened_it(
    client: Client, engine: Engine, settings: Settings, end: Callable[..., Awaitable[None]]
) -> None:
    _, text = create(settings.tokens, "me", "operate", kbs=["wiki"])
    value = (await client.post(f"{API}/login", headers=bearer(text))).cookies[COOKIE].value
    client.session.cookie_jar.clear()
    async with client.get(f"{API}/events", headers={"Cookie": f"{COOKIE}={value}"}) as stream:
        told = b""
        while b"reset" not in told:
            told += await asyncio.wait_for(stream.content.readany(), 30)
        await end(client, engine, settings, value)
        engine.hub.tell("kb", "wiki", Gone("wiki"))
        assert b"wiki" not in await asyncio.wait_for(stream.content.read(), 30)


async def test_an_answer_to_sql_ends_with_its_token(client: Client, settings: Settings) -> None:
    _, text = create(settings.tokens, "me", "read")
    wide = {"query": "SELECT repeat('x', 1000000) FROM range(14)"}  # more than buffers on the way have room for
    response = await client.post(f"{API}/sql", json=wide, headers=bearer(text), read_bufsize=1024)
    assert response.status == 200
    revoke(settings.tokens, "me")
    with pytest.raises(ClientError):
        await response.read()


@pytest.mark.parametrize(
    ("changed", "told"), [(("", ""), False), (('"wiki"', '"docs"'), True), (('"operate"', '"read"'), True)]
)
async def test_who_may_see_others_than_before_is_told_anew(
    client: Client, engine: Engine, settings: Settings, changed: tuple[str, str], told: bool
) -> None:
    _, text = create(settings.tokens, "me", "operate", kbs=["wiki"])
    for kb_id in ("docs", "wiki"):
        engine.hub.tell("kb", kb_id, Gone(kb_id))

    async def until(words: bytes, **headers: str) -> bytes:
        read = b""
        async with client.get(f"{API}/events", headers={**bearer(text), **headers}) as stream:
            while words not in read:
                read += await asyncio.wait_for(stream.content.readany(), 30)
        return read

    last_id = (await until(b'"wiki"}\n\n')).decode().rpartition("id: ")[2].partition("\n")[0]
    settings.tokens.write_text(settings.tokens.read_text().replace(*changed))
    for kb_id in ("docs", "wiki"):
        engine.hub.tell("status", kb_id, Gone(kb_id))
    resumed = await until(b"event: status", **{"Last-Event-ID": last_id})
    assert ((b"event: reset" in resumed), (b"event: kb" in resumed)) == (told, told)


async def test_a_token_has_its_share_of_the_streams(client: Client, settings: Settings) -> None:
    gate = client.server.app[GATE]  # type: ignore[attr-defined]
    gate.streams = Seats("streams of events", total=3, share=2)
    a, b = (bearer(create(settings.tokens, name, "read")[1]) for name in "ab")
    async with AsyncExitStack() as open_:

        async def opened(headers: dict[str, str]) -> ClientResponse:
            return await open_.enter_async_context(client.get(f"{API}/events", headers=headers))

        assert [(await opened(a)).status for _ in range(3)] == [200, 200, 429]
        assert [(await opened(b)).status for _ in range(2)] == [200, 503]
        refused = await opened(a)
        assert "its share; close one" in await refused.text() and refused.headers["Retry-After"]
    for end in ("a", "b"):
        revoke(settings.tokens, end)

    async def left() -> bool:
        return not gate.streams._taken

    engine_hub = client.server.app[ENGINE].hub  # type: ignore[attr-defined]
    engine_hub.tell("kb", "docs", Gone("docs"))
    await until(left, what="each gives its place back")


def test_where_nobody_is_asked_there_are_no_shares() -> None:
    seats = Seats("streams", total=2, share=1)
    with seats.taken(None), seats.taken(None), pytest.raises(Unavailable), seats.taken(None):
        pass
    with seats.taken(None):
        pass


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Basic eDp5", "x", "Bearer \xff\xfe", "Bearer hr_0_x"])
async def test_what_is_no_token_is_refused(client: Client, settings: Settings, header: str) -> None:
    create(settings.tokens, "me", "read")
    answer = await client.get(f"{API}/kb", headers={"Authorization": header})
    assert answer.status == 401
    assert (await answer.json(content_type=None))["type"].endswith("token-refused")


async def test_a_login_is_a_cookie_that_no_script_reads(client: Client, settings: Settings) -> None:
    _, text = create(settings.tokens, "me", "operate", kbs=["docs"])
    answer = await client.post(f"{API}/login", headers=bearer(text))
    assert (await answer.json())["token"] == "me"
    cookie = answer.cookies[COOKIE]
    assert cookie["httponly"] and cookie["samesite"] == "Strict" and cookie["path"] == API and not cookie["secure"]
    assert int(cookie["max-age"]) == LASTS_S
    assert cookie.value not in text and text not in str(cookie)
    client.session.cookie_jar.clear()
    encrypted = await client.post(f"{API}/login", headers=bearer(text) | {"X-Forwarded-Proto": "https"})
    assert encrypted.cookies[COOKIE]["secure"]


async def test_a_login_reads_and_writes_from_its_own_page_only(
    client: Client, settings: Settings, log: MemoryLog
) -> None:
    _, text = create(settings.tokens, "me", "operate")
    value = (await client.post(f"{API}/login", headers=bearer(text))).cookies[COOKIE].value
    client.session.cookie_jar.clear()
    cookie = {"Cookie": f"{COOKIE}={value}"}
    own = {"Origin": str(client.make_url("/")).rstrip("/")}
    assert (await client.get(f"{API}/whoami", headers=cookie)).status == 200
    start = f"{API}/kb/docs/start"
    assert (await client.post(start, headers=cookie)).status == 403, "a form of a page that hides where it is"
    assert (await client.post(start, headers=cookie | {"Origin": "https://evil.example"})).status == 403
    assert (await client.post(start, headers=cookie | {"Origin": "null"})).status == 403
    assert (await client.post(start, headers=cookie | own)).status == 202
    assert log.books.jobs("docs")[0].issued_by == "token:me"
    assert (await client.post(f"{API}/logout", headers=cookie | own)).status == 200
    assert (await client.get(f"{API}/whoami", headers=cookie)).status == 401, "the cookie is worth nothing after"


@pytest.mark.parametrize("end", [revoke, rotate])
async def test_a_login_ends_with_its_secret(client: Client, settings: Settings, end: Any) -> None:
    _, text = create(settings.tokens, "me", "read")
    await client.post(f"{API}/login", headers=bearer(text))
    assert [cookie.key for cookie in client.session.cookie_jar] == [COOKIE]
    value = next(iter(client.session.cookie_jar)).value
    cookie = {"Cookie": f"{COOKIE}={value}"}
    assert (await client.get(f"{API}/whoami", headers=cookie)).status == 200
    end(settings.tokens, "me")
    assert (await client.get(f"{API}/whoami", headers=cookie)).status == 401


def test_sessions_end_and_make_room() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    first = sessions.begin("id", b"digest")
    assert sessions.find(first) and not sessions.find(first + "x")
    for _ in range(MAX_SESSIONS):
        last = sessions.begin("id", b"digest")
    assert sessions.find(first) is None and sessions.find(last)
    now[0] = LASTS_S
    assert sessions.find(last) is None


def test_a_limit_fills_again() -> None:
    now = [0.0]
    limits = Limits(rate=2, burst=3, clock=lambda: now[0])
    assert [limits.take("a") for _ in range(4)] == [None, None, None, 0.5]
    assert limits.take("b") is None, "each has its own"
    now[0] = 0.5
    assert [limits.take("a") for _ in range(2)] == [None, 0.5]


async def test_an_address_without_a_token_is_slowed_down_and_one_with_is_not(
    engine: Engine, settings: Settings
) -> None:
    _, text = create(settings.tokens, "me", "read")
    app = application(engine)
    app[GATE]._of_addresses = Limits(rate=1, burst=2 * REFUSED_COSTS, clock=lambda: 0.0)
    async with TestClient(TestServer(app)) as client:
        guesses = [await client.get(f"{API}/kb", headers=bearer(f"hr_{n}")) for n in range(3)]
        assert [guess.status for guess in guesses] == [401, 401, 429]
        assert guesses[-1].headers["Retry-After"] == str(int(REFUSED_COSTS))
        assert (await client.get("/openapi.json")).status == 429
        assert (await client.get("/healthz")).status == 200
        assert (await client.get(f"{API}/kb", headers=bearer(text))).status == 200, (
            "with one, nobody else's guesses count"
        )


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ("", ["192.0.2.1"], "127.0.0.1"),
        ("10.0.0.0/8", ["192.0.2.1"], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["198.51.100.7", "192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1 10.0.0.0/8", ["198.51.100.7, 192.0.2.1,10.1.2.3"], "192.0.2.1"),
        ("127.0.0.1 10.0.0.0/8", ["192.0.2.1, ::ffff:10.1.2.3"], "192.0.2.1"),
        ("127.0.0.1 10.0.0.0/8", ["10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["192.0.2.1:1234"], "192.0.2.1"),
        ("127.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("127.0.0.1 10.0.0.0/8", ["[2001:db8::1]:443, 10.1.2.3:5"], "2001:db8::1"),
        ("127.0.0.1", ["192.0.2.1, me"], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
    ],
)
async def test_an_address_is_told_by_proxies_of_ours_alone(
    engine: Engine, settings: Settings, caplog: pytest.LogCaptureFixture, proxies: str, forwarded: list[str],
    address: str,
) -> None:  # fmt: skip
    """The last that a proxy of ours has put down; the ones before may be anybody's word."""
    engine.settings = behind(proxies, settings)
    create(settings.tokens, "me", "read")
    headers = CIMultiDict(("X-Forwarded-For", each) for each in forwarded)
    async with TestClient(TestServer(application(engine))) as client:
        assert (await client.get(f"{API}/kb", headers=headers)).status == 401
    assert f"GET {API}/kb from {address}: no token" in caplog.text


async def test_behind_a_proxy_each_has_a_limit_of_its_own(engine: Engine, settings: Settings) -> None:
    engine.settings = behind("127.0.0.1", settings)
    create(settings.tokens, "me", "read")
    app = application(engine)
    app[GATE]._of_addresses = Limits(rate=1, burst=2 * REFUSED_COSTS, clock=lambda: 0.0)
    async with TestClient(TestServer(app)) as client:

        async def status(path: str, address: str) -> int:
            return (await client.get(path, headers={"X-Forwarded-For": address})).status

        assert [await status(f"{API}/kb", "192.0.2.1") for _ in range(3)] == [401, 401, 429]
        assert [await status("/", "192.0.2.1"), await status("/", "192.0.2.2")] == [429, 200]


async def test_a_token_has_a_rate_and_nobody_has_where_nobody_is_asked(engine: Engine, settings: Settings) -> None:
    engine.settings = replace(settings, http_rate=1)
    app = application(engine)
    assert app[GATE]._of_tokens is not None
    app[GATE]._of_tokens = Limits(rate=1, burst=2, clock=lambda: 0.0)
    async with TestClient(TestServer(app)) as client:
        assert {(await client.get(f"{API}/kb")).status for _ in range(3)} == {200}
        texts = [create(settings.tokens, name, "read")[1] for name in ("a", "b")]
        statuses = [[(await client.get(f"{API}/kb", headers=bearer(text))).status for _ in range(3)] for text in texts]
        assert statuses == [[200, 200, 429]] * 2


async def test_the_command_lines_client_shows_its_token(client: Client, settings: Settings) -> None:
    _, text = create(settings.tokens, "me", "read")
    url = str(client.make_url("/"))
    with pytest.raises(ControlProblem, match="a token is asked for") as refused:
        await asyncio.to_thread(ControlClient(url).kbs)
    assert (refused.value.status, refused.value.code) == (401, "token-missing")
    known = await asyncio.to_thread(ControlClient(url, token=Secret(text)).kbs)
    assert [kb["kb_id"] for kb in known] == ["docs", "wiki"]


async def test_no_secret_reaches_the_log(client: Client, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, text = create(settings.tokens, "me", "read")
    _, gone = create(settings.tokens, "gone", "read")
    revoke(settings.tokens, "gone")
    value = (await client.post(f"{API}/login", headers=bearer(text))).cookies[COOKIE].value
    answer = await client.get(f"{API}/kb/%0Afake", headers=bearer(gone))
    assert answer.status == 401 and gone not in await answer.text()
    secrets = [each.split("_", 2)[2] for each in (text, gone)] + [value]
    assert "no token that is taken" in caplog.text
    assert not any(secret in caplog.text for secret in secrets)
    assert "\nfake" not in caplog.text


async def test_who_started_control_may_stop_it(settings: Settings, log: MemoryLog) -> None:
    token_id, secret = new_secret()
    engine = Engine(replace(settings, stack_token=((token_id, digest_of(secret).hex()),)))
    create(settings.tokens, "me", "read")
    async with TestClient(TestServer(application(engine))) as client:
        own = await client.get(f"{API}/whoami", headers=bearer(written(token_id, secret)))
        assert (own.status, (await own.json())["role"]) == (200, "admin")
    await engine.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org"])
def test_beyond_loopback_there_are_tokens(settings: Settings, host: str) -> None:
    settings = replace(settings, http_host=host)
    with pytest.raises(InvalidSetting, match="headrace token create NAME --role admin"):
        check_host(settings)
    create(settings.tokens, "me", "admin")
    check_host(settings)
    settings.tokens.write_text("{")
    with pytest.raises(InvalidSetting, match=r"tokens\.json can't be read"):
        check_host(settings)


def test_a_file_of_tokens_that_is_named_is_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"HEADRACE_TOKENS_FILE names .*nowhere"):
        check_host(replace(settings, tokens_file=tmp_path / "nowhere"))


def test_the_openapi_document_tells_who_may() -> None:
    paths = msgspec.json.decode(document())["paths"]
    for route in ROUTES:
        operation, need = paths[route.path][route.method.lower()], NEEDS[f"{route.method} {route.path}"]
        assert ("401" in operation["responses"]) == (need.role is not None)
        assert ("429" in operation["responses"]) == need.counted
        assert bool(operation["security"]) == (need.role is not None)


def test_control_ends_with_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {"HEADRACE_HTTP_HOST": "0.0.0.0", "HEADRACE_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "control"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("headrace: HEADRACE_HTTP_HOST is 0.0.0.0, beyond loopback")
    assert "headrace token create" in ended.stderr and "Traceback" not in ended.stderr
