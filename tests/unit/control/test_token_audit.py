"""What the log is told of tokens, from their file and from what it was told before."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control.token_audit import changes
from headrace.tokens import create, read_tokens, revoke, rotate
from schemas.facts import TokenChanged

AT = "2026-11-24T10:02:08.518Z"


class Audited:
    """A file of tokens, and the log of what was told of them."""

    def __init__(self, path: Path) -> None:
        self.path, self.log = path, list[TokenChanged]()

    def found(self) -> list[TokenChanged]:
        newest = {each.token_id: each for each in self.log}
        return list(changes(read_tokens(self.path), newest.values(), AT))

    def told(self) -> list[tuple[str, str]]:
        """What is new, written to the log."""
        found = self.found()
        self.log += found
        return [(each.name, each.action) for each in found]

    def by_hand(self, change: Callable[[list[dict[str, Any]]], object]) -> None:
        held = json.loads(self.path.read_text())
        change(held["tokens"])
        self.path.write_text(json.dumps(held))


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    return Audited(tmp_path / "tokens.json")


def test_without_a_file_there_is_nothing_to_tell(audited: Audited) -> None:
    assert audited.told() == []


def test_each_change_is_told_with_who_made_it_and_when(audited: Audited) -> None:
    made, _ = create(audited.path, "bot", "read", kbs=["docs"], lasts=timedelta(days=1))
    assert audited.told() == [("bot", "created")]
    created = audited.log[-1]
    assert (created.role, created.kbs) == ("read", ("docs",))
    assert created.changed_at == made.created_at
    assert created.changed_by.startswith("user:") and created.expires_at is not None
    rotated, _ = rotate(audited.path, "bot", grace=timedelta(hours=1))
    assert audited.told() == [("bot", "rotated")]
    assert audited.log[-1].rotated_at is not None and audited.log[-1].former_until is not None
    revoke(audited.path, "bot")
    assert audited.told() == [("bot", "revoked")]
    assert audited.told() == []
    text = msgspec.json.encode(audited.log).decode()
    assert rotated.sha256 is not None and rotated.sha256 not in text


def test_what_a_hand_did_is_the_files(audited: Audited) -> None:
    create(audited.path, "bot", "read")
    create(audited.path, "me", "admin")
    audited.told()
    audited.by_hand(lambda tokens: tokens[0].update(role="admin"))
    assert audited.told() == [("bot", "changed")]
    assert (audited.log[-1].role, audited.log[-1].changed_by, audited.log[-1].changed_at) == ("admin", "file", AT)
    audited.by_hand(lambda tokens: tokens.pop(0))
    assert audited.told() == [("bot", "removed")]
    audited.path.unlink()
    assert audited.told() == [("me", "removed")]
    assert audited.told() == []


def test_one_that_is_back_is_told_again(audited: Audited) -> None:
    create(audited.path, "bot", "read")
    kept = audited.path.read_text()
    audited.told()
    revoke(audited.path, "bot")
    audited.told()
    audited.path.write_text(kept)
    assert audited.told() == [("bot", "changed")]
    audited.path.unlink()
    audited.told()
    audited.path.write_text(kept)
    assert audited.told() == [("bot", "changed")]
    assert audited.log[-1].changed_by == "file"


def test_what_was_rotated_before_anybody_looked_is_told_of_who_did_that(audited: Audited) -> None:
    create(audited.path, "bot", "read")
    rotated, _ = rotate(audited.path, "bot")
    assert audited.told() == [("bot", "rotated")]
    assert audited.log[-1].changed_at == rotated.rotated_at


def test_each_of_two_rotations_is_told(audited: Audited) -> None:
    create(audited.path, "bot", "read")
    audited.told()
    for _ in range(2):
        rotate(audited.path, "bot")
        time.sleep(0.002)
        assert audited.told() == [("bot", "rotated")]


@pytest.mark.parametrize("crashes", ["before", "after"])
def test_cut_off_before_or_after_the_write_each_change_is_told_once(audited: Audited, crashes: str) -> None:
    for step in (
        lambda: create(audited.path, "bot", "read"), lambda: rotate(audited.path, "bot"),
        lambda: revoke(audited.path, "bot"), lambda: create(audited.path, "me", "admin"), audited.path.unlink,
    ):  # fmt: skip
        step()
        lost = audited.found()
        if crashes == "after":
            audited.log += lost
        again = audited.found()
        assert again == (lost if crashes == "before" else [])
        audited.log += again
    actions = [each.action for each in audited.log]
    assert actions == ["created", "rotated", "revoked", "created", "removed", "removed"]
