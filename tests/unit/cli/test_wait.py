"""`headrace wait`, and the table of exit codes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.root import EXIT_CODES
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import Answer, FakeControl, problem, status_of


@pytest.mark.parametrize(
    ("last", "code", "says"),
    [
        ({"status": "completed"}, 0, ""),
        ({"status": "completed_with_errors"}, 0, ""),
        ({"status": "failed", "reason": "no page could be fetched"}, 1, "docs is failed: no page could be fetched"),
        ({"status": "cancelled"}, 1, "docs is cancelled"),
        ({"status": "needs_review", "reason": "much would vanish"}, 7, "much would vanish"),
        ({"status": "paused", "commanded_by": "budget", "reason": "budget: $1"}, 7, "waits for a person: budget: $1"),
    ],
)
def test_it_ends_with_the_job(run: Run, control: FakeControl, last: dict[str, Any], code: int, says: str) -> None:
    control.statuses["docs"] = [status_of(), status_of(), status_of(**last)]
    result = run("wait", "docs")
    assert (result.exit_code, says in result.stderr) == (code, True)
    assert result.stdout == f"docs is {last['status']} (20 of 50 chunks)\n"


@pytest.mark.parametrize("word", ["running", "stalled", "queued", "paused"])
def test_it_gives_up_in_time(run: Run, control: FakeControl, word: str) -> None:
    control.statuses["docs"] = [status_of(status=word)]
    result = run("wait", "docs", "--timeout", "0", "--json")
    assert result.exit_code == 6 and "the job goes on" in result.stderr
    assert json.loads(result.stdout)["status"] == word


def test_a_job_that_another_follows_is_told_of_itself(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(), status_of(job_id="job-next")]
    control.answers["GET", "/api/ingestion/jobs/job-docs"] = (200, {"status": status_of(status="cancelled")})
    assert run("wait", "docs").exit_code == 1


@pytest.mark.parametrize("away", [problem(503, "Unavailable", "it reads the log", "not-ready"), (502, "")])
def test_a_control_that_starts_anew_is_waited_for(run: Run, control: FakeControl, away: Answer) -> None:
    control.statuses["docs"] = [status_of(), away, status_of(status="completed")]
    assert run("wait", "docs").exit_code == 0
    control.statuses["docs"] = [away]
    result = run("wait", "docs", "--timeout", "0")
    assert (result.exit_code, result.stdout) == (3 if away[0] == 502 else 1, "")


def test_there_is_nothing_to_wait_for(run: Run, control: FakeControl) -> None:
    assert run("wait", "nothing").exit_code == 5
    control.answers["GET", "/api/ingestion/kb/docs/status"] = problem(404, "Not found", "no job yet", "no-job")
    assert run("wait", "docs").exit_code == 5
    assert run("--url", "http://127.0.0.1:1", "wait", "docs", "--timeout", "0").exit_code == 3
    assert run("wait", "docs", "--timeout", "soon").exit_code == 2


def test_the_table_of_exit_codes_is_current(run: Run) -> None:
    section = Path("docs/operations.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code): says for code, says in re.findall(r"^\| (\d) \| (.+) \|$", section, re.MULTILINE)} == EXIT_CODES
    shown = run("--help").stdout
    assert all(f"{code}  {says}" in shown for code, says in EXIT_CODES.items())
