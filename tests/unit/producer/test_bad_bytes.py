"""Whole crawls of a site with bytes that no UTF-8 holds: they cost a header, a character or a file, never the crawl."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from producer.fetch import Fetcher, FetchError
from tests.unit.producer.crawl_play import Play, article


def answer(body: str | bytes, *headers: bytes, status: str = "200 OK", content_type: bytes = b"text/html") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    fields = (f"Content-Length: {len(data)}".encode(), b"Content-Type: " + content_type, b"Connection: close", *headers)
    return b"\r\n".join((f"HTTP/1.1 {status}".encode(), *fields, b"", data))


class RawSite:
    """Answers with the bytes of `answers`, by path as it stands in the request."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.requests: list[bytes] = []
        self.root = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            writer.write(self.answers.get(request.split()[1].decode(), answer("no", status="404 Not Found")))
            await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[RawSite]:
    site = RawSite()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    async with server:
        site.root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield site


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    async with Fetcher("T/1", allow_addresses=["127.0.0.0/8"]) as fetcher:
        yield fetcher


HEADERS = (
    b'ETag: "\xff"', b"Last-Modified: Do, 05 M\xe4r 2020 10:00:00", b"Cache-Control: \xff", b"X-Robots-Tag: \xff",
    b"Link: <\xff>; rel=canonical", b"Retry-After: \xb2", b"X: \xff",
)  # fmt: skip


async def test_headers_in_latin_1_cost_no_page(site: RawSite, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {f"/h{n}": answer(article(f"header {n}"), header) for n, header in enumerate(HEADERS)}
    pages["/type"] = answer(article("type"), content_type=b"text/html; charset=\xff")
    others = {
        "/moved": answer("", b"Location: /to", b'ETag: "\xff"', status="302 Found"),
        "/to": answer(article("to")),
        "/gone": answer("", b'ETag: "\xff"', content_type=b"\xff", status="410 Gone"),
        "/odd": answer("x", content_type=b"\xff/\xff"),
    }
    site.answers = {"/": answer(article("home", *pages, *others)), **pages, **others}
    play = Play(monkeypatch, site.root + "/")
    await play.crawl()
    states = dict.fromkeys(("/", "/to", *pages), "fetched")
    assert play.states == states | {"/moved": "redirected", "/gone": "gone", "/odd": "skipped", "/%FF": "gone"}
    assert play.pages["/type"].content_type == "text/html; charset=\ufffd"
    assert (play.pages["/h0"].etag, play.pages["/h1"].last_modified) == (None, None)
    await play.refresh()
    assert play.states["/h0"] == play.states["/h1"] == "unchanged"
    assert not any(b"If-None-Match" in request or b"If-Modified-Since" in request for request in site.requests)


async def test_validators_in_utf_8_go_back_as_they_came(site: RawSite, fetcher: Fetcher) -> None:
    site.answers = {"/": answer("x", 'ETag: "ä"'.encode())}
    result = await fetcher.fetch(site.root + "/")
    await fetcher.fetch(site.root + "/", result.etag)
    assert 'If-None-Match: "ä"\r\n'.encode() in site.requests[-1]


async def test_escapes_in_pages_and_encodings_of_sitemaps_cost_no_crawl(
    site: RawSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_matter = '---\ntitle: "\\ud800"\ndescription: "\\udfff d"\n---\n'
    listing = "<urlset><url><loc>/a</loc></url></urlset>"
    site.answers = {
        "/": answer(article("home", "/md", "https://(S(a))/")),
        "/md": answer(front_matter + "# x\n" + "word " * 80, content_type=b"text/markdown"),
        "/a": answer(article("a")),
        "/sitemap.xml": answer(f'<?xml version="1.0" encoding="gb2312"?>{listing}'),
        "/robots.txt": answer("Sitemap: /odd.xml\n", content_type=b"text/plain"),
        "/odd.xml": answer(f'<?xml version="1.0" encoding="no-such"?>{listing.replace("/a", "https://(S(a))/")}'),
    }  # fmt: skip
    play = Play(monkeypatch, site.root + "/")
    await play.crawl()
    assert play.states == dict.fromkeys(("/", "/md", "/a"), "fetched")
    assert (play.pages["/md"].title, play.pages["/md"].description) == ("\ufffd", "\ufffd d")
    assert play.end.errors == 0


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/caf\xe9", "/caf%E9"),
        ("/café?q=ü".encode(), "/caf%C3%A9?q=%C3%BC"),
        (b"/a?q=\xe4&\xc3\xa4", "/a?q=%E4&%C3%A4"),
    ],
)
async def test_a_redirect_leads_to_the_bytes_that_it_names(
    site: RawSite, fetcher: Fetcher, location: bytes, path: str
) -> None:
    site.answers = {"/": answer("", b"Location: " + location, status="302 Found")}
    assert (await fetcher.fetch(site.root + "/")).redirect_to == site.root + path


@pytest.mark.parametrize(
    "location",
    [b"http://u:secret@exa mple/", b"http://u:secret@[bad/", b"//u:secret@h.example:99999/", b"ftp://u:secret@h/\xff",
     b"http://u:secret@h.example/", b"https://(S(a))/u:secret@h.example:99999/x", b"http://u:secret@\xff/"],
)  # fmt: skip
async def test_no_password_of_a_redirect_is_repeated(site: RawSite, fetcher: Fetcher, location: bytes) -> None:
    site.answers = {"/": answer("", b"Location: " + location, status="302 Found")}
    try:
        result = await fetcher.fetch(site.root + "/")
    except FetchError as error:
        assert error.kind == "bad_redirect"
        assert "secret" not in str(error)
    else:
        assert result.redirect_to == "https://(s(a))/u:secret@h.example:99999/x", "there it stands in a path"
