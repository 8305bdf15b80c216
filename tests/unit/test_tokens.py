"""The file of API tokens: what is in it, and which text proves which token when."""

import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.tokens import InvalidTokens, create, digest_of, proven, read_tokens, revoke, rotate, sees

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "tokens.json"


def name_of(path: Path, text: str, now: datetime = NOW) -> str | None:
    found = proven(text, {token.id: token for token in read_tokens(path)}, now)
    return found[0].name if found else None


def test_a_token_is_its_text_and_no_other(path: Path) -> None:
    _, me = create(path, "me", "admin")
    _, bot = create(path, "bot", "read", kbs=["wiki"])
    assert (name_of(path, me), name_of(path, bot)) == ("me", "bot")
    crossed = bot[:20] + me[20:]
    for wrong in ("", "hr_", me[:-1], me + "A", me.upper(), f" {me}", crossed, "hr_" + "0" * 16 + me[19:], "\udcff"):
        assert name_of(path, wrong) is None


def test_the_file_holds_no_secret_and_is_its_owners(path: Path) -> None:
    token, text = create(path, "me", "admin")
    secret = text.split("_", 2)[2]
    assert len(secret) == 43, "256 bits in base64"
    assert secret not in path.read_text() and digest_of(secret).hex() in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    revoke(path, token.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640, "what its owner allowed stays"


def test_a_token_ends_when_it_expires(path: Path) -> None:
    _, text = create(path, "me", "read", lasts=HOUR)
    assert name_of(path, text) == "me"
    assert name_of(path, text, NOW + 2 * HOUR) is None


def test_a_rotated_secret_ends_at_once_or_after_the_grace(path: Path) -> None:
    _, first = create(path, "me", "read")
    _, second = rotate(path, "me", grace=HOUR)
    assert name_of(path, first) == name_of(path, second) == "me"
    assert name_of(path, first, NOW + 2 * HOUR) is None
    assert name_of(path, second, NOW + 2 * HOUR) == "me"
    _, third = rotate(path, "me")
    assert [name_of(path, text) for text in (first, second, third)] == [None, None, "me"]


def test_a_revoked_token_leaves_its_name_and_no_hash(path: Path) -> None:
    _, text = create(path, "me", "read")
    rotate(path, "me", grace=HOUR)
    revoke(path, "me")
    assert name_of(path, text) is None
    (left,) = read_tokens(path)
    assert (left.sha256, left.former, left.state(NOW)) == (None, None, "revoked")
    with pytest.raises(InvalidTokens, match="not used twice"):
        create(path, "me", "read")
    for change in (revoke, rotate):
        with pytest.raises(InvalidTokens, match="there is no token 'me'"):
            change(path, "me")


@pytest.mark.parametrize(
    ("name", "kb", "says"),
    [("a b", "wiki", "no name"), ("", "wiki", "no name"), ("a", "Wiki", "pattern"), ("a", "", "pattern")],
)  # fmt: skip
def test_what_can_not_be_is_refused_and_writes_nothing(path: Path, name: str, kb: str, says: str) -> None:
    with pytest.raises(InvalidTokens, match=says):
        create(path, name, "read", kbs=[kb])
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", '{"tokens": [{"id": "a"}]}', '{"token": []}',
        '{"tokens": [{"id": "a", "name": "n", "role": "root", "created_at": "2026-01-01T00:00:00Z"}]}',
        '{"tokens": [{"id": "a", "name": "n", "role": "read", "created_at": "2026-01-01T00:00:00"}]}',
        '{"tokens": [{"id": "a", "name": "n", "role": "read", "sha256": "x", "created_at": "2026-01-01T00:00:00Z"}]}',
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_told_and_left_alone(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InvalidTokens, match="can't be read as a file of tokens"):
        create(path, "me", "read")
    assert path.read_text() == content


def test_many_editors_lose_nothing(path: Path) -> None:
    editors = [threading.Thread(target=create, args=(path, f"t{n}", "read")) for n in range(8)]
    for editor in editors:
        editor.start()
    for editor in editors:
        editor.join()
    assert {token.name for token in read_tokens(path)} == {f"t{n}" for n in range(8)}


@pytest.mark.parametrize(
    ("kbs", "kb", "seen"),
    [((), "wiki", True), (("wiki",), "wiki", True), (("wiki",), "wiki2", False), (("team-a-*",), "team-a-x", True),
     (("team-a-*",), "team-b-x", False), (("a", "b"), "b", True), (("my_*",), "my_kb", True)],
)  # fmt: skip
def test_scope(kbs: tuple[str, ...], kb: str, seen: bool) -> None:
    assert sees(kbs, kb) is seen
