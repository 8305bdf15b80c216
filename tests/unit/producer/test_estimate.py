"""Estimates by samples of real sites on loopback, and the arithmetic behind them."""

import asyncio
import json
import random
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.prices import AS_OF, Prices
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from producer import estimate as module
from producer.estimate import Sample, estimate, extrapolated
from producer.frontier import Entry
from producer.visit import Visit
from producer.work import ContentPool, PageInput, PageOutput, process_page
from schemas.estimates import Estimate, EstimateRequest, Range
from schemas.kb import Definition, parse_definition, resolve
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import redirect, status

SETTINGS = Settings.from_env({})


def definition(url: str, openai: bool = True, **source: Any) -> Definition:
    raw = {"source": {"urls": [url], "allow_addresses": ["127.0.0.0/8"]} | source}
    return resolve(parse_definition(raw), openai_available=openai)


def sitemap(*urls: str) -> str:
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'


async def asked(site: FakeSite, sample: int = 30, **source: Any) -> Estimate:
    return await estimate(EstimateRequest(definition=definition(site.url, **source), sample=sample), SETTINGS)


async def crawled(site: FakeSite) -> list[PageOutput]:
    """Every page, as a crawl cuts it."""
    pool = ContentPool(1)
    await pool.start()
    try:
        pages = [PageInput(site.root + path, site._body(path), "text/html") for path in site.paths]
        return [await pool.process(page) for page in pages]
    finally:
        await pool.stop()


async def test_a_small_site_is_read_whole_and_its_estimate_exact() -> None:
    async with FakeSite(pages=12, min_kb=4, max_kb=12) as site:
        got = await asked(site)
        chunks = [chunk for page in await crawled(site) for chunk in page.chunks]
    assert got.problem is None and got.whole and (got.sampled, got.known) == (12, 12)
    assert got.pages == Range(low=12, expected=12, high=12)
    assert got.chunks and got.chunks.low == got.chunks.high == len(chunks)
    tokens = sum(chunk.tokens for chunk in chunks)
    assert got.tokens and got.tokens.expected == tokens
    assert got.usd and got.usd.expected == round(tokens * 0.02 / 1e6, 6)
    assert (got.model, got.usd_per_mtok, got.prices_as_of) == ("text-embedding-3-small", 0.02, AS_OF)


async def test_texts_that_are_stored_or_met_again_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {}
    for name in ("one", "two"):
        same, own = ("".join(f"<p>{each} {n}.</p>" for n in range(60)) for each in ("All about files", f"Of {name}"))
        pages[f"/docs/{name}.html"] = f"<main><h1>Same</h1>{same}<h2>Own</h2>{own}</main>"
    async with FakeSite(pages=4, min_kb=4, max_kb=8) as site:
        pages["/docs/index.html"] = '<main><a href="one.html">1</a><a href="two.html">2</a></main>'
        for path, page in pages.items():
            site.put(path, page)
        one, *others = [
            process_page(PageInput(site.root + path, page.encode(), "text/html")) for path, page in pages.items()
        ]
        asked = EstimateRequest(definition=definition(site.root + "/docs/index.html"), kb_id="docs")
        stored = {hashed for hashed, _ in module._texts(one)}

        async def holds(_: VectorStore, place: Tenancy, hashes: list[str]) -> set[str]:
            assert place == Tenancy("Headrace_openai_text_embedding_3_small_1536", "docs")
            return stored & set(hashes)

        monkeypatch.setattr(VectorStore, "holds", holds)
        refresh = await estimate(asked, SETTINGS)
        stored = set()
        first = await estimate(asked, SETTINGS)
        away = Settings.from_env({"WEAVIATE_URL": "http://127.0.0.1:9"})
        monkeypatch.undo()
        blind = await estimate(asked, away)
    every = {hashed: tokens for page in (one, *others) for hashed, tokens in module._texts(page)}
    new = sum(tokens for hashed, tokens in every.items() if hashed not in dict(module._texts(one)))
    whole = sum(chunk.tokens for page in (one, *others) for chunk in page.chunks)
    assert 0 < new < sum(every.values()) < whole
    for got, expected in ((refresh, new), (first, sum(every.values())), (blind, sum(every.values()))):
        assert got.tokens and got.tokens.expected == whole
        assert got.new_tokens and got.new_tokens.low == got.new_tokens.high == expected
        assert got.reused_tokens and got.reused_tokens.expected == whole - expected
        assert got.usd and got.usd.expected == round(expected * 0.02 / 1e6, 6)
    assert first.not_looked_up is None and str(blind.not_looked_up).startswith("Weaviate: can't be reached")


async def test_a_larger_one_is_sampled_and_what_it_has_lies_between_the_bounds() -> None:
    async with FakeSite(pages=200, min_kb=4, max_kb=12) as site:
        site.put("/sitemap.xml", sitemap(*(site.root + path for path in site.paths)), "application/xml")
        got = await asked(site, sample=20)
        assert site.requests.total() == 20 + 2, "robots.txt and the sitemap beside the sample"
        chunks = sum(len(page.chunks) for page in await crawled(site))
    assert (got.sampled, got.known, got.whole) == (20, 200, False) and got.of_sitemaps > 150
    assert got.pages and got.pages.low <= 200 <= got.pages.high and abs(got.pages.expected - 200) < 20
    assert got.chunks and got.chunks.low <= chunks <= got.chunks.high


async def test_the_same_site_gives_the_same_estimate() -> None:
    async with FakeSite(pages=80, min_kb=4, max_kb=8) as site:
        first, second = [msgspec.structs.replace(await asked(site, sample=10), took_s=0, minutes=None) for _ in "12"]
    assert first == second


async def test_limits_of_the_definition_hold() -> None:
    async with FakeSite(pages=60, min_kb=4, max_kb=8) as site:
        few = await asked(site, sample=10, max_pages=15)
        shallow = await asked(site, max_depth=0)
        narrow = await asked(site, exclude=["/docs/**"])
    assert few.pages and few.pages.high <= 15 and few.max_pages == 15
    assert shallow.whole and shallow.pages and shallow.pages.expected == 1
    assert narrow.whole and narrow.sampled == 1, "of what is excluded, only start URLs are asked for"


async def test_what_holds_nothing_counts_by_its_reason() -> None:
    async with FakeSite(pages=1, min_kb=4, max_kb=8) as site:
        links = "".join(f'<a href="/docs/{name}.html">{name}</a>' for name in ("moved", "gone", "same", "copy"))
        text = "<p>" + "All about files and what is in them. " * 20 + "</p>"
        site.put("/docs/index.html", f"<main>{text}{links}</main>")
        site.put("/docs/same.html", f"<main><h1>Same</h1>{text}</main>")
        site.put("/docs/copy.html", f"<main><h1>Same</h1>{text}</main>")
        site.behave("/docs/moved.html", redirect("/docs/same.html"))
        site.behave("/docs/gone.html", status(404))
        got = await estimate(EstimateRequest(definition=definition(site.root + "/docs/index.html")), SETTINGS)
    assert got.whole and got.sampled == 5
    assert got.pages and got.pages.expected == 2, "two pages with one content are one"
    assert sorted(got.no_content.values()) == [1, 1]


async def test_rules_of_the_site_and_of_our_network_hold() -> None:
    async with FakeSite(pages=5) as site:
        site.robots = "User-agent: *\nDisallow: /docs/"
        got = await asked(site)
        assert got.problem == "no page with content was found: disallowed by robots.txt"
        assert set(site.requests) <= {"/robots.txt", "/sitemap.xml"}
    async with FakeSite(pages=5) as site:
        got = await asked(site, allow_addresses=[])
        assert got.problem is not None and "forbidden" in got.problem and not site.requests


async def test_a_crawl_delay_bounds_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_S", 2.0)
    async with FakeSite(pages=50, min_kb=4, max_kb=8) as site:
        site.robots = "User-agent: *\nCrawl-delay: 0.5"
        site.put("/sitemap.xml", sitemap(*(site.root + path for path in site.paths)), "application/xml")
        got = await asked(site)
    assert 1 <= got.sampled <= 5 and not got.whole and got.took_s < 5
    assert got.bound_by == "crawl" and got.minutes and got.pages
    assert abs(got.minutes.expected - (got.pages.expected * 0.5 + 5) / 60) < 0.06


def made(content: list[int], fresh: list[int], known: int, waiting: int, **more: Any) -> Sample:
    """A sample of pages with so many tokens each, in chunks of 100."""
    visits = [
        Visit(
            entry=Entry(f"https://x/{n}", 1), attempt=1, state="fetched" if tokens else "failed", reason=None,
            content=page(n, tokens) if tokens else None, duration_ms=100.0,
        )
        for n, tokens in enumerate(content)
    ]  # fmt: skip
    return Sample(visits=visits, fresh=fresh, known=known, waiting=waiting, **more)


TEMPLATE = process_page(PageInput("https://x/", b"<main><h1>T</h1><p>Some text of a page.</p></main>", "text/html"))


def page(number: int, tokens: int) -> PageOutput:
    (chunk,) = TEMPLATE.chunks
    chunks = tuple(msgspec.structs.replace(chunk, tokens=100) for _ in range(tokens // 100))
    return msgspec.structs.replace(TEMPLATE, content_hash=str(number), chunks=chunks)


def given_by(taken: Sample, model: str = "text-embedding-3-small", **source: Any) -> Estimate:
    asked = definition("https://x/", **source)
    asked = msgspec.structs.replace(asked, embedding=msgspec.structs.replace(asked.embedding, model=model))
    return extrapolated(taken, asked, Prices(), 2)


def test_where_nothing_new_is_found_any_more_what_is_known_is_all() -> None:
    got = given_by(made([300] * 20, [100] + [0] * 19, known=101, waiting=81))
    assert got.pages and (got.pages.low, got.pages.expected) == (101, 101) and got.pages.high < 150
    assert got.chunks and got.chunks.expected == 303 and got.tokens and got.tokens.expected == 30_300


def test_where_each_page_leads_to_more_the_limit_is_the_bound() -> None:
    got = given_by(made([300] * 20, [5] * 20, known=101, waiting=81), max_pages=5_000)
    assert got.pages and (got.pages.low, got.pages.high) == (101, 5_000)
    assert 101 < got.pages.expected < 5_000


def test_sitemaps_that_could_not_be_read_leave_the_upper_bound_open() -> None:
    got = given_by(made([300] * 20, [0] * 20, known=101, waiting=81, unread_sitemaps=True), max_pages=5_000)
    assert got.pages and (got.pages.expected, got.pages.high) == (101, 5_000)


def test_a_price_that_is_not_known_is_not_nothing() -> None:
    assert given_by(made([300], [0], 1, 0), model="bge-m3").usd is None
    local = extrapolated(made([300], [0], 1, 0), definition("https://x/", openai=False), Prices(), 2)
    assert local.usd == Range(low=0, expected=0, high=0) and local.usd_per_mtok == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 20).map(lambda n: 100 * n), min_size=1, max_size=30),
    st.integers(0, 6),
    st.integers(0, 5_000),
    st.integers(1, 10_000),
)
def test_bounds_enclose_what_is_expected(content: list[int], most_fresh: int, waiting: int, max_pages: int) -> None:
    drawn = random.Random(1)
    fresh = [drawn.randint(0, most_fresh) for _ in content]
    got = given_by(made(content, fresh, len(content) + waiting, waiting), max_pages=max_pages)
    if not any(content):
        assert got.problem is not None and got.pages is None
        return
    for each in (got.pages, got.chunks, got.tokens, got.usd, got.minutes):
        assert each is not None and 0 <= each.low <= each.expected <= each.high


async def test_as_a_program() -> None:
    async with FakeSite(pages=3, min_kb=4, max_kb=8) as site:
        request = msgspec.json.encode(EstimateRequest(definition=definition(site.url)))
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "producer.estimate"], input=request, capture_output=True, check=True
        )
    assert json.loads(done.stdout)["pages"] == {"low": 3, "expected": 3, "high": 3}


async def test_what_a_private_site_needs_is_told() -> None:
    async with FakeSite(pages=1) as site:
        got = await asked(site, allow_addresses=[])
    assert not site.requests
    assert (got.problem or "").endswith("; where that is your own network, allow 127.0.0.0/8 (allow_addresses)"), got
