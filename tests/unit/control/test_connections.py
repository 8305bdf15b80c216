"""What comes over a bare socket: requests that are none, headers half sent, clients that hang up."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from control import connections
from control.engine import Engine
from control.http import LEFT, listen
from control.metrics import REQUESTS
from headrace.settings import Settings
from tests.support.waiting import until

API = "/api/ingestion"
SECRET = "hr_0123456789abcdef_" + "s" * 43
HOST = b"Host: 127.0.0.1\r\n"
BODY = HOST + b"Content-Type: application/json\r\n"


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Of a control that is ready and has read an empty log."""
    engine = Engine(replace(Settings.from_env({}), data_dir=tmp_path, http_port=0))
    await engine.projection.open()
    engine.unready = None
    runner = await listen(engine)
    yield runner.addresses[0][1]
    await runner.cleanup()
    await engine.stop()


async def answered(port: int, request: bytes, *, hang_up: bool = False) -> bytes:
    """All that comes until control closes; with `hang_up`, nothing is waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if hang_up:
        writer.close()
        return b""
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


def counted(route: str, code: int) -> float:
    """Requests that were answered so."""
    return sum(
        sample.value
        for metric in REQUESTS.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and (sample.labels["route"], sample.labels["code"]) == (route, str(code))
    )


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /x HTTP/1.1\r\n%sAuthorization: Bearer %s\x01\r\n\r\n" % (HOST, SECRET.encode()),
        b"GET /x HTTP/1.1\r\n%sCookie: headrace_session=%s; other=%s\r\n\r\n" % (HOST, SECRET.encode(), b"x" * 9_000),
        b"GET http://u:%s@[::1/ HTTP/1.1\r\n%s\r\n" % (SECRET.encode(), HOST),
        b"POST /x HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s" % (HOST, SECRET.encode()),
    ],
    ids=["header", "long", "url", "chunk"],
)
async def test_what_is_malformed_is_told_without_what_it_held(
    port: int, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    assert (await answered(port, request_)).startswith(b"HTTP/1.0 400 ")
    await answered(port, request_)
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in told] == ["malformed request from 127.0.0.1"], "once in a while"
    assert not told[0].exc_info and SECRET not in caplog.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000, b"invalid-json"),
        (b"Content-Length: 6\r\nContent-Encoding: gzip\r\n\r\nsecret", b"invalid-body"),
    ],
    ids=["deep", "not gzip"],
)
async def test_a_body_that_cant_be_read(port: int, caplog: pytest.LogCaptureFixture, body: bytes, code: bytes) -> None:
    found = await answered(
        port, b"POST %s/kb/docs/pause HTTP/1.1\r\nConnection: close\r\n%s%s" % (API.encode(), BODY, body)
    )
    assert found.startswith(b"HTTP/1.1 400 ") and code in found
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("origin", ["http://[", "http://a\u2100b", "http://x]", "\x80"])
async def test_an_origin_that_is_none_is_a_foreign_one(
    port: int, caplog: pytest.LogCaptureFixture, origin: str
) -> None:
    path = b"/x%0a2026-11-27%2012:00:00%20INFO%20forged"
    found = await answered(
        port, b"POST %s HTTP/1.1\r\n%sConnection: close\r\nOrigin: %s\r\n\r\n" % (path, HOST, origin.encode())
    )
    assert found.startswith(b"HTTP/1.1 403 ") and b"foreign-origin" in found
    assert not any("forged" in line for line in caplog.text.splitlines()), "nothing went wrong that the log need tell"


@pytest.mark.parametrize(
    ("call", "body", "times"),
    [
        ("GET /events", b"\r\n", 20),
        ("POST /sql", b"Content-Length: 20\r\n\r\n{", 2),
        ("POST /sql", b'Content-Length: 20\r\n\r\n{"query":"SELECT 1"}', 2),
    ],
    ids=["before the stream", "within the body", "before the answer"],
)
async def test_a_client_that_hangs_up_is_no_error_of_ours(
    port: int, caplog: pytest.LogCaptureFixture, call: str, body: bytes, times: int
) -> None:
    method, path = call.split()
    route = API + path

    def ended() -> float:
        return counted(route, LEFT) + counted(route, 200)

    before, failed = ended(), counted(route, 500)
    for _ in range(times):
        await answered(port, b"%s %s HTTP/1.1\r\n%s%s" % (method.encode(), route.encode(), BODY, body), hang_up=True)

    async def all_ended() -> bool:
        return ended() == before + times or counted(route, 500) > failed

    await until(all_ended, what="each is counted")
    assert counted(route, 500) == failed
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\n" + HOST])
async def test_a_connection_that_asks_nothing_is_closed(
    port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 0.05)
    assert await answered(port, sent) == b""


async def test_a_connection_that_has_asked_stays(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = b"GET /healthz HTTP/1.1\r\n%s\r\n" % HOST
    writer.write(request)
    assert b'"ok"' in await reader.readuntil(b"}")
    assert await answered(port, b"") == b"", "another's time is up by now"
    writer.write(request)
    assert b'"ok"' in await reader.readuntil(b"}")
    writer.close()
