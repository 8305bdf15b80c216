"""Retry-After as a number and as a date."""

from datetime import UTC, datetime

import pytest

from headrace.retry_after import retry_after_seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Tue, 01 Sep 2026 00:02:00 GMT", 120.0),
        ("Mon, 31 Aug 2026 00:00:00 GMT", 0.0),
        ("soon", None),
        ("Tue, 01 Sep 99999999999999999999 00:02:00 GMT", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert retry_after_seconds(value, now=datetime(2026, 9, 1, tzinfo=UTC)) == expected
