"""Previews of pages of a real site on loopback, and of files."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.settings import Settings
from producer.preview import preview
from producer.work import PageInput, process_page
from schemas.previews import Preview, PreviewRequest
from tests.fakes.pdf import unpacking_to
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import redirect, status

HERE = ("127.0.0.0/8",)
PAGE = """<html lang="en"><head><title>Widgets - Site</title><meta name="description" content="About widgets.">
<link rel="canonical" href="/w.html"></head><body><nav><a href="/nav.html">Home</a></nav>
<main><h1>Widgets</h1><p>How to <a href="make.html">make</a> one.</p></main></body></html>"""


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=3, min_kb=4, max_kb=8) as running:
        running.put("/w.html", PAGE)
        yield running


async def shown(url: str, **options: Any) -> Preview:
    given = {"max_tokens": 128, "overlap_tokens": 10, "allow_addresses": HERE} | options
    return await asyncio.to_thread(preview, PreviewRequest(url=url, **given), Settings.from_env({}))


async def test_a_page_with_all_that_is_known_of_it(site: FakeSite) -> None:
    got = await shown(site.root + "/w.html")
    assert (got.problem, got.skipped, got.status) == (None, None, 200)
    assert (got.title, got.language, got.description) == ("Widgets", "en", "About widgets.")
    assert got.text == "# Widgets\n\nHow to make one."
    assert got.links == (site.root + "/nav.html", site.root + "/make.html")
    assert (got.content_type, got.bytes, got.method) == ("text/html; charset=utf-8", len(PAGE), "main")
    assert site.requests == {"/robots.txt": 1, "/w.html": 1}


async def test_chunks_are_those_of_a_crawl(site: FakeSite) -> None:
    got = await shown(site.url, strategy="sentences", model="all-MiniLM-L6-v2", max_tokens=64)
    body = site._body(site.paths[0])
    page = PageInput(site.url, body, "text/html", None, 64, 10, "sentences", "wordpiece")
    assert [(c.text, c.tokens, c.repeated, c.closing) for c in got.chunks] == [
        (c.text, c.tokens, c.repeated, c.closing) for c in process_page(page).chunks
    ]
    assert len(got.chunks) > 5 and max(chunk.tokens for chunk in got.chunks) <= 64


async def test_robots_txt_is_heeded_on_every_hop(site: FakeSite) -> None:
    site.robots = "User-agent: headrace\nDisallow: /secret/\nCrawl-delay: 0.1"
    site.behave("/way.html", redirect("/secret/page.html"))
    got = await shown(site.root + "/way.html")
    assert (got.problem, got.reason, got.url) == ("robots", "disallowed by robots.txt", site.root + "/secret/page.html")
    assert (got.redirects, got.crawl_delay_s) == ((site.root + "/way.html",), 0.1)
    assert "/secret/page.html" not in site.requests


async def test_redirects_are_followed_but_not_for_ever(site: FakeSite) -> None:
    site.behave("/old.html", redirect("/w.html"))
    got = await shown(site.root + "/old.html")
    assert (got.url, got.redirects, got.title) == (site.root + "/w.html", (site.root + "/old.html",), "Widgets")
    site.behave("/round.html", redirect("/round.html"))
    got = await shown(site.root + "/round.html")
    assert (got.problem, got.reason) == ("redirects", "more than 10 redirects in a row")


async def test_addresses_are_judged(site: FakeSite) -> None:
    got = await shown(site.url, allow_addresses=())
    assert got.problem == "robots" and "127.0.0.1 is forbidden" in str(got.reason)
    assert got.needs_addresses == "127.0.0.0/8"
    assert not site.requests


@pytest.mark.parametrize(
    ("body", "content_type", "problem", "skipped"),
    [
        ('<meta name="robots" content="noindex"><main><p>Text</p></main>', "text/html", None, "noindex"),
        ('<link rel="canonical" href="/w.html"><main><p>Text</p></main>', "text/html", None, "canonical is "),
        ('<meta http-equiv="refresh" content="0;url=/w.html"><p>Text</p>', "text/html", None, "readers on to "),
        (bytes(range(256)), "image/png", "content", None),
    ],
)
async def test_what_a_crawl_leaves_out_says_so(
    site: FakeSite, body: str | bytes, content_type: str, problem: str | None, skipped: str | None
) -> None:
    site.put("/odd", body, content_type)
    got = await shown(site.root + "/odd")
    assert (got.problem, bool(got.reason)) == (problem, problem is not None)
    assert (skipped or "") in (got.skipped or "") and (got.skipped is None) == (skipped is None)


async def test_an_error_of_the_site(site: FakeSite) -> None:
    site.behave("/w.html", status(404))
    got = await shown(site.root + "/w.html")
    assert (got.problem, got.status, got.text) == ("status", 404, "")
    assert (await shown("mailto:me@example.org")).problem == "url"


def test_a_file_as_a_program(tmp_path: Path) -> None:
    (tmp_path / "w.html").write_text(PAGE)
    asked = {"file": str(tmp_path / "w.html"), "url": "https://x.example/a/", "max_tokens": 64, "overlap_tokens": 0}
    done = subprocess.run(
        [sys.executable, "-m", "producer.preview"], input=json.dumps(asked).encode(), capture_output=True, check=True
    )
    got = json.loads(done.stdout)
    assert (got["title"], got["links"][-1]) == ("Widgets", "https://x.example/a/make.html")
    assert got["skipped"] == "canonical is https://x.example/w.html, which stands for it where that is in scope"


async def test_a_page_that_breaks_its_reader_is_no_harm(site: FakeSite) -> None:
    """As in a crawl; here it takes more memory than a page may."""
    site.put("/bomb.pdf", unpacking_to(2_500), "application/pdf")
    got = await shown(site.root + "/bomb.pdf")
    assert (got.problem, got.reason, got.status) == ("content", "reading it crashed, 2 times", 200)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = preview(
        PreviewRequest(file=str(tmp_path / "none"), max_tokens=64, overlap_tokens=0), Settings.from_env({})
    )
    assert (missing.problem, "No such file" in str(missing.reason)) == ("file", True)
