"""`headrace pages KB --why URL`: what is said for each verdict, and with the producer's program beside it."""

import asyncio
import json
from typing import Any

import pytest

from headrace.embedded.ports import free_ports
from tests.fakes.site import FakeSite
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl, page_of, problem, status_of
from tests.unit.cli.definition import DEFINITION

Json = dict[str, Any]

ROOT = "https://example.org/docs"
URL = f"{ROOT}/a.html"
FINISHED = {"state": "finished", "pages_queued": 0}


def defined(**source: Any) -> Json:
    return {**DEFINITION, "source": {**DEFINITION["source"], "max_pages": 100, "max_depth": None, **source}}


def told_of(verdict: str = "inside", reason: str = "under example.org/docs/", **changes: Any) -> Json:
    told: Json = {
        "url": URL, "verdict": verdict, "reason": reason, "robots": None, "sitemap": None, "sitemaps_unread": False,
        "linked": None,
    }  # fmt: skip
    return told | changes


def linked_of(place: str = "not_linked", *by: str, cut: bool = False, against_limit: int = 10) -> Json:
    linking = [{"url": url, "depth": 2, "state": "fetched"} for url in by]
    return {"by": linking, "marked": [], "place": place, "cut": cut, "against_limit": against_limit}


class Beside:
    """In place of the producer's program; `asked`: every question."""

    def __init__(self) -> None:
        self.told, self.asked = told_of(), list[Json]()

    def ask(self, module: str, question: Json) -> Json:
        assert module == "producer.explain"
        self.asked.append(question)
        return self.told


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Beside:
    made = Beside()
    monkeypatch.setattr("headrace.cli.why.ask", made.ask)
    return made


def put_job(control: FakeControl, definition: Json | None = None, **changes: Any) -> None:
    status = status_of(**{"status": "completed", "crawl": FINISHED, **changes})
    control.statuses["docs"] = [status]
    job = {"status": status, "definition": definition or defined()}
    control.answers["GET", "/api/ingestion/kb/docs/jobs/job-docs"] = (200, job)


class TestWithRecord:
    def test_the_way_by_which_it_was_found(self, run: Run, control: FakeControl, beside: Beside) -> None:
        put_job(control)
        sitemap = "https://example.org/sitemap.xml"
        control.pages = [
            page_of(URL, chunks=3, bytes=12_345, duration_ms=67, depth=2, discovered_from=f"{ROOT}/b"),
            page_of(f"{ROOT}/b", depth=1, discovered_from=sitemap),
        ]
        lines = run("pages", "docs", "--why", URL).stdout.splitlines()
        assert lines[:2] == [URL, "Generation 1: It was crawled: 3 chunks."]
        assert lines[2].endswith(": status 200, 12,345 bytes in 67 ms.")
        assert lines[3:] == ["Found by way of:", f"  {ROOT}/b", f"  {sitemap}"]
        assert [question.get("ask_site") for question in beside.asked] == [None]

    def test_pages_that_name_each_other_are_no_endless_way(
        self, run: Run, control: FakeControl, beside: Beside
    ) -> None:
        put_job(control)
        control.pages = [page_of(URL, discovered_from=f"{ROOT}/b"), page_of(f"{ROOT}/b", discovered_from=URL)]
        assert json.loads(run("pages", "docs", "--why", URL, "--json").stdout)["trail"] == [f"{ROOT}/b"]

    @pytest.mark.parametrize(
        ("state", "changes", "said"),
        [
            ("fetched", {}, "It is a start URL."),
            ("unchanged", {"chunks": 4}, "has not changed since the published generation, of which it keeps 4 chunks"),
            ("redirected", {"reason": f"redirects to {ROOT}/b"}, f"leads elsewhere: redirects to {ROOT}/b."),
            ("kept", {"reason": "status 503", "chunks": 2}, "What is published of it stays, 2 chunks: status 503."),
            ("kept", {"attempt": 0, "status": None, "reason": "not reached within the page limit"}, "did not ask for"),
            ("gone", {"reason": "status 404", "status": 404}, "It is gone: status 404."),
            ("skipped", {"reason": "disallowed by robots.txt", "status": None}, "left out: disallowed by robots.txt."),
            ("skipped", {"reason": "noindex"}, "It was found and left out: noindex."),
            ("skipped", {"reason": f"canonical is {ROOT}/b"}, f"left out: canonical is {ROOT}/b."),
            ("skipped", {"reason": f"same content as {ROOT}/b"}, f"left out: same content as {ROOT}/b."),
            ("failed", {"reason": "timeout", "status": None, "attempt": 3}, ", and was tried 3 times."),
            ("failed", {"reason": "status 500", "status": 500, "attempt": 3}, "status 500, at try 3"),
            ("out_of_scope", {"reason": "excluded by old/**", "attempt": 0}, "It is out of scope: excluded by old/**."),
        ],
    )
    def test_what_became_of_it(
        self, run: Run, control: FakeControl, beside: Beside, state: str, changes: Json, said: str
    ) -> None:
        put_job(control)
        control.pages = [page_of(URL, state, **changes)]
        answer = json.loads(run("pages", "docs", "--why", URL, "--json").stdout)
        assert said in " ".join(answer["words"])
        assert (answer["verdict"], answer["page"], answer["told"]) == (state, control.pages[0], None)
        assert (answer["job_id"], answer["generation"]) == ("job-docs", 1)


ALLOWED = {"allowed": True, "reason": "robots.txt allows it", "crawl_delay_s": None, "unreadable": False}
FORBIDDEN = ALLOWED | {"allowed": False, "reason": "disallowed by robots.txt (x)"}
RUNNING = {"status": "running", "crawl": {"state": "crawling", "pages_queued": 1_234}}
PAUSED = {"status": "paused", "crawl": {"state": "holding"}}
CANCELLED = {"status": "cancelled", "crawl": {"state": "holding"}}
AT_LIMIT = {"crawl": {**FINISHED, "pages_crawled": 90, "pages_skipped": 10}}
MAP = "https://example.org/sitemap.xml"
B = f"{ROOT}/b"
MARKED = {"marked": [{"url": f"{ROOT}/c", "depth": 1, "state": "fetched"}]}


class TestWithoutRecord:
    @pytest.mark.parametrize(
        ("verdict", "job", "told", "said"),
        [
            ("invalid_url", {}, told_of("invalid_url", "not an absolute URL", url=None), "It can't be crawled: not an"),
            ("invalid_scope", {}, told_of("invalid_scope", "start URL: x", url=None), "It can't be crawled: start URL"),
            ("out_of_scope", {}, told_of("out_of_scope", "excluded by a*"), "It is out of scope: excluded by a*."),
            ("trap", {}, told_of("trap", "a view to print: p=1"), "links to it are not followed: a view to print: p="),
            ("robots", {}, told_of(robots=FORBIDDEN), "robots.txt, as it is now: disallowed by robots.txt (x)."),
            ("robots", RUNNING, told_of(robots=FORBIDDEN), "So it would be left out, had the crawl come to it"),
            ("waiting", RUNNING, told_of(robots=ALLOWED), "the job is running, 1,234 pages are known to wait."),
            ("waiting", PAUSED, told_of(), "the job is paused"),
            ("max_depth", {}, told_of(linked=linked_of("too_deep", B)), "It lies deeper than max_depth, 3."),
            ("repeated", {}, told_of(linked=linked_of("left_out", B)), "Only pages that repeat others"),
            ("max_pages", {}, told_of(linked=linked_of("next", against_limit=100)), "limit of 100 pages (max_pages)"),
            ("max_pages", AT_LIMIT, told_of(), "The crawl ended at its limit of 100 pages (max_pages) before it."),
            ("max_pages", {}, told_of(sitemap=MAP, linked=linked_of(against_limit=100)), f"{MAP} names it. The crawl"),
            ("cut_short", CANCELLED, told_of(linked=linked_of("next")), "was cancelled before the crawl came to it."),
            ("not_known_then", {}, told_of(linked=linked_of("next")), "did not know of it when it ended"),
            ("not_known_then", {}, told_of(sitemap=MAP), f"The sitemap {MAP} names it. The crawl did not know of it"),
            ("nofollow", {}, told_of(linked=linked_of() | MARKED), "It is only linked where links are marked nofollow"),
            ("not_known_then", {}, told_of(sitemap=MAP, linked=linked_of() | MARKED), "did not know of it when it end"),
            ("not_found", {}, told_of(linked=linked_of()), "No page that was crawled links to it, and no sitemap nam"),
            ("not_found", {}, told_of(linked=linked_of(cut=True)), "(of some pages not all links are known)"),
            ("not_found", {}, told_of(linked=linked_of(against_limit=100)), "limit of 100 pages (max_pages): others"),
            ("not_found", {}, told_of(sitemaps_unread=True), "no sitemap, of those that can be read now, names it"),
            ("not_found", {}, told_of(), "Probably no page that was crawled links to it (their links can't be read"),
        ],
    )
    def test_what_is_said(
        self, run: Run, control: FakeControl, beside: Beside, verdict: str, job: Json, told: Json, said: str
    ) -> None:
        put_job(control, defined(max_depth=3), **job)
        beside.told = told
        answer = json.loads(run("pages", "docs", "--why", URL, "--json").stdout)
        assert (answer["verdict"], answer["page"], answer["trail"]) == (verdict, None, [])
        assert said in " ".join(answer["words"])

    def test_site_and_log_are_asked_about_what_is_in_scope(
        self, run: Run, control: FakeControl, beside: Beside
    ) -> None:
        put_job(control, defined())
        beside.told = told_of(linked=linked_of("next", f"{ROOT}/[b]") | MARKED)
        lines = run("pages", "docs", "--why", URL).stdout.splitlines()
        assert lines[-4:] == [
            "Linked from:", f"  {ROOT}/[b]  fetched, depth 2",
            "Linked from, marked nofollow:", f"  {ROOT}/c  fetched, depth 1",
        ]  # fmt: skip
        log = {"kb_id": "docs", "generation": 1, "job_id": "job-docs"}
        asked = {"url": URL, "definition": defined()}
        assert beside.asked == [asked, {**asked, "ask_site": True, "log": log}]
        beside.asked.clear()
        beside.told = told_of("out_of_scope", "excluded by a*")
        run("pages", "docs", "--why", URL)
        assert len(beside.asked) == 1

    @pytest.mark.parametrize("known", ["http://example.org/docs/a.html", f"{URL}/"])
    def test_another_spelling_that_has_a_record(
        self, run: Run, control: FakeControl, beside: Beside, known: str
    ) -> None:
        put_job(control)
        control.pages = [page_of(known)]
        assert (
            f"There is a page by another spelling, though, fetched: {known}"
            in run("pages", "docs", "--why", URL).stdout
        )

    def test_before_the_first_job(self, run: Run, control: FakeControl, beside: Beside) -> None:
        control.statuses["docs"] = []
        answer = json.loads(run("pages", "docs", "--why", URL, "--json").stdout)
        assert (answer["verdict"], answer["job_id"]) == ("no_job", None)
        assert "headrace ingest --kb docs" in answer["words"][0]
        assert beside.asked[1]["log"] is None


def test_jobs_and_generations(run: Run, control: FakeControl, beside: Beside) -> None:
    put_job(control)
    control.generations = {"vacuum": None, "generations": [{"generation": 3, "job_id": "job-docs"}]}
    control.pages = [page_of(URL)]
    assert run("pages", "docs", "--why", URL, "--generation", "3").exit_code == 0
    assert run("pages", "docs", "--why", URL, "--generation", "4").exit_code == 5
    control.answers["GET", "/api/ingestion/kb/docs/jobs/other"] = problem(
        404, "Not found", "no such job", "unknown-job"
    )
    assert run("pages", "docs", "--why", URL, "--job", "other").exit_code == 5
    assert run("pages", "nowhere", "--why", URL).exit_code == 5


@pytest.mark.parametrize("option", ["--state=failed", "--reason=x", "--url=x", "--after=x"])
def test_filters_don_t_go_with_it(run: Run, option: str) -> None:
    result = run("pages", "docs", "--why", URL, option)
    assert (result.exit_code, "--why is of one URL" in result.stderr) == (2, True)


async def test_with_the_program_and_a_site(run: Run, control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    (nobody,) = free_ports(1)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{nobody}")
    async with FakeSite(pages=0, robots="User-agent: headrace\nDisallow: /docs/private/") as site:
        put_job(control, defined(urls=[f"{site.root}/docs/"], allow_addresses=["127.0.0.0/8"]))

        async def answered(path: str) -> Json:
            result = await asyncio.to_thread(run, "pages", "docs", "--why", site.root + path, "--json")
            assert (result.exit_code, result.stderr) == (0, "")
            return dict(json.loads(result.stdout))

        answer = await answered("/docs/private/a#top")
        assert (answer["verdict"], answer["url"]) == ("robots", f"{site.root}/docs/private/a")
        assert "(disallow: /docs/private/)" in " ".join(answer["words"])
        answer = await answered("/docs/a?sort=up")
        assert answer["verdict"] == "trap"
        answer = await answered("/blog/")
        assert (answer["verdict"], f"inside: 127.0.0.1:{site.port}/docs/" in answer["words"][0]) == (
            "out_of_scope",
            True,
        )
