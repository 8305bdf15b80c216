"""Sitemap files, and crawls that go by them."""

import asyncio
import codecs
import contextlib
import gzip
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from encodings.aliases import aliases

import pytest
import webencodings.labels
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from producer.content import sitemap
from producer.content.sitemap import NotASitemap, read_sitemap, seconds_of
from producer.frontier import Entry, Frontier
from tests.fakes.site import Behaviour, FakeSite
from tests.fakes.site_behaviours import redirect, reset, status
from tests.support.waiting import until
from tests.unit.producer.crawl_play import Play, article

URL = "https://h.example/sitemap.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'

_BOM = {"none": b"", "utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


def urlset(*entries: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><urlset {NS}>{"".join(entries)}</urlset>'


def entry(url: str, lastmod: str = "") -> str:
    return f"<url><loc>{url}</loc>{f'<lastmod>{lastmod}</lastmod>' if lastmod else ''}</url>"


def index(*urls: str) -> str:
    return f"<sitemapindex {NS}>{''.join(f'<sitemap><loc>{url}</loc></sitemap>' for url in urls)}</sitemapindex>"


def pages(body: str | bytes) -> list[str]:
    data = body.encode() if isinstance(body, str) else body
    return [named.url.removeprefix("https://h.example") for named in read_sitemap(data, URL).pages]


class TestFile:
    def test_newest_first_then_in_the_files_order(self) -> None:
        dates = ("", "2024-05", "2026-01-02T10:00:00+02:00", "2026-01-02T09:00:00Z", "yesterday")
        body = urlset(*(entry(f"/{n}", date) for n, date in enumerate(dates)))
        assert pages(body) == ["/3", "/2", "/1", "/0", "/4"]

    def test_urls_are_canonical_once_and_http(self) -> None:
        urls = (
            "  https://h.example/a#x\n",
            "https://H.example/a?utm_source=x",
            "mailto:a@h.example",
            "",
            "/b?x=1&amp;y",
        )
        assert pages(urlset(*map(entry, urls))) == ["/a", "/b?x=1&y"]

    def test_images_are_no_pages_and_other_languages_are(self) -> None:
        more = (
            '<image:image xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><image:loc>/i.png</image:loc>'
            '</image:image><xhtml:link xmlns:xhtml="http://www.w3.org/1999/xhtml" rel="alternate" hreflang="de" '
            'href="/de/a"/>'
        )
        assert sorted(pages(urlset(f"<url>{more}<loc>/a</loc></url>"))) == ["/a", "/de/a"]

    def test_an_index(self) -> None:
        file = read_sitemap(index("https://h.example/s1.xml", "/s2.xml.gz").encode(), URL)
        assert [named.url for named in file.sitemaps] == ["https://h.example/s1.xml", "https://h.example/s2.xml.gz"]
        assert (file.pages, file.whole) == ([], True)

    @pytest.mark.parametrize(
        "body",
        [
            "<rss><channel><link>/</link><item><title>A</title><link>/a</link><pubDate>Tue, 01 Sep 2026 00:00:00 GMT"
            "</pubDate></item><item><guid>https://h.example/b</guid></item><item><guid>tag:7</guid></item></channel></rss>",
            '<feed xmlns="http://www.w3.org/2005/Atom"><link href="/"/><entry><link rel="self" href="/x"/>'
            '<link href="/a"/><updated>2026-09-01T00:00:00Z</updated></entry><entry><link rel="alternate" href="/b"/>'
            "</entry></feed>",
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">'
            "<item><link>/a</link></item><item><link>/b</link></item></rdf:RDF>",
            "https://h.example/a\nhttps://h.example/b\n\n",
            "\ufeffhttps://h.example/a\r\nhttps://h.example/b",
        ],
        ids=["rss", "atom", "rdf", "text", "text with a mark"],
    )
    def test_feeds_and_text(self, body: str) -> None:
        assert pages(body) == ["/a", "/b"]
        assert pages(gzip.compress(body.encode())) == ["/a", "/b"]

    @pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
    def test_declared_encodings(self, encoding: str) -> None:
        body = urlset(entry("https://h.example/ü")).replace("UTF-8", encoding)
        assert pages(body.encode(encoding)) == ["/%C3%BC"]

    @pytest.mark.parametrize("encoding", ["gb2312", "shift_jis", "euc-kr", "big5", "euc-jp"])
    def test_encodings_of_several_bytes(self, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sitemap, "_SLICE", 7)
        body = urlset(entry("https://h.example/山")).replace("UTF-8", encoding).encode(encoding)
        assert pages(body) == pages(gzip.compress(body)) == ["/%E5%B1%B1"]

    @pytest.mark.parametrize("encoding", ["no-such", "utf-7", "idna", "rot13", "base64", "utf-32", "unicode_escape"])
    def test_encodings_that_are_none_are_utf_8(self, encoding: str) -> None:
        assert pages(urlset(entry("https://h.example/ü")).replace("UTF-8", encoding)) == ["/%C3%BC"]

    def test_an_encoding_that_hides_text_is_refused(self) -> None:
        with pytest.raises(NotASitemap, match="no browser decodes"):
            pages(urlset(entry("/a")).replace("UTF-8", "iso-2022-kr"))

    @given(st.data())
    def test_only_one_error_comes_out(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*sorted(set(aliases.values())), *webencodings.labels.LABELS]) | st.text())
        body = urlset(entry("https://h.example/a", "2026-01-01"), entry("/ü山")).replace("UTF-8", name)
        spoilt = bytearray(_BOM[data.draw(st.sampled_from(list(_BOM)))] + body.encode("utf-8", "surrogatepass"))
        for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(spoilt) - 1), st.integers(0, 255)))):
            spoilt[place] = byte
        with contextlib.suppress(NotASitemap):
            read_sitemap(bytes(spoilt), URL)

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            ("<!DOCTYPE html><html><body>Not found</body></html>", "declares a document type"),
            ("<html><body>Not found</body></html>", "XML of the type html"),
            (
                '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><urlset><url><loc>/&b;</loc></url></urlset>',
                "type",
            ),
            ('<!DOCTYPE urlset SYSTEM "file:///etc/passwd"><urlset/>', "declares a document type"),
            ("<p>broken", "XML of the type p"),
            ("<", "can't be read"),
            ("Not found", "neither XML nor a list"),
            ("", "neither XML nor a list"),
            ("\x00\x01\x02", "neither XML nor a list"),
        ],
    )
    def test_what_is_none(self, body: str, why: str) -> None:
        with pytest.raises(NotASitemap, match=why):
            read_sitemap(body.encode(), URL)

    def test_an_undeclared_entity_ends_the_file_there(self) -> None:
        file = read_sitemap(urlset(entry("/a"), entry("/&xxe;"), entry("/b")).encode(), URL)
        assert ([named.url for named in file.pages], file.whole) == (["https://h.example/a"], False)

    def test_what_is_cut_off_counts_up_to_there(self) -> None:
        body = urlset(entry("/a"), entry("/b")).encode()
        assert read_sitemap(body, URL).whole
        file = read_sitemap(body[:-30], URL)
        assert ([named.url[-2:] for named in file.pages], file.whole) == (["/a"], False)
        squeezed = gzip.compress(body, 0)
        assert not read_sitemap(squeezed[:-20], URL).whole

    def test_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sitemap, "MAX_URLS", 10)
        many = urlset(*(entry(f"/{n}") for n in range(11)))
        assert not read_sitemap(many.encode(), URL).whole
        assert len(pages(many)) == 10
        assert not read_sitemap("\n".join(f"https://h.example/{n}" for n in range(11)).encode(), URL).whole
        assert not read_sitemap(("<urlset>" + "<a>" * 60).encode(), URL).whole
        monkeypatch.setattr(sitemap, "MAX_BYTES", 100_000)
        bomb = gzip.compress(urlset(entry("/a")).encode() + b" " * 10_000_000)
        assert not read_sitemap(bomb, URL).whole
        assert pages(urlset(f"<url><loc>/{'a' * 50_000}</loc></url>", entry("/b"))) == ["/b"]

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            (gzip.compress(b"") * 2_500_000, None),
            (gzip.compress(b"\0" * 10_000_000) * 100, None),
            (gzip.compress(b"<urlset>" + b" " * 10_000_000) + gzip.compress(b" " * 10_000_000) * 100, 0),
            (b"".join(gzip.compress(each.encode()) for each in ("<urlset>", *map(entry, "abc"), "</urlset>")), 3),
            (gzip.compress(gzip.compress(urlset(entry("a")).encode())), None),
            (gzip.compress(urlset(entry("a")).encode()) + b"something else", 1),
            (b"\x1f\x8b" + bytes(range(256)) * 10_000, None),
        ],
        ids=["members", "zeros", "spaces", "pieces", "twice", "more behind it", "garbage"],
    )
    def test_hostile_gzip_is_done_within_its_limits(self, body: bytes, named: int | None) -> None:
        started = time.process_time()
        try:
            found = len(read_sitemap(body, URL).pages)
        except NotASitemap:
            found = None
        assert time.process_time() - started < 10.0
        assert found == named

    @pytest.mark.parametrize(
        ("moment", "expected"),
        [
            ("1970-01-02", 86_400), ("1970-02", 31 * 86_400), ("1971", 365 * 86_400), ("1970-01-01T00:01Z", 60),
            ("1970-01-01T01:00:00.5+01:00", 0.5), ("Thu, 01 Jan 1970 00:00:10 GMT", 10), ("1970-13-01", 0), ("", 0),
            ("soon", 0), ("0000-00-00", 0),
        ],
    )  # fmt: skip
    def test_moments(self, moment: str, expected: float) -> None:
        assert seconds_of(moment) == expected


def test_what_sitemaps_name_comes_before_links() -> None:
    frontier = Frontier()
    for each in (Entry("deep", 2), Entry("near", 1), Entry("named", 1, named=True), Entry("start", 0)):
        frontier.add(each)
    order = [frontier.pop() for _ in range(4)]
    assert [each.url for each in order if each] == ["start", "named", "near", "deep"]


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=0) as site:
        site.put("/docs/", article("start"))
        yield site


@pytest.fixture
def play(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setattr("producer.sitemaps.BACK_OFF_S", (0.01, 0.01))
    return Play(monkeypatch, site.url)


def puts(site: FakeSite, *paths: str) -> None:
    for path in paths:
        site.put(path, article(f"the page {path}"))


async def test_pages_that_only_a_sitemap_names_are_visited(site: FakeSite, play: Play) -> None:
    puts(site, "/docs/hidden", "/docs/named", "/other/x")
    site.robots = f"Sitemap: {site.root}/maps/index.xml\n"
    site.put("/maps/index.xml", index("/maps/a.xml.gz", "http://elsewhere.example/b.xml"))
    site.put(
        "/maps/a.xml.gz", gzip.compress(urlset(entry("/docs/hidden"), entry("/other/x")).encode()), "application/gzip"
    )
    site.put("/sitemap.xml", urlset(entry("/docs/named")), "application/xml")
    ending = await play.crawl()
    assert play.states == {"/docs/": "fetched", "/docs/hidden": "fetched", "/docs/named": "fetched"}
    hidden = play.pages["/docs/hidden"]
    assert (hidden.discovered_from, hidden.depth) == (f"{site.root}/maps/a.xml.gz", 1)
    assert site.requests["/other/x"] == 0
    assert play.end.frontier_emptied
    assert ending.counts.pages_crawled == 3


async def test_sitemaps_can_be_left_alone(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch, site.url, sitemaps=False)
    puts(site, "/docs/named")
    site.put("/sitemap.xml", urlset(entry("/docs/named")))
    await play.crawl()
    assert list(play.states) == ["/docs/"]
    assert site.requests["/sitemap.xml"] == 0


async def test_robots_txt_holds_for_sitemaps_too(site: FakeSite, play: Play) -> None:
    puts(site, "/docs/named")
    site.robots = "User-agent: *\nDisallow: /sitemap.xml\n"
    site.put("/sitemap.xml", urlset(entry("/docs/named")))
    await play.crawl()
    assert site.requests["/sitemap.xml"] == 0
    assert play.end.frontier_emptied


async def test_a_sitemap_is_found_over_redirects_and_on_the_second_try(site: FakeSite, play: Play) -> None:
    puts(site, "/docs/named")
    site.behave("/sitemap.xml", redirect("/maps/real.xml"))
    site.behave("/maps/real.xml", status(503), times=1)
    site.put("/maps/real.xml", urlset(entry("/docs/named")))
    await play.crawl()
    assert play.states["/docs/named"] == "fetched"


@pytest.mark.parametrize("answer", [status(404), status(403), redirect("/sitemap.xml")])
async def test_a_site_without_a_sitemap_is_crawled_to_its_end(site: FakeSite, play: Play, answer: object) -> None:
    site.behave("/sitemap.xml", answer)  # type: ignore[arg-type]
    await play.crawl()
    assert play.end.frontier_emptied


@pytest.mark.parametrize("answer", [status(500), status(429), reset(), "broken"])
async def test_a_sitemap_that_can_not_be_read_now_takes_no_page_away(
    site: FakeSite, play: Play, answer: object
) -> None:
    puts(site, "/docs/a", "/docs/b", "/docs/c")
    site.put("/sitemap.xml", urlset(*map(entry, ("/docs/a", "/docs/b", "/docs/c"))))
    await play.crawl()
    before = play.pages["/docs/a"].chunks
    if answer == "broken":
        site.put("/sitemap.xml", urlset(entry("/docs/a"), "<url><loc>", entry("/docs/b")))
    else:
        site.behave("/sitemap.xml", answer)  # type: ignore[arg-type]
    site.remove("/docs/b")
    site.behave("/docs/c", status(500))
    await play.refresh()
    assert play.states == {"/docs/": "unchanged", "/docs/a": "unchanged", "/docs/b": "gone", "/docs/c": "kept"}
    assert play.pages["/docs/a"].chunks == before
    assert not play.end.frontier_emptied


async def test_what_no_sitemap_names_any_more_is_gone(site: FakeSite, play: Play) -> None:
    puts(site, "/docs/a", "/docs/b")
    site.put("/sitemap.xml", urlset(entry("/docs/a"), entry("/docs/b")))
    await play.crawl()
    site.put("/sitemap.xml", urlset(entry("/docs/a")))
    await play.refresh()
    assert play.states == {"/docs/": "unchanged", "/docs/a": "unchanged", "/docs/b": "gone"}


async def test_the_next_epoch_reads_them_again(site: FakeSite, play: Play) -> None:
    puts(site, "/docs/a", "/docs/b")
    site.put("/sitemap.xml", urlset(entry("/docs/a"), entry("/docs/b")))
    await play.crawl()
    play.forget(["/docs/b"])
    site.forget()
    await play.crawl()
    assert play.states == {"/docs/": "fetched", "/docs/a": "fetched", "/docs/b": "fetched"}
    assert (site.requests["/docs/a"], site.requests["/docs/b"], site.requests["/sitemap.xml"]) == (0, 1, 1)


async def test_the_next_epoch_asks_for_nothing_but_what_has_no_record(site: FakeSite, play: Play) -> None:
    names = [f"/docs/{number}" for number in range(12)]
    puts(site, *names)
    site.put("/sitemap.xml", urlset(*map(entry, names)))
    await play.crawl()
    play.forget(names[:9])
    site.forget()
    await play.crawl()
    assert {path for path in site.requests if path in {"/docs/", *names}} == set(names[:9])
    assert play.states == dict.fromkeys(["/docs/", *names], "fetched")


async def test_under_a_limit_of_pages_the_newest_of_the_sitemap_come_first(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(monkeypatch, site.url, max_pages=3)
    site.put("/docs/", article("start", "linked"))
    puts(site, "/docs/linked", *(f"/docs/{n}" for n in range(5)))
    site.put("/sitemap.xml", urlset(*(entry(f"/docs/{n}", f"2026-01-0{n + 1}") for n in range(5))))
    crawl = play.new()
    await crawl.run()
    assert set(play.pages) == {"/docs/4", "/docs/3", "/docs/"}


def answers_after(seconds: float, text: str = "") -> Behaviour:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response(text=text) if text else web.Response(status=404)

    return answer


def answers_once(condition: Callable[[], object], text: str) -> Behaviour:
    async def met() -> object:
        return condition()

    async def answer(_: web.Request) -> web.StreamResponse:
        await until(met, every_s=0.01)
        return web.Response(text=text)

    return answer


async def recorded(play: Play, pages: int) -> None:
    async def are() -> bool:
        return len(play.log.manifest(play.generation).pages) >= pages

    await until(are)


async def test_a_host_whose_sitemap_is_slow_holds_up_neither_the_others_pages_nor_their_sitemaps(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeSite(pages=0) as slow:
        slow.put("/docs/", article("slow start"))
        go_on = asyncio.Event()
        slow.behave("/sitemap.xml", answers_once(go_on.is_set, urlset(entry("/docs/late"))))
        puts(slow, "/docs/late")
        puts(site, "/docs/named")
        site.put("/sitemap.xml", urlset(entry("/docs/named")))
        play = Play(monkeypatch, slow.url, site.url)
        running = asyncio.create_task(play.crawl())
        await recorded(play, 3)
        go_on.set()
        await running
        assert play.states == {"/docs/": "fetched", "/docs/named": "fetched", "/docs/late": "fetched"}
        assert play.end.frontier_emptied


async def test_links_wait_for_sitemaps_but_not_for_long(
    site: FakeSite, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("/docs/", article("start", "linked"))
    puts(site, "/docs/linked", "/docs/named")
    site.behave("/sitemap.xml", answers_after(0.5, urlset(entry("/docs/named"))))
    await play.crawl()
    assert list(site.requests)[-2:] == ["/docs/named", "/docs/linked"]
    site.forget()
    monkeypatch.setattr("producer.crawl.LINKS_WAIT_S", 0.2)
    site.behave("/sitemap.xml", answers_once(lambda: site.requests["/docs/linked"], urlset(entry("/docs/named"))))
    await play.refresh()
    assert list(site.requests)[-2:] == ["/docs/linked", "/docs/named"]


async def test_with_a_limit_of_depth_links_wait_until_all_sitemaps_are_read(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`below` lies at depth 2 by the sitemap, at 3 by links."""
    monkeypatch.setattr("producer.crawl.LINKS_WAIT_S", 0.1)
    play = Play(monkeypatch, site.url, max_depth=2)
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("a", "named"))
    site.put("/docs/named", article("named", "below"))
    puts(site, "/docs/below")
    site.behave("/sitemap.xml", answers_after(1.0, urlset(entry("/docs/named"))))
    await play.crawl()
    assert play.states["/docs/below"] == "fetched"


async def test_a_sitemap_that_takes_too_long_takes_no_page_away(
    site: FakeSite, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts(site, "/docs/a", "/docs/b")
    site.put("/sitemap.xml", urlset(entry("/docs/a"), entry("/docs/b")))
    await play.crawl()
    monkeypatch.setattr("producer.crawl.SITEMAPS_S", 0.5)
    site.behave("/sitemap.xml", answers_after(30.0, urlset(entry("/docs/a"))))
    site.remove("/docs/b")
    await play.refresh()
    assert play.states == {"/docs/": "unchanged", "/docs/a": "unchanged", "/docs/b": "gone"}
    assert not play.end.frontier_emptied


async def test_behind_the_limit_of_pages_no_sitemap_is_waited_for(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.crawl.LINKS_WAIT_S", 0.1)
    play = Play(monkeypatch, site.url, max_pages=2)
    site.put("/docs/", article("start", "a", "b", "c"))
    puts(site, "/docs/a", "/docs/b", "/docs/c")
    site.behave("/sitemap.xml", answers_after(60.0, urlset(entry("/docs/a"))))
    async with asyncio.timeout(20.0):
        await play.new().run()
    assert (len(play.pages), play.end.frontier_emptied) == (2, False)


async def test_a_crawl_that_waits_for_sitemaps_alone_can_be_halted(site: FakeSite, play: Play) -> None:
    site.behave("/sitemap.xml", answers_after(60.0))
    crawl = play.new()
    running = asyncio.create_task(crawl.run())
    await recorded(play, 1)
    crawl.halt()
    async with asyncio.timeout(30):
        assert await running is None


async def test_a_sitemap_goes_before_pages_that_wait_for_the_same_host(site: FakeSite, play: Play) -> None:
    names = [f"/docs/{number}" for number in range(60)]
    puts(site, *names)
    asked: list[str] = []

    def noted(path: str, text: str) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            asked.append(path)
            await asyncio.sleep(0.02)
            return web.Response(text=text, content_type="text/html" if path in names else "text/xml")

        site.behave(path, answer)

    for name in names:
        noted(name, article(name))
    noted("/sitemap.xml", index("/0.xml", "/1.xml", "/2.xml"))
    for number in range(3):
        noted(f"/{number}.xml", urlset(*map(entry, names)))
    await play.crawl()
    assert asked.index("/2.xml") < 20


async def test_files_are_bounded_in_number_and_levels(
    site: FakeSite, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.sitemaps.MAX_FILES", 20)
    for number in range(100):
        site.put(f"/sitemap{number or ''}.xml", index(f"/sitemap{number + 1}.xml"))
    await play.crawl()
    assert [path for path in site.requests if "sitemap" in path] == ["/sitemap.xml", "/sitemap1.xml", "/sitemap2.xml"]
    assert not play.end.frontier_emptied
    site.put("/sitemap.xml", index(*(f"/many{number}.xml" for number in range(100))))
    site.forget()
    await play.refresh()
    assert sum("many" in path for path in site.requests) == 19
    assert not play.end.frontier_emptied


async def test_an_index_of_indices_is_not_kept_in_memory(site: FakeSite, play: Play) -> None:
    """Three files of 5,000 sitemaps, most of which will not be read: 3 MB and more of URLs."""
    monstrous = [f"/docs/{name}{number}" for name in "abc" for number in range(5_000)]
    for number in range(3):
        site.put(f"/{number}.xml", index(*monstrous[number * 5_000 : (number + 1) * 5_000]))
    site.put("/sitemap.xml", index("/0.xml", "/1.xml", "/2.xml"))
    visitor = play.new()._new_visitor()
    await visitor.start()
    held, unread = list[int](), set[str]()
    tracemalloc.start()
    try:
        async with contextlib.aclosing(visitor.sitemaps(1_000)) as files:
            async for found in files:
                held.append(tracemalloc.get_traced_memory()[0])
                unread |= {found.sitemap.rpartition("/")[2]} if found.unread else set()
    finally:
        tracemalloc.stop()
        await visitor.stop()
    assert max(held) < 2_000_000
    assert {"0.xml", "1.xml", "2.xml"} <= unread


async def test_an_index_that_names_itself_ends(site: FakeSite, play: Play) -> None:
    site.put("/sitemap.xml", index("/sitemap.xml", "/other.xml"))
    site.put("/other.xml", index("/sitemap.xml"))
    await play.crawl()
    assert (site.requests["/sitemap.xml"], site.requests["/other.xml"]) == (1, 1)


@pytest.mark.parametrize("slow", ["/docs/q", "/docs/r", "/docs/map", None])
@pytest.mark.parametrize("resumed", [False, True])
async def test_within_a_limit_of_depth_the_shortest_way_counts_whatever_comes_first(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch, slow: str | None, resumed: bool
) -> None:
    """`t` lies at depth 1 by a redirect, at 2 by a link; `v` at 0 by the start page's redirect, at 1 by the sitemap."""
    monkeypatch.setattr("producer.crawl.LINKS_WAIT_S", 0.05)
    pages = {
        "/docs/home": ("q", "r", "v"), "/docs/q": ("t",), "/docs/t": ("u",), "/docs/u": ("beyond",), "/docs/v": ("w",),
        "/docs/w": ("x",), "/docs/x": ("beyond",), "/docs/beyond": (),
    }  # fmt: skip
    to = {"/docs/": "/docs/v", "/docs/r": "/docs/t", "/docs/start": "/docs/home"}
    for path, links in pages.items():
        site.behave(path, answering(article(path, *links), slow=path == slow))
    for path, target in to.items():
        site.behave(path, answering(location=target, slow=path == slow))
    site.behave("/sitemap.xml", answering(urlset(entry("/docs/v")), slow=slow == "/docs/map"))
    play = Play(monkeypatch, site.url, f"{site.root}/docs/start", max_depth=2)
    await play.crawl()
    if resumed:
        play.forget(["/docs/t", "/docs/u", "/docs/x", "/docs/w"])
        await play.crawl()
    found = {path.removeprefix("/docs/"): page.depth for path, page in play.pages.items()}
    assert found == {"": 0, "start": 0, "home": 0, "v": 0, "q": 1, "r": 1, "t": 1, "w": 1, "u": 2, "x": 2}
    assert play.end.frontier_emptied


def answering(text: str = "", location: str | None = None, *, slow: bool) -> Behaviour:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.4 if slow else 0.0)
        if location is not None:
            return web.Response(status=302, headers={"Location": location})
        return web.Response(text=text, content_type="text/html" if text.startswith("<html") else "text/xml")

    return answer
