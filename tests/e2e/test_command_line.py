"""`headrace up -d`, the demo twice, what became of a site's pages, Kafka's tools, `down`: as a newcomer runs them, on a
stack of their own."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from headrace.embedded.ports import free_ports
from headrace.sample.pages import pages
from headrace.settings import Settings
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import redirect, status

Headrace = Callable[..., subprocess.CompletedProcess[str]]
DEADLINE_S = 500.0
_OURS = ("HEADRACE_", "OPENAI_", "KAFKA_", "WEAVIATE_")


@pytest.fixture(scope="module")
def headrace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    control, kafka, weaviate, grpc = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environment |= {
        "HEADRACE_DATA_DIR": str(tmp_path_factory.mktemp("stack")),
        "HEADRACE_CACHE_DIR": str(Settings.from_env().cache_dir),
        "HEADRACE_HTTP_PORT": str(control),
        "HEADRACE_KAFKA_PORT": str(kafka),
        "HEADRACE_WEAVIATE_PORT": str(weaviate),
        "HEADRACE_WEAVIATE_GRPC_PORT": str(grpc),
    }

    def run(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headrace.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    run("up", "--detach")
    try:
        yield run
    finally:
        assert "Headrace is down." in run("down").stderr


def test_the_demo_pauses_resumes_completes_and_answers(headrace: Headrace) -> None:
    done = headrace("demo", "--exit")
    for said in (f"Paused: {len(pages())} pages and ", "Resuming", f"Done and proven: {len(pages())} pages"):
        assert said in done.stderr
    assert done.stdout.count("? ") >= 3
    # two pages of the reference hold the same text: either may come first
    assert re.search(r"^1\. (Compound statements › )?Function definitions", done.stdout, re.MULTILINE)
    assert re.search(r"^1\. .*With Statement Context Managers", done.stdout, re.MULTILINE)


def test_a_second_demo_refreshes_and_fetches_nothing_anew(headrace: Headrace) -> None:
    done = headrace("demo", "--exit")
    assert "generation 2" in done.stderr
    assert "unchanged since the last time" in done.stderr


def test_status_and_search_for_scripts(headrace: Headrace) -> None:
    (status,) = json.loads(headrace("status", "--json").stdout)
    assert (status["status"], status["generation"]) == ("completed", 2)
    answer = json.loads(headrace("search", "python-reference", "context managers", "--json").stdout)
    assert answer["generation"] == 2
    assert answer["hits"]


def test_the_history_answers_sql(headrace: Headrace) -> None:
    assert "is completed" in headrace("wait", "python-reference", "--timeout", "60").stdout
    asked = "SELECT count(*), sum(chunks) FROM pages JOIN jobs USING (job_id) WHERE outcome = 'completed'"
    ((pages, chunks),) = json.loads(headrace("sql", asked, "--json").stdout)["rows"]
    (indexed,) = json.loads(
        headrace("sql", "SELECT count(DISTINCT chunk_id) FROM outcomes WHERE result = 'indexed'", "--json").stdout
    )["rows"]
    assert pages > 0 and chunks >= indexed[0] > 0
    assert "only one SELECT" in headrace("sql", "DROP TABLE pages", expect=2).stderr


def test_back_by_a_generation_and_on_again(headrace: Headrace) -> None:
    changes = json.loads(headrace("changes", "python-reference", "--json").stdout)
    assert (changes["from_generation"], changes["to_generation"]) == (1, 2)
    assert (changes["pages"], changes["totals"]["pages_unchanged"] > 0) == ([], True)
    assert json.loads(headrace("dead-letters", "python-reference", "--json").stdout) == []
    assert "is cancelled" in headrace("rollback", "python-reference", "--yes", "--wait").stdout
    assert json.loads(headrace("search", "python-reference", "context managers", "--json").stdout)["generation"] == 1
    headrace("rollback", "python-reference", "--yes", expect=4)
    headrace("approve", "python-reference", expect=4)
    headrace("demo", "--exit")
    headrace("vacuum", "python-reference", "--yes")
    rows = json.loads(headrace("generations", "python-reference", "--json").stdout)["generations"]
    assert [(row["generation"], row["state"], row["searchable"]) for row in rows] == [
        (3, "published", True), (2, "undone", False), (1, "published", False),
    ]  # fmt: skip
    assert "vacuumed" in headrace("search", "python-reference", "x", "--generation", "1", expect=1).stderr


def page(subject: str, *links: str, head: str = "", before: str = "") -> str:
    anchors = "".join(f'<a href="{link}">to {link}</a> ' for link in links)
    text = f"This page is all about {subject}. " * 12
    return (
        f"<html><head><title>{subject}</title>{head}</head><body>{before}<nav>{anchors}</nav><main>{text}</main></body>"
    )


def sitemap(*paths: str) -> str:
    urls = "".join(f"<url><loc>{path}</loc></url>" for path in paths)
    return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'


PAGES = {
    "/": page("start", "/a", "/b", "/copy", "/moved", "/gone", "/bad", "/private/x", "/old/x", "/?sort=up"),
    "/a": page("a", "/deep", before='<a rel="nofollow" href="/quiet">quiet</a>'),
    "/copy": page("a copy", head='<link rel="canonical" href="/a">'),
    "/mapped": page("mapped"),
    "/new": page("new"),
    "/sitemap.xml": sitemap("/mapped"),
}
RECORDED = {
    "/": ("fetched", 200, "It is a start URL."),
    "/a": ("fetched", 200, "It was crawled: 1 chunk."),
    "/bad": ("failed", 403, "It could not be read: status 403."),
    "/copy": ("skipped", 200, "It was found and left out: canonical is "),
    "/gone": ("gone", 404, "It is gone: status 404."),
    "/mapped": ("fetched", 200, "/sitemap.xml"),
    "/moved": ("redirected", 301, "leads elsewhere: redirects to "),
    "/private/x": ("skipped", None, "left out: disallowed by robots.txt."),
}
WITHOUT_RECORD = {
    "/private/y": ("robots", "(disallow: /private/)"),
    "/old/x": ("out_of_scope", "excluded by /old/**"),
    "/?sort=up": ("trap", "another order of a list: sort=up"),
    "/deep": ("max_depth", "deeper than max_depth, 1"),
    "/quiet": ("nofollow", "only linked where links are marked nofollow"),
    "/new": ("not_found", "No page that was crawled links to it, and no sitemap names it."),
}


async def test_what_became_of_each_page_and_why_others_are_none(headrace: Headrace) -> None:
    async with FakeSite(pages=0, latency_s=0.005, robots="User-agent: headrace\nDisallow: /private/") as site:
        for path, content in PAGES.items():
            site.put(path, content)
        site.put("/b", PAGES["/a"])
        for path, answer in (("/moved", redirect("/a")), ("/gone", status(404)), ("/bad", status(403))):
            site.behave(path, answer)

        async def run(*arguments: str, expect: int = 0) -> str:
            return (await asyncio.to_thread(headrace, *arguments, expect=expect)).stdout

        async def why(path: str, kb: str = "seen") -> tuple[str, str]:
            answer = json.loads(await run("pages", kb, "--why", site.root + path, "--json"))
            return answer["verdict"], " ".join((*answer["words"], *answer["trail"]))

        ingest = ("ingest", site.root + "/", "--allow-addresses", "127.0.0.0/8", "--kb")
        await run(*ingest, "seen", "--exclude", "/old/**", "--max-depth", "1")
        found = json.loads(await run("pages", "seen", "--json"))["pages"]
        rows = {row["url"].removeprefix(site.root): row for row in found}
        # of two pages with the same content either may be the one that is read
        (twin,) = [rows.pop(path) for path in ("/a", "/b") if rows[path]["state"] == "skipped"]
        original = site.root + ("/a" if twin["url"].endswith("/b") else "/b")
        assert twin["reason"] == f"same content as {original}"
        rows["/a"] = rows.pop(original.removeprefix(site.root))
        assert {path: (row["state"], row["status"]) for path, row in rows.items()} == {
            path: expected[:2] for path, expected in RECORDED.items()
        }
        assert {path: row["discovered_from"] for path, row in rows.items()} == dict.fromkeys(
            RECORDED, f"{site.root}/"
        ) | {"/": None, "/mapped": f"{site.root}/sitemap.xml"}
        asked = [row for path, row in rows.items() if path != "/private/x"]
        assert all(row["duration_ms"] > 0 for row in asked)
        assert all(row["bytes"] > 0 for row in asked if row["state"] != "redirected")
        assert {path for path, row in rows.items() if row["chunks"]} == {"/", "/a", "/mapped"}
        for path, (state, _, words) in RECORDED.items():
            told = await why(rows[path]["url"].removeprefix(site.root))
            assert (told[0], words in told[1]) == (state, True), told
        for path, (verdict, words) in WITHOUT_RECORD.items():
            told = await why(path)
            assert (told[0], words in told[1]) == (verdict, True), told
        site.put("/sitemap.xml", sitemap("/mapped", "/new"))
        assert (await why("/new"))[0] == "not_known_then"
        await run(*ingest, "few", "--max-pages", "1", "--no-sitemaps")
        assert (await why("/a", "few"))[0] == "max_pages"
        await run("pages", "nowhere", "--why", site.root + "/", expect=5)


def test_the_doctor_finds_nothing_wrong(headrace: Headrace) -> None:
    found = json.loads(headrace("doctor", "--json").stdout)
    assert [finding for finding in found if finding["level"] == "fail"] == []


def test_kafka_s_tools_are_passed_through_with_their_exit_codes(headrace: Headrace) -> None:
    described = headrace("kafka", "consumer-groups", "--describe", "--group", "headrace.consumer").stdout
    assert "headrace.chunks" in described
    assert "headrace.events" in headrace("kafka", "kafka-topics", "--list").stdout.splitlines()
    headrace("kafka", "topics", "--describe", "--topic", "none", expect=1)


def test_a_second_up_is_refused(headrace: Headrace) -> None:
    assert "up already" in headrace("up", expect=4).stderr
