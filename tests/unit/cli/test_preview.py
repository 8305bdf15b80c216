"""`headrace preview`, with the producer's program beside it and a site on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.site import FakeSite
from tests.unit.cli.conftest import Run

PAGE = """<html lang="en"><head><title>Files</title></head><body><main><h1>Files</h1><p>All about [files].</p>
<h2>Closing</h2><p>Close <a href="with.html">them</a>.</p></main></body></html>"""


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=1) as running:
        running.put("/files.html", PAGE)
        yield running


async def test_a_page_of_a_site(run: Run, site: FakeSite) -> None:
    url = site.root + "/files.html"
    result = await asyncio.to_thread(run, "preview", url, "--allow-addresses", "127.0.0.0/8", "--links")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    for line in (
        f"       url  {url}",
        "    status  200",
        "     title  Files",
        "  found by  main",
        "All about [files].",
    ):
        assert line in lines, line
    assert "── chunk 1 of 1, " in result.stdout
    assert lines[-2:] == ["── 1 link ──", site.root + "/with.html"]


async def test_a_private_address_needs_to_be_allowed(run: Run, site: FakeSite) -> None:
    result = await asyncio.to_thread(run, "preview", site.root + "/files.html")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--allow-addresses 127.0.0.0/8" in result.stderr
    assert not site.requests


async def test_what_robots_txt_disallows_is_not_shown(run: Run, site: FakeSite) -> None:
    site.robots = "User-agent: *\nDisallow: /files"
    url = site.root + "/files.html"
    result = await asyncio.to_thread(run, "preview", url, "--allow-addresses", "127.0.0.0/8", "--json")
    assert (result.exit_code, json.loads(result.stdout)["problem"]) == (1, "robots")
    assert f"disallowed by robots.txt: a crawl leaves {url} out" in result.stderr


def test_a_file_as_if_it_stood_somewhere(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "files.html"
    file.write_text(PAGE)
    options = ("--url", "https://x.example/docs/", "--chunk-tokens", "32", "--overlap", "0", "--json")
    shown = json.loads(run("preview", str(file), *options).stdout)
    assert shown["links"] == ["https://x.example/docs/with.html"]
    assert all(chunk["tokens"] <= 32 for chunk in shown["chunks"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere.html",), "neither a file nor a URL"),
        (("https://x.example/", "--url", "https://y.example/"), "--url goes with a file"),
        (("ftp://x.example/",), "not an http or https URL"),
        (("https://x.example/", "--chunk-tokens", "64", "--overlap", "40"), "chunking.overlap_tokens is 40"),
        (("https://x.example/", "--allow-addresses", "home"), "write a CIDR range"),
        (("https://u:secret@x.example/",), "credentials"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run("preview", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr and "secret" not in result.stderr
