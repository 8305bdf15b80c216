"""`headrace estimate`, with the producer's program beside it and a site on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from schemas.estimates import Estimate
from tests.fakes.site import FakeSite
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl

HERE = ("--allow-addresses", "127.0.0.0/8")


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=3, min_kb=4, max_kb=8) as running:
        yield running


async def test_a_site_that_is_read_whole(run: Run, site: FakeSite) -> None:
    result = await asyncio.to_thread(run, "estimate", site.url, *HERE, "--embedding", "openai")
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["pages", "3"] in rows and any(row[0] == "dollars" and row[1].startswith("$0.00") for row in rows)
    assert "3 pages were read in" in result.stderr and ": all there are." in result.stderr
    assert "text-embedding-3-small costs $0.02 per million tokens, as of 20" in result.stderr


async def test_the_model_is_the_one_that_a_start_would_take(
    run: Run, site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://a.example")
    result = await asyncio.to_thread(run, "estimate", site.url, *HERE, "--sample", "1")
    assert "text-embedding-3-small costs $0.02" in result.stderr


async def test_a_sample_of_one_has_bounds(run: Run, site: FakeSite) -> None:
    result = await asyncio.to_thread(run, "estimate", site.url, *HERE, "--sample", "1", "--max-pages", "50")
    assert result.exit_code == 0, result.stderr
    (pages,) = [line for line in result.stdout.splitlines() if line.split()[:1] == ["pages"]]
    assert " and " in pages
    assert "More with --sample" in result.stderr and "costs nothing" in result.stderr


async def test_all_of_it_as_json(run: Run, site: FakeSite) -> None:
    result = await asyncio.to_thread(run, "estimate", site.url, *HERE, "--json")
    assert json.loads(result.stdout)["pages"] == {"low": 3, "expected": 3, "high": 3}


def test_a_knowledge_base_is_estimated_by_control(run: Run, control: FakeControl) -> None:
    def exactly(number: float) -> dict[str, float]:
        return dict.fromkeys(("low", "expected", "high"), number)

    answer = msgspec.to_builtins(Estimate(sampled=7, whole=True, model="text-embedding-3-small")) | {
        "pages": exactly(7), "chunks": exactly(70), "tokens": exactly(7_000), "new_tokens": exactly(500),
        "reused_tokens": exactly(6_500), "usd": exactly(1e-5), "minutes": exactly(0.1), "usd_per_mtok": 0.02,
        "bound_by": "crawl", "max_pages": 10_000, "prices_as_of": "2026-05-01",
    }  # fmt: skip
    control.answers["POST", "/api/ingestion/kb/docs/start"] = 200, answer
    result = run("estimate", "--kb", "docs", "--sample", "7")
    assert control.requests("POST") == [("/api/ingestion/kb/docs/start", {"dry_run": True, "sample": 7})]
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["tokens", "7,000"] in rows and ["of", "them", "new", "500"] in rows and ["dollars", "$0.000010"] in rows
    assert "About 6,500 tokens are of texts embedded once, or already." in result.stderr
    control.answers["POST", "/api/ingestion/kb/docs/start"] = 200, answer | {"not_looked_up": "Weaviate: is away"}
    assert "is not taken off: Weaviate: is away." in run("estimate", "--kb", "docs").stderr
    assert json.loads(run("estimate", "--kb", "docs", "--json").stdout)["new_tokens"] == exactly(500)


async def test_where_there_is_nothing_to_estimate_by(run: Run, site: FakeSite) -> None:
    site.robots = "User-agent: *\nDisallow: /"
    result = await asyncio.to_thread(run, "estimate", site.url, *HERE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing to estimate by: no page with content was found: disallowed by robots.txt" in result.stderr


def test_what_is_asked_wrongly_costs_nothing(run: Run) -> None:
    assert run("estimate").exit_code == 2
    assert run("estimate", "https://example.org/", "--kb", "docs").exit_code == 2
    assert "add --allow-addresses 127.0.0.0/8" in run("estimate", "http://127.0.0.1:1/").stderr
    assert "chunking" not in run("estimate", "ftp://example.org/").stdout
