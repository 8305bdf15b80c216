"""`headrace pages`: what became of each page."""

import json

from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl, page_of, status_of

ROOT = "https://x"


def test_pages_are_shown_below_what_they_come_to(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    control.page_summary = {
        "states": [
            {"state": "fetched", "pages": 1200, "chunks": 3400, "bytes": 5_600_000},
            {"state": "failed", "pages": 1, "chunks": 0, "bytes": 0},
        ],
        "reasons": [{"state": "failed", "reason": "timeout [1]", "pages": 1}],
    }
    control.pages = [
        page_of(
            f"{ROOT}/a", title="A [b]", chunks=3, bytes=12_345, duration_ms=67, depth=2, discovered_from=f"{ROOT}/"
        ),
        page_of(f"{ROOT}/b", "failed", status=None, reason="timeout [1]", discovered_from="https://other/sitemap.xml"),
    ]
    said = run("pages", "docs").stdout
    assert "1,201 pages, 3,400 chunks, 5.6 MB: 1,200 fetched, 1 failed" in said
    assert "  1 failed: timeout [1]" in said
    rows = [line.split() for line in said.splitlines() if f"{ROOT}/" in line]
    assert rows == [
        ["fetched", "200", "3", "12,345", "67", "2", f"{ROOT}/a", "A", "[b]", "/"],
        ["failed", "1", "1,000", "12", "0", f"{ROOT}/b", "timeout", "[1]", "https://other/sitemap.xml"],
    ]


def test_a_limit_is_reached_over_several_answers_and_can_be_gone_on_from(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    control.pages = [page_of(f"{ROOT}/{n}") for n in range(5)]
    result = run("pages", "docs", "--limit", "3")
    assert f"--after '{ROOT}/2'" in result.stderr
    shown = json.loads(run("pages", "docs", "--limit", "3", "--json").stdout)
    assert [row["url"] for row in shown["pages"]] == [f"{ROOT}/{n}" for n in range(3)]
    assert (shown["next_after"], shown["job_id"]) == (f"{ROOT}/2", "job-docs")
    rest = run("pages", "docs", "--after", f"{ROOT}/2", "--json")
    assert [row["url"] for row in json.loads(rest.stdout)["pages"]] == [f"{ROOT}/3", f"{ROOT}/4"]
    assert json.loads(rest.stdout)["next_after"] is None


def test_filters_go_to_control(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    result = run("pages", "docs", "--state", "failed", "--reason", "time out", "--url", "/a?b", "--limit", "0")
    assert (result.exit_code, result.stdout) == (0, "There are none.\n")
    asked = [path for path, _ in control.requests("GET") if "/pages" in path]
    assert asked == [
        "/api/ingestion/kb/docs/jobs/job-docs/pages/summary?state=failed&reason=time+out&contains=%2Fa%3Fb"
    ]
    assert run("pages", "docs", "--state", "lost").exit_code == 2


def test_an_older_job_by_its_generation(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    control.generations = {"vacuum": None, "generations": [{"generation": 3, "job_id": "three"}]}
    assert json.loads(run("pages", "docs", "--generation", "3", "--json").stdout)["job_id"] == "three"
    assert json.loads(run("pages", "docs", "--job", "one", "--json").stdout)["job_id"] == "one"
    missing = run("pages", "docs", "--generation", "4")
    assert (missing.exit_code, "headrace generations docs" in missing.stderr) == (5, True)
