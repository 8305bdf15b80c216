"""A documentation site on loopback, cheap to serve: what is measured is the crawler.

    python -m bench.site [--pages 1000] [--kind docs|large] [FOLDER]

docs: pages of 8 to 80 KB as `tests.fakes.site_pages` makes them, rendered before the first request. large: pages of
about 10 KB with 50 links each, put together when they are asked for, so that 100,000 of them take no memory. Both are
deterministic. FOLDER: its HTML files instead, from index.html on. Pages have validators; conditional requests are
answered.
"""

import argparse
import asyncio
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import uvloop

from tests.fakes.site_pages import Shape, _section, page_html, path_of

ROBOTS: Final = b"User-agent: *\nDisallow: /private/\n"
LARGE_LINKS: Final = 50
LARGE_CHILDREN: Final = 10
SECTIONS: Final = 1_000
SECTIONS_PER_PAGE: Final = 5

Body = Callable[[str], bytes | None]


def docs(pages: int) -> Body:
    shape = Shape(pages, 8, 80)
    rendered = {path_of(number): page_html(shape, number).encode() for number in range(pages)}
    return rendered.get


def folder(path: Path) -> Body:
    """Its files as pages, links in place of files among them left out."""
    root = path.resolve()
    files = (file for file in sorted(root.rglob("*.html")) if file.is_file() and not file.is_symlink())
    return {f"/docs/{file.relative_to(root)}": file.read_bytes() for file in files}.get


def large(pages: int) -> Body:
    draw = random.Random(1)
    sections = [_section(draw, number, 1) for number in range(SECTIONS)]

    def body(path: str) -> bytes | None:
        number = _number(path)
        return _large_page(pages, number, sections).encode() if number is not None and number < pages else None

    return body


def _number(path: str) -> int | None:
    if path == path_of(0):
        return 0
    digits = path.removesuffix(".html").rpartition("-")[2]
    return int(digits) if digits.isdigit() and path_of(int(digits)) == path else None


def _large_page(pages: int, number: int, sections: list[str]) -> str:
    text = "\n".join(random.Random(number).choices(sections, k=SECTIONS_PER_PAGE))
    links = "".join(f'<li><a href="{path_of(other)}">Page {other}</a></li>' for other in linked(pages, number))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Page {number} - Large docs</title></head>
<body><header class="site-header"><a href="/docs/">Large docs</a></header>
<main><article><h1>Page {number}</h1>
{text}
</article></main>
<nav class="related"><ul>{links}</ul></nav>
<footer><p>Copyright of nobody. Terms of use.</p></footer></body></html>"""


def linked(pages: int, number: int) -> Iterator[int]:
    """What a page of the large site links to: the pages below, and others anywhere."""
    draw = random.Random(number)
    first = number * LARGE_CHILDREN + 1
    below = range(first, min(first + LARGE_CHILDREN, pages))
    yield from below
    for _ in range(LARGE_LINKS - len(below)):
        yield draw.randrange(pages)


class _Connection(asyncio.Protocol):
    """HTTP/1.1, GET, one request after the other."""

    def __init__(self, body: Body) -> None:
        self._body, self._received = body, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4 :]
            self._transport.write(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1].decode()
        if path == "/robots.txt":
            return _response(b"200 OK", ROBOTS, b"text/plain", b'"robots"')
        etag = b'"%x"' % zlib.crc32(path.encode())
        if b"if-none-match: " + etag in head.lower():
            return b"HTTP/1.1 304 Not Modified\r\nETag: " + etag + b"\r\n\r\n"
        body = self._body(path)
        if body is None:
            return _response(b"404 Not Found", b"no such page", b"text/plain", etag)
        return _response(b"200 OK", body, b"text/html; charset=utf-8", etag)


def _response(status: bytes, body: bytes, content_type: bytes, etag: bytes) -> bytes:
    lines = (
        b"HTTP/1.1 " + status, b"Content-Type: " + content_type, b"Content-Length: %d" % len(body), b"ETag: " + etag,
        b"", b"",
    )  # fmt: skip
    return b"\r\n".join(lines) + body


async def listen(port: int, body: Body) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(lambda: _Connection(body), "127.0.0.1", port)


async def serve(port: int, body: Body, start: str) -> None:
    server = await listen(port, body)
    print(f"http://127.0.0.1:{port}{start}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1_000)
    parser.add_argument("--kind", choices=("docs", "large"), default="docs")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("folder", type=Path, nargs="?")
    arguments = parser.parse_args()
    made = {"docs": docs, "large": large}[arguments.kind]
    if arguments.folder:
        uvloop.run(serve(arguments.port, folder(arguments.folder), "/docs/index.html"))
    else:
        uvloop.run(serve(arguments.port, made(arguments.pages), path_of(0)))
