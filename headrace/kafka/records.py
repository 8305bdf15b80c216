"""A record with its place, as it comes off the log."""

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
