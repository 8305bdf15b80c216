"""Decompression of a streamed body that never holds more than its limit (RFC 9110, 8.4.1)."""

import zlib
from typing import Final

MAX_MEMBERS: Final = 50_000
"""Of a gzip body. `bgzip` makes one for every 64 KB; empty ones cost 20 bytes on the wire and 5 us each."""
_SLICE: Final = 64 * 1024
"""Behind each member zlib copies what is left of its input."""
_GZIP_OR_ZLIB = 47
_RAW_DEFLATE = -15


class BodyTooLarge(ValueError):
    """The body, decompressed, is over the limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the body is larger than {max_bytes} bytes")


class UnknownEncoding(ValueError):
    """A Content-Encoding that was not asked for, or a body that doesn't fit its encoding."""


class Inflater:
    """Feed it the body as it comes; it keeps the decompressed bytes up to `max_bytes`.

    `feed` and `finish` raise BodyTooLarge (the first `max_bytes` are kept) and UnknownEncoding.
    """

    def __init__(self, encoding: str | None, max_bytes: int) -> None:
        name = (encoding or "identity").strip().lower()
        if name not in ("identity", "gzip", "x-gzip", "deflate", ""):
            raise UnknownEncoding(f"unsupported content encoding {name[:40]!r}")
        self._plain = name in ("identity", "")
        self._max_bytes, self._kept = max_bytes, bytearray()
        self._stream = None if self._plain else zlib.decompressobj(_GZIP_OR_ZLIB)
        self._fed = False
        self._members, self._begun = 1, b""

    def body(self) -> bytes:
        return bytes(self._kept)

    def feed(self, data: bytes) -> None:
        if self._stream is None:
            self._keep(data)
            return
        try:
            for start in range(0, len(data), _SLICE):
                self._inflate(data[start : start + _SLICE])
        except zlib.error as error:
            raise UnknownEncoding(f"the body doesn't fit its content encoding: {error}") from error

    def finish(self) -> None:
        if self._stream is not None and self._fed and not self._stream.eof:
            raise UnknownEncoding("the compressed body ends too early")

    def _inflate(self, data: bytes) -> None:
        assert self._stream is not None
        if not self._fed and data and not _looks_wrapped(data):
            self._stream = zlib.decompressobj(_RAW_DEFLATE)
        self._fed = self._fed or bool(data)
        data, self._begun = self._begun + data, b""
        while data:
            if self._stream.eof:  # a gzip body may have several members (RFC 1952, 2.2)
                if data == b"\x1f":
                    self._begun = data
                if not data.startswith(b"\x1f\x8b"):
                    return
                self._members += 1
                if self._members > MAX_MEMBERS:
                    raise UnknownEncoding(f"the body has more than {MAX_MEMBERS} compressed members")
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
            self._keep(self._stream.decompress(data, self._max_bytes - len(self._kept) + 1))
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def _keep(self, data: bytes) -> None:
        room = self._max_bytes - len(self._kept)
        self._kept += data[:room] if len(data) > room else data
        if len(data) > room:
            raise BodyTooLarge(self._max_bytes)


def _looks_wrapped(data: bytes) -> bool:
    """Whether a gzip or zlib header is there; some servers send raw deflate under the name `deflate`."""
    if data[:1] == b"\x1f" or len(data) < 2:
        return True
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
