"""Webhooks as they stand in their file, and their signatures."""

from datetime import timedelta
from pathlib import Path

import pytest

from headrace.private_file import stamp_of
from headrace.webhooks import InvalidWebhooks, Webhook, add, read_webhooks, remove, rotate, sign

URL = "https://example.org/hooks/topsecret"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "webhooks.json"


def made(file: Path, name: str = "deploy", url: str = URL, **options: tuple[str, ...]) -> Webhook:
    return add(file, name, url, **{"kbs": (), "on": (), "allow_addresses": ()} | options)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that libraries of Standard Webhooks are tested by."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_both_secrets_sign_until_the_old_one_ends(file: Path) -> None:
    old = made(file)
    both = rotate(file, "deploy", grace=timedelta(hours=1))
    signatures = both.signatures("msg_1", 1, b"{}").split()
    assert signatures == [sign(both.secret, "msg_1", 1, b"{}"), sign(old.secret, "msg_1", 1, b"{}")]
    alone = rotate(file, "deploy")
    assert alone.signatures("msg_1", 1, b"{}") == sign(alone.secret, "msg_1", 1, b"{}")


def test_what_was_added_is_read_and_what_was_removed_is_gone(file: Path) -> None:
    one, other = made(file), made(file, "other", kbs=("team-a-*",), on=("failed",))
    assert read_webhooks(file) == (one, other)
    assert file.stat().st_mode & 0o777 == 0o600
    assert other.wants("team-a-wiki", "failed") and not other.wants("wiki", "failed")
    assert not other.wants("team-a-wiki", "paused") and one.wants("wiki", "paused")
    remove(file, "deploy")
    assert read_webhooks(file) == (other,)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.org/topsecret", "https://"), ("https:///topsecret", "a host"), ("topsecret", "https://"),
        ("https://me:topsecret@example.org/", "user name"), ("https://example.org/top secret", "spaces"),
        ("https://example.org/topsecret\n", "spaces"), ("https://example.org:topsecret/", "port"),
        ("https://example.org/topsecret" + "x" * 2_000, "characters"), ("https://[topsecret/", "can't be read"),
        ("https://me:topsecret@ex\u2100mple.org/", "can't be read"),
    ],
)  # fmt: skip
def test_a_url_that_can_not_be_is_refused_and_not_repeated(file: Path, url: str, says: str) -> None:
    with pytest.raises(InvalidWebhooks, match=says) as caught:
        made(file, url=url)
    assert "topsecret" not in str(caught.value) or says == "port"
    assert not file.exists()


def test_the_place_can_be_told_with_no_secret(file: Path) -> None:
    assert made(file, url="http://[2001:DB8::1]:8080/topsecret?topsecret").place == "http://[2001:db8::1]:8080"
    assert made(file, "other").place == "https://example.org"


def test_a_file_that_may_be_read_after_all_is_a_changed_one(file: Path) -> None:
    made(file)
    file.chmod(0)
    before = stamp_of(file)
    file.chmod(0o600)
    assert stamp_of(file) != before


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("a b", {}, "no name"), ("deploy", {}, "already"), ("more", {"kbs": ("A B",)}, "no knowledge base"),
        ("more", {"allow_addresses": ("10.0.0.0/64",)}, "10.0.0.0/64"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(file: Path, name: str, options: dict[str, tuple[str, ...]], says: str) -> None:
    kept = made(file)
    with pytest.raises(InvalidWebhooks, match=says):
        made(file, name, **options)
    assert read_webhooks(file) == (kept,)
    with pytest.raises(InvalidWebhooks, match="there is deploy"):
        remove(file, "nobody")


@pytest.mark.parametrize("content", ["", "[]", '{"webhooks": 1}', '{"hooks": []}', '{"webhooks": [{"name": "x"}]}'])
def test_a_file_that_is_none_says_so(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(InvalidWebhooks, match="can't be read as a file of webhooks"):
        read_webhooks(file)


def test_a_status_that_there_is_not_is_refused_also_where_a_hand_wrote_it(file: Path) -> None:
    with pytest.raises(InvalidWebhooks, match="'done' is no status: use"):
        made(file, on=("done",))
    made(file, on=("failed",))
    file.write_text(file.read_text().replace("failed", "faild"))
    with pytest.raises(InvalidWebhooks, match="'faild' is no status"):
        read_webhooks(file)
