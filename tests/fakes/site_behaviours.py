"""What a page of `FakeSite` can do instead of being a page: `site.behave("/docs/", status(503))`."""

import asyncio
import os
import socket
import struct

from aiohttp import web

from tests.fakes.site import Behaviour

_BLOCK = b"<p>" + b"word " * 13_000 + b"</p>\n"


def status(code: int, *, retry_after: str | None = None, text: str = "not now") -> Behaviour:
    async def answer(_: web.Request) -> web.StreamResponse:
        headers = {"Retry-After": retry_after} if retry_after else {}
        return web.Response(status=code, headers=headers, text=text)

    return answer


def redirect(to: str, code: int = 301) -> Behaviour:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={"Location": to})

    return answer


def body(content: bytes, content_type: str) -> Behaviour:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content, headers={"Content-Type": content_type})

    return answer


def binary(content_type: str = "application/octet-stream") -> Behaviour:
    return body(os.urandom(1 << 16), content_type)


def binary_as_html() -> Behaviour:
    """Bytes of no text at all, under a lying Content-Type."""
    return body(bytes(range(256)) * 64, "text/html; charset=utf-8")


def broken_html() -> Behaviour:
    """Unclosed and crossed tags, stray brackets, a bad entity, a NUL; the word `survivor` is its text."""
    crossed = b"<html><body><div><p>one <b>survivor <i>two</b> three</i> < & &nosuch; \x00 "
    return body(crossed + b"<table><tr><td>cell<p>deep<h2>Head", "text/html; charset=utf-8")


def encoded(text: str, charset: str, *, declared: str | None = "header") -> Behaviour:
    """A page in `charset`, which is declared in the `header`, in a `meta` tag, or nowhere (None)."""
    meta = f'<meta charset="{charset}">' if declared == "meta" else ""
    main = f"<main><h1>{text}</h1><p>{text}</p></main>"
    html = f"<html><head>{meta}<title>{text}</title></head><body>{main}</body></html>"
    suffix = f"; charset={charset}" if declared == "header" else ""
    return body(html.encode(charset), "text/html" + suffix)


def huge(megabytes: int = 50) -> Behaviour:
    """An endless-looking page, streamed without a Content-Length."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html; charset=utf-8"})
        await response.prepare(request)
        await response.write(b"<html><body><main><h1>Huge</h1>")
        for _ in range(megabytes * (1 << 20) // len(_BLOCK)):
            await response.write(_BLOCK)
        await response.write_eof(b"</main></body></html>")
        return response

    return answer


def hang() -> Behaviour:
    """No answer until the client gives up."""

    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return answer


def drip(seconds_between_bytes: float) -> Behaviour:
    """Headers at once, then a byte now and then: a slow site that never quite times out on reads."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(b"x")
            await asyncio.sleep(seconds_between_bytes)
        return response

    return answer


def reset() -> Behaviour:
    """The connection is reset (RST) before an answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is not None:
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return web.Response(status=500)

    return answer
