"""A record with its place, as it comes off the log."""

from operator import methodcaller
from typing import Any

import msgspec

Headers = tuple[tuple[str, bytes | None], ...]


class RawRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`topic` is the name without the prefix; `value` is None for a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    @property
    def next_offset(self) -> int:
        """The offset to commit once this record is done."""
        return self.offset + 1


_headers = methodcaller("headers")


def headers_of(message: Any) -> Headers | None:
    """Of a message of confluent-kafka; None where a header's key is no UTF-8.

    The client then gives a broken list and an exception at once, which a plain call may not notice.
    """
    try:
        return tuple(_headers(message) or ())
    except (UnicodeDecodeError, SystemError):
        return None
