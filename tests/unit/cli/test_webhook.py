"""`headrace webhook`: what is shown once, what is listed, what is refused."""

from pathlib import Path

import pytest

from headrace.webhooks import read_webhooks
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl, problem

HOOK = {
    "name": "deploy", "url": "https://example.org", "kbs": ["docs"], "on": [], "created_at": "2026-11-27T08:00:00Z",
    "state": "active", "waiting": 1200, "last_answer": "HTTP 500", "last_answer_at": "2026-11-27T08:00:00Z",
}  # fmt: skip


@pytest.fixture
def webhooks(tmp_path: Path) -> Path:
    return tmp_path / "data" / "webhooks.json"


def test_stdout_is_the_secret_alone(run: Run, webhooks: Path) -> None:
    made = run("webhook", "add", "deploy", "https://example.org/hook", "--kb", "docs", "--on", "failed")
    assert made.exit_code == 0
    (webhook,) = read_webhooks(webhooks)
    assert made.stdout == f"{webhook.secret}\n" and (webhook.kbs, webhook.on) == (("docs",), ("failed",))
    rotated = run("webhook", "rotate", "deploy", "--grace", "1h")
    (again,) = read_webhooks(webhooks)
    assert rotated.stdout == f"{again.secret}\n" != made.stdout and again.former is not None
    assert run("webhook", "remove", "deploy").exit_code == 0
    assert read_webhooks(webhooks) == ()


def test_the_list_says_how_each_does(run: Run, control: FakeControl) -> None:
    control.answers["GET", "/api/ingestion/webhooks"] = 200, {"webhooks": [HOOK, {**HOOK, "last_answer_at": None}]}
    listed = run("webhook", "list").output
    assert all(word in listed for word in ("deploy", "https://example.org", "docs", "active", "1,200", "HTTP 500"))


def test_a_try_that_is_not_taken_is_a_failure(run: Run, control: FakeControl) -> None:
    control.answers["POST", "/api/ingestion/webhooks/deploy/test"] = (
        200, {"name": "deploy", "delivered": False, "answer": "HTTP 500"},
    )  # fmt: skip
    tried = run("webhook", "test", "deploy")
    assert tried.exit_code == 1 and "HTTP 500" in tried.stderr
    control.answers["POST", "/api/ingestion/webhooks/nobody/test"] = problem(404, "Not found", "there is none", "x")
    assert run("webhook", "test", "nobody").exit_code == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "deploy", "example.org"), "begins with https://"), (("add", "deploy"), "URL"),
        (("add", "deploy", "https://example.org", "--on", "done"), "done"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run("webhook", *arguments)
    assert result.exit_code == 2 and says in result.stderr


@pytest.mark.parametrize("command", ["rotate", "remove"])
def test_one_that_is_not_there_is_not_found(run: Run, command: str) -> None:
    result = run("webhook", command, "x")
    assert result.exit_code == 5 and "there is no webhook 'x'; there is none" in result.stderr
