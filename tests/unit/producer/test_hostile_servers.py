"""Servers made to hold a crawler up, fill it or lead it astray. Each answer, byte for byte, ends within its limits.

What came of it is an answer or a FetchError of one kind; memory grows by no more than a body's limit and some.
"""

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from producer.fetch import MAX_BODY_BYTES, MAX_OVERHEAD_BYTES, READ_BYTES, Fetcher, FetchError, Timeouts
from tests.support.memory import growth

MB = 1_000_000
LIMITS = Timeouts(connect_s=2, read_s=0.6, total_s=2.5, grace_s=0.3, min_bytes_per_s=2_000)
ENDS_WITHIN_S = 20.0
MAX_GROWTH_KIB = 64 * 1024

Writes = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


def says(*parts: bytes) -> Writes:
    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return write


def again(part: bytes, before: bytes = b"", *, times: int = 200_000, pause_s: float = 0.0) -> Writes:
    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        for _ in range(times):
            writer.write(part)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)

    return write


def and_waits(first: Writes) -> Writes:
    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await first(reader, writer)
        await reader.read()  # until the client has had enough

    return write


def with_body(body: bytes, *headers: bytes) -> Writes:
    return says(OK + b"".join(h + b"\r\n" for h in headers) + b"Content-Length: %d\r\n\r\n" % len(body), body)


def to(location: bytes) -> Writes:
    return says(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")


def bomb(wbits: int) -> bytes:
    """It unpacks to 300 MB. One block many times, since packing so much takes its time; so a gzip's checksum is wrong,
    which shows only at the end."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first, next_one = (packer.compress(b"\0" * MB) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + next_one * 299 + packer.flush()


GZIP, DEFLATE = b"Content-Encoding: gzip", b"Content-Encoding: deflate"

SERVERS: dict[str, tuple[Writes, str]] = {
    # What may come of it: where two are named, it depends on how fast the machine is.

    # slow
    "silent": (and_waits(says()), "timeout"),
    "half a status line": (and_waits(says(b"HTTP/1.1 20")), "timeout"),
    "headers that drip": (again(b"X: y\r\n", OK, times=1_000, pause_s=0.05), "timeout"),
    "a header that drips": (again(b"y", OK + b"X: ", times=1_000, pause_s=0.05), "timeout"),
    "a body that stalls": (and_waits(says(OK + b"Content-Length: 100\r\n\r\nabc")), "timeout"),
    "a body that drips": (again(b"y", OK + b"Content-Length: 9999\r\n\r\n", times=1_000, pause_s=0.05), "too_slow"),
    "chunks that drip": (again(b"1\r\ny\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n", pause_s=0.05), "too_slow"),
    "interim answers for ever": (again(b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.01), "timeout"),
    "early hints for ever": (again(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", pause_s=0.01), "timeout"),
    # endless
    "a status line without end": (again(b"y" * 1_000, b"HTTP/1.1 200 "), "protocol timeout"),
    "a header without end": (again(b"y" * 1_000, OK + b"X: "), "protocol timeout"),
    "a header's name without end": (again(b"y" * 1_000, OK), "protocol timeout"),
    "headers without end": (again(b"X-Y: " + b"z" * 900 + b"\r\n", OK), "protocol timeout"),
    "a body without end": (again(b"<p>" * 10_000, OK + b"\r\n"), "too_large timeout"),
    "chunks without end": (
        again(b"7530\r\n" + b"<p>" * 10_000 + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
        "too_large timeout",
    ),
    "a chunk's extension without end": (
        again(b"y" * 1_000, OK + b"Transfer-Encoding: chunked\r\n\r\n1;"),
        "protocol timeout",
    ),
    "trailers without end": (
        again(b"X: y\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"),
        "protocol timeout",
    ),
    "a declared terabyte": (says(OK + b"Content-Length: 1099511627776\r\n\r\n"), "too_large timeout"),
    # compressed
    "a gzip bomb": (with_body(bomb(31), GZIP), "too_large"),
    "a bomb within a bomb": (with_body(gzip.compress(bomb(31), 1), GZIP, b"Content-Encoding: gzip"), "answer"),
    "a deflate bomb": (with_body(bomb(15), DEFLATE), "too_large"),
    "many small members": (with_body(gzip.compress(b"") * 20_000, GZIP), "answer"),
    "a member after another": (with_body(gzip.compress(b"a" * MB) * 300, GZIP), "too_large"),
    "an encoding that was not asked for": (with_body(b"x", b"Content-Encoding: br"), "protocol"),
    "no gzip at all": (with_body(b"hello" * 100, GZIP), "protocol"),
    "half a gzip": (with_body(gzip.compress(b"hello" * 1_000)[:-12], GZIP), "protocol"),
    # lies
    "more than declared": (says(OK + b"Content-Length: 3\r\n\r\nabcdefgh"), "answer protocol"),
    "less than declared": (says(OK + b"Content-Length: 30\r\n\r\nabc"), "protocol"),
    "a negative length": (says(OK + b"Content-Length: -1\r\n\r\nabc"), "protocol"),
    "two lengths": (says(OK + b"Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc"), "protocol"),
    "a length and chunks": (
        says(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "protocol",
    ),
    "a chunk of no size": (says(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"), "protocol"),
    "a chunk of a huge size": (says(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nabc"), "protocol"),
    "another protocol": (says(b"220 smtp.example ESMTP\r\n"), "protocol"),
    "binary": (says(bytes(range(256)) * 50), "protocol"),
    "a status that is none": (says(b"HTTP/1.1 99999 Odd\r\n\r\n"), "protocol"),
    "nothing": (says(), "connect"),
    "a NUL in a header": (says(OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"), "protocol"),
    # astray
    "a redirect to nowhere": (says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), "bad_redirect"),
    "a redirect to a file": (to(b"file:///etc/passwd"), "bad_redirect"),
    "a redirect to ftp": (to(b"ftp://127.0.0.1/"), "bad_redirect"),
    "a redirect to a script": (to(b"javascript:alert(1)"), "bad_redirect"),
    "a redirect to data": (to(b"data:text/html,hi"), "bad_redirect"),
    "a redirect with a password": (to(b"http://user:secret@127.0.0.1/"), "bad_redirect"),
    "a redirect to a long URL": (to(b"/" + b"a" * 5_000), "bad_redirect"),
    "a redirect as long as a book": (to(b"/" + b"a" * 100_000), "protocol"),
    "a redirect to itself": (to(b"/"), "answer"),
    "a redirect over to another host": (to(b"//other.example/"), "answer"),
    "a redirect with a body": (
        says(b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 9999999\r\n\r\n", b"z" * MB), "answer",
    ),
}  # fmt: skip


@asynccontextmanager
async def serving(writes: Writes) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await writes(reader, writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize("name", SERVERS)
async def test_a_hostile_server_ends_within_its_limits(name: str) -> None:
    writes, expected = SERVERS[name]
    started = time.monotonic()
    with growth() as grown:
        came = await outcome(writes)
    assert came in expected.split()
    assert time.monotonic() - started < ENDS_WITHIN_S
    assert grown.kib < MAX_GROWTH_KIB


async def outcome(writes: Writes) -> str:
    async with (
        serving(writes) as url,
        Fetcher("T/1", allow_addresses=["127.0.0.0/8"], timeouts=LIMITS) as fetcher,
    ):
        try:
            result = await fetcher.fetch(url)
            assert len(result.body) <= MAX_BODY_BYTES
            return "answer"
        except FetchError as error:
            assert "secret" not in str(error)
            return error.kind


NOTHINGS = {
    "members of nothing": (gzip.compress(b""), GZIP),
    "blocks of nothing": (b"\0\0\0\xff\xff", DEFLATE),
    "what follows the end": (b"more", GZIP),
}


@pytest.mark.parametrize("name", NOTHINGS)
@pytest.mark.parametrize("truncate", [False, True])
async def test_compressed_nothing_has_an_end(name: str, truncate: bool) -> None:
    part, encoding = NOTHINGS[name]
    max_bytes = MB // 2  # so that this limit comes before that of members
    begins = gzip.compress(b"x") if encoding is GZIP else b"\x78\x9c"
    writes = again(part * 1_000, OK + encoding + b"\r\n\r\n" + begins)
    async with (
        serving(writes) as url,
        Fetcher("T/1", allow_addresses=["127.0.0.0/8"], max_bytes=max_bytes) as fetcher,
    ):
        if truncate:
            result = await fetcher.fetch(url, truncate=True)
            assert result.truncated
            received = result.bytes_received
        else:
            with pytest.raises(FetchError) as caught:
                await fetcher.fetch(url)
            assert caught.value.kind == "too_large"
            received = caught.value.sent.received
    assert max_bytes < received < max_bytes + MAX_OVERHEAD_BYTES + 2 * READ_BYTES


async def test_cookies_go_nowhere() -> None:
    """Neither back to who set them, nor to another host; and no password of a URL, which is refused, goes anywhere."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Set-Cookie: id=secret; Domain=127.0.0.1; Path=/\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Fetcher("T/1", allow_addresses=["127.0.0.0/8"], timeouts=LIMITS) as fetcher:
        for _ in range(2):
            await fetcher.fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert len(asked) == 2
    assert not [request for request in asked if b"cookie" in request.lower() or b"authorization" in request.lower()]
