"""The fetcher against a real HTTP server on a loopback socket."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.abc import ResolveResult

from producer.fetch import Fetcher, FetchError, Timeouts
from tests.fakes.resolver import FakeResolver

MIB = 1024 * 1024
OVER = web.AppKey("over", asyncio.Event)
LOOPBACK = ("127.0.0.0/8", "::1/128")
FAST = Timeouts(connect_s=2, read_s=0.3, total_s=3, grace_s=0.2, min_bytes_per_s=1_000)


async def echo(request: web.Request) -> web.Response:
    return web.json_response({"headers": dict(request.headers), "path": request.raw_path})


async def conditional(request: web.Request) -> web.Response:
    if request.headers.get("If-None-Match") == '"v1"':
        return web.Response(status=304, headers={"ETag": '"v1"'})
    headers = {"ETag": '"v1"', "Last-Modified": "Tue, 01 Sep 2026 00:00:00 GMT", "X-Robots-Tag": "noindex"}
    return web.Response(text="<p>hi</p>", content_type="text/html", headers=headers)


async def redirect(request: web.Request) -> web.Response:
    location = request.query.get("to")
    return web.Response(status=302, headers={"Location": location} if location is not None else {})


async def busy(request: web.Request) -> web.Response:
    return web.Response(status=503, headers={"Retry-After": "7"})


async def huge(request: web.Request) -> web.StreamResponse:
    """50 MB without a declared length."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        for _ in range(50):
            await response.write(b"x" * MIB)
    except ConnectionError:
        pass  # the client has cut it off, as it should
    return response


async def bomb(request: web.Request) -> web.Response:
    packed = gzip.compress(b"\0" * 100 * MIB, 1)
    return web.Response(body=packed, headers={"Content-Encoding": "gzip"})


async def encoded(request: web.Request) -> web.Response:
    text = b"hello " * 1000
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "raw": raw.compress(text) + raw.flush(),
        "members": gzip.compress(text[:600]) + gzip.compress(text[600:]),
        "short": gzip.compress(text)[:-20],
        "wrong": b"this is no gzip at all",
        "br": b"?",
    }
    name = request.query["as"]
    header = {"raw": "deflate", "br": "br", "deflate": "deflate"}.get(name, "gzip")
    return web.Response(body=bodies[name], headers={"Content-Encoding": header})


async def stall(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"a")
    await request.app[OVER].wait()
    return response


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while not request.app[OVER].is_set():
        try:
            await response.write(b"a")
            await asyncio.wait_for(request.app[OVER].wait(), 0.05)
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return response


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for n in range(100_000):
            writer.write(b"X-%d: %s\r\n" % (n, b"y" * 100))
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


@pytest_asyncio.fixture(scope="module")
async def site() -> AsyncIterator[str]:
    app = web.Application()
    app[OVER] = asyncio.Event()
    routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
        "echo": echo,
        "conditional": conditional,
        "redirect": redirect,
        "busy": busy,
        "huge": huge,
        "bomb": bomb,
        "encoded": encoded,
        "stall": stall,
        "drip": drip,
    }
    for name, handle in routes.items():
        app.router.add_get("/" + name, handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    app[OVER].set()
    await runner.cleanup()


@pytest_asyncio.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    async with Fetcher("Headrace/0.1 (+https://headrace.example)", allow_addresses=LOOPBACK, timeouts=FAST) as one:
        yield one


async def failure(fetcher: Fetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetcher.fetch(url)
    return caught.value


async def test_a_page_with_what_is_kept_of_its_headers(fetcher: Fetcher, site: str) -> None:
    result = await fetcher.fetch(site + "/conditional")
    assert (result.status, result.body, result.bytes_received) == (200, b"<p>hi</p>", 9)
    assert result.content_type == "text/html; charset=utf-8"
    assert (result.etag, result.x_robots_tag) == ('"v1"', "noindex")
    assert result.last_modified == "Tue, 01 Sep 2026 00:00:00 GMT"
    assert result.duration_ms > 0


async def test_validators_make_the_request_conditional(fetcher: Fetcher, site: str) -> None:
    result = await fetcher.fetch(site + "/conditional", etag='"v1"', last_modified="Tue, 01 Sep 2026 00:00:00 GMT")
    assert (result.status, result.body) == (304, b"")


async def test_the_user_agent_is_honest_and_the_path_goes_out_as_it_is(fetcher: Fetcher, site: str) -> None:
    body = (await fetcher.fetch(site + "/echo?q=%2F%7e+x")).body.decode()
    assert "Headrace/0.1 (+https://headrace.example)" in body
    assert "/echo?q=%2F%7e+x" in body


async def test_error_statuses_are_answers(fetcher: Fetcher, site: str) -> None:
    assert (await fetcher.fetch(site + "/nowhere")).status == 404
    result = await fetcher.fetch(site + "/busy")
    assert (result.status, result.retry_after_s) == (503, 7.0)


async def test_redirects_are_reported_not_followed(fetcher: Fetcher, site: str) -> None:
    result = await fetcher.fetch(site + "/redirect?to=../x%23part")
    assert (result.status, result.redirect_to, result.body) == (302, site + "/x", b"")
    for query in ("", "?to=javascript:alert(1)", "?to=http://u:p@h.example/"):
        error = await failure(fetcher, site + "/redirect" + query)
        assert (error.kind, error.transient) == ("bad_redirect", False)


@pytest.mark.parametrize("path", ["/huge", "/bomb"])
async def test_a_body_over_the_limit_is_cut_off(fetcher: Fetcher, site: str, path: str) -> None:
    error = await failure(fetcher, site + path)
    assert (error.kind, error.transient) == ("too_large", False)


async def test_truncation_keeps_the_beginning(fetcher: Fetcher, site: str) -> None:
    result = await fetcher.fetch(site + "/bomb", max_bytes=1000, truncate=True)
    assert (result.body, result.truncated) == (b"\0" * 1000, True)


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw", "members"])
async def test_encodings(fetcher: Fetcher, site: str, name: str) -> None:
    result = await fetcher.fetch(f"{site}/encoded?as={name}")
    assert result.body == b"hello " * 1000
    assert result.bytes_received < 200


@pytest.mark.parametrize("name", ["short", "wrong", "br"])
async def test_bodies_that_do_not_fit_their_encoding(fetcher: Fetcher, site: str, name: str) -> None:
    assert (await failure(fetcher, f"{site}/encoded?as={name}")).kind == "protocol"


async def test_a_stalled_body_times_out(fetcher: Fetcher, site: str) -> None:
    error = await failure(fetcher, site + "/stall")
    assert (error.kind, error.transient) == ("timeout", True)


async def test_a_dripping_body_is_too_slow(fetcher: Fetcher, site: str) -> None:
    error = await failure(fetcher, site + "/drip")
    assert (error.kind, error.transient) == ("too_slow", True)


async def test_endless_headers_end(fetcher: Fetcher) -> None:
    server = await asyncio.start_server(endless_headers, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(fetcher, f"http://127.0.0.1:{port}/")
    assert error.kind in ("protocol", "timeout", "connect")


async def test_what_speaks_no_http(fetcher: Fetcher) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await failure(fetcher, f"http://127.0.0.1:{port}/")).kind == "protocol"
        assert (await failure(fetcher, f"https://127.0.0.1:{port}/")).kind in ("tls", "connect")


async def test_a_closed_port(fetcher: Fetcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await failure(fetcher, f"http://127.0.0.1:{port}/")
    assert (error.kind, error.transient) == ("connect", True)


async def test_an_unknown_name() -> None:
    class Nowhere(FakeResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with Fetcher("T/1", resolver=Nowhere([])) as fetcher:
        error = await failure(fetcher, "http://nowhere.example/")
    assert (error.kind, error.transient) == ("dns", False)
