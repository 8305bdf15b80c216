"""Compressed bodies in pieces, in several members, and made to exhaust a reader."""

import gzip
import zlib

import pytest

from producer import inflate
from producer.inflate import BodyTooLarge, Inflater, UnknownEncoding

EMPTY = gzip.compress(b"")


def inflated(body: bytes, piece: int, encoding: str = "gzip", max_bytes: int = 1_000_000) -> bytes:
    inflater = Inflater(encoding, max_bytes)
    for start in range(0, len(body), piece):
        inflater.feed(body[start : start + piece])
    inflater.finish()
    return inflater.body()


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("slice_bytes", [1, 2, 5, 64 * 1024])
def test_pieces_may_end_anywhere(monkeypatch: pytest.MonkeyPatch, piece: int, slice_bytes: int) -> None:
    monkeypatch.setattr(inflate, "_SLICE", slice_bytes)
    members = gzip.compress(b"one ") + EMPTY + gzip.compress(b"two ") + gzip.compress(b"three")
    assert inflated(members, piece) == b"one two three"
    assert inflated(members + b"\0" * 20 + EMPTY, piece) == b"one two three", "padding ends it"
    assert inflated(members + b"\x1f", piece) == b"one two three"
    assert inflated(zlib.compress(b"one"), piece, "deflate") == b"one"


def test_members_are_bounded_in_number_and_never_copied_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """50 MB of empty members, which took an hour."""
    body = EMPTY * (50_000_000 // len(EMPTY))
    with pytest.raises(UnknownEncoding, match="more than 50000 compressed members"):
        inflated(body, len(body))
    monkeypatch.setattr(inflate, "MAX_MEMBERS", 3)
    assert inflated(EMPTY * 3, 1_000) == b""
    with pytest.raises(UnknownEncoding):
        inflated(EMPTY * 4, 1_000)


def test_the_limit_of_bytes_holds_over_all_members() -> None:
    assert inflated(gzip.compress(b"x" * 50) * 2, 9, max_bytes=100) == b"x" * 100
    with pytest.raises(BodyTooLarge):
        inflated(gzip.compress(b"x" * 50) * 2 + gzip.compress(b"y"), 9, max_bytes=100)
