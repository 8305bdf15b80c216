"""`headrace token`: what is shown once, what is listed, what is refused."""

import json
from pathlib import Path

import pytest

from headrace.tokens import read_tokens
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl, problem


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tokens.json"


def test_stdout_is_the_token_alone(run: Run, tokens: Path) -> None:
    made = run("token", "create", "wiki-bot", "--role", "read", "--kb", "wiki", "--expires", "90d")
    assert made.exit_code == 0
    (token,) = read_tokens(tokens)
    assert made.stdout.startswith(f"hr_{token.id}_") and made.stdout.count("\n") == 1
    assert "Its role is read, over wiki, until" in made.stderr
    rotated = run("token", "rotate", "wiki-bot", "--grace", "1h")
    assert rotated.stdout.startswith(f"hr_{token.id}_") and rotated.stdout != made.stdout
    assert "taken until" in rotated.stderr


def test_the_list_shows_no_secret_and_no_hash(run: Run, tokens: Path) -> None:
    text = run("token", "create", "me", "--role", "admin").stdout.strip()
    run("token", "create", "old", "--role", "read")
    run("token", "revoke", "old")
    listed, as_json = run("token", "list").output, run("token", "list", "--json").output
    hashes = [token.sha256 for token in read_tokens(tokens) if token.sha256]
    assert not any(secret in listed + as_json for secret in (text.split("_", 2)[2], *hashes))
    assert [(row["name"], row["state"]) for row in json.loads(as_json)] == [("me", "valid"), ("old", "revoked")]
    assert "me" in listed and "revoked" in listed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "me"), "--role"), (("create", "me", "--role", "root"), "root"),
        (("create", "a b", "--role", "read"), "no name"), 
        (("create", "me", "--role", "read", "--expires", "soon"), "such as 90d"),
        (("create", "me", "--role", "read", "--expires", "0d"), "such as 90d"),
        (("create", "me", "--role", "read", "--expires", "99999d"), "no token can last"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run("token", *arguments)
    assert result.exit_code == 2 and says in result.stderr


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_one_that_is_not_there_is_not_found(run: Run, command: str) -> None:
    run("token", "create", "old", "--role", "read")
    run("token", "revoke", "old")
    for name in ("nobody", "old"):
        result = run("token", command, name)
        assert result.exit_code == 5 and f"there is no token '{name}'; there is none" in result.stderr


def test_without_any_the_list_says_how(run: Run) -> None:
    assert "headrace token create" in run("token", "list").output


def test_a_refusal_says_where_a_token_goes(run: Run, control: FakeControl) -> None:
    control.answers["GET", "/api/ingestion/kb"] = problem(401, "Unauthorized", "a token is asked for", "token-missing")
    result = run("kb", "list")
    assert result.exit_code == 1 and "HEADRACE_TOKEN" in result.stderr


@pytest.mark.parametrize("token", ["hr_id_hush\nmore", "hr_id_hush\u201d"])
def test_a_token_that_is_none_is_refused_and_not_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HEADRACE_TOKEN", token)
    result = run("status")
    assert result.exit_code == 2 and "HEADRACE_TOKEN does not fit: it holds letters" in result.stderr
    assert "hush" not in result.output
