"""Bytes to text: BOM, then the HTTP header, then the page's own declaration, then a guess.

The order is the HTML standard's (13.2.3.2); labels and decoders are the Encoding standard's, and no others: a page must
not choose one of Python's own codecs, of which some are quadratic. What the standard leaves to the browser is guessed:
UTF-8 where all of it is, else by Firefox's detector.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Final, Literal

import chardetng_py
import webencodings

from producer.content.document import NotExtractable
from producer.content.prescan import declared_encoding, encoding_of, xml_encoding

Declares = Literal["html", "xml", "nothing"]
"""Whose declaration a text may hold."""

GUESSED_BYTES: Final = 100_000

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
_WIDE = ("utf-16le", "utf-16be")
_PARAMETER = re.compile(r';\s*charset\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)")
_WIDER = {"gbk": "gb18030"}
"""gbk is decoded by gb18030's decoder (Encoding standard, 10.1.1)."""
_BY_PYTHON_NAME = {"cp874": "windows-874"}
"""The one encoding that the detector names as Python does."""
_AS_STANDARD = "headrace.encoding-standard"


def _as_standard(error: UnicodeError) -> tuple[str, int]:
    """What the standard's tables have and Python's lack, by the name of Python's codec; else U+FFFD."""
    assert isinstance(error, UnicodeDecodeError)
    at = error.start
    first, pair = error.object[at], error.object[at : at + 2]
    match error.encoding:
        case "charmap" if 0x80 <= first <= 0x9F:
            return chr(first), at + 1  # windows-125x and windows-874 have control characters in Python's holes
        case "gb18030" if first == 0x80:
            return "€", at + 1
        case "big5hkscs" if len(found := pair.decode("cp950", "ignore")) == 1 and pair[-1] > 0x7F:
            return found, at + 2
        case "euc_jp" | "iso2022_jp" if found := _of_jis(pair):
            return found, at + 2
    return "\ufffd", error.end


def _of_jis(pair: bytes) -> str:
    """A character of Windows' JIS X 0208, which has rows 13 and 89 to 92 beyond the norm's; empty for none."""
    row, cell = (byte % 0x80 - 0x20 for byte in pair.ljust(2, b"\0"))
    if (pair[0] < 0x80) != (pair[-1] < 0x80) or not (1 <= row <= 94 and 1 <= cell <= 94):
        return ""
    lead = (row - 1) // 2 + (0x81 if row < 63 else 0xC1)
    trail = cell + (0x9E if row % 2 == 0 else 0x40 if cell > 63 else 0x3F)
    return bytes((lead, trail)).decode("cp932", "ignore")


codecs.register_error(_AS_STANDARD, _as_standard)


def decode(body: bytes, content_type: str | None, declares: Declares = "html") -> str:
    """The text, without BOM; undecodable bytes become U+FFFD.

    Raises NotExtractable for encodings that browsers refuse to decode ("replacement": they hide ASCII from filters).
    """
    if marked := _by_bom(body):
        start, encoding = marked
        return _decoded(body[start:], encoding)
    told = _from_header(content_type) or _declared(body, declares)
    if told is not None:
        return _decoded(body, told)
    if declares == "xml":
        return _decoded(body, "utf-8")  # XML 1.0, 4.3.3
    return _guessed(body)


def xml_slices(body: bytes, slice_bytes: int) -> Iterator[str]:
    """As `decode` of XML without a header, bit by bit."""
    start, encoding = _by_bom(body) or (0, xml_encoding(body) or "utf-8")
    codec, errors = _codec(encoding)
    assert codec.incrementaldecoder is not None
    decoder, view = codec.incrementaldecoder(errors), memoryview(body)
    for at in range(start, len(view), slice_bytes):
        yield decoder.decode(bytes(view[at : at + slice_bytes]))
    yield decoder.decode(b"", True)


def _by_bom(body: bytes) -> tuple[int, str] | None:
    """The mark's length and its encoding."""
    return next(((len(bom), encoding) for bom, encoding in _BOMS if body.startswith(bom)), None)


def wide_encoding(body: bytes, content_type: str | None) -> str | None:
    """utf-16le or utf-16be where the body is in that, as `decode` takes it: else text has no zero bytes."""
    _, by_bom = _by_bom(body) or (0, None)
    told = by_bom or _from_header(content_type) or xml_encoding(body)
    return told if told in _WIDE else None


def _declared(body: bytes, declares: Declares) -> str | None:
    match declares:
        case "html":
            return declared_encoding(body)
        case "xml":
            return xml_encoding(body)
        case "nothing":
            return None


def _from_header(content_type: str | None) -> str | None:
    """Of the first charset parameter; an unknown one is none."""
    match = _PARAMETER.search(content_type or "")
    if match is None:
        return None
    quoted, plain = match.groups()
    return encoding_of(_ESCAPED.sub(r"\1", quoted) if quoted is not None else plain)


def _decoded(body: bytes, encoding: str) -> str:
    codec, errors = _codec(encoding)
    return str(codec.decode(body, errors)[0])


def _codec(encoding: str) -> tuple[codecs.CodecInfo, str]:
    """And what it makes of errors."""
    if encoding == "replacement":
        raise NotExtractable("an encoding that no browser decodes")
    found = webencodings.lookup(_WIDER.get(encoding, encoding))
    assert found is not None
    return found.codec_info, "replace" if encoding.startswith("utf-") else _AS_STANDARD


def _guessed(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        # Much of it is UTF-8, and not by chance: a page with a few stray bytes, or cut off within a character.
        if error.start > len(body) // 2 and not body[: error.start].isascii():
            return body.decode("utf-8", "replace")
    detector = chardetng_py.EncodingDetector()
    detector.feed(body[:GUESSED_BYTES], last=True)
    guess = detector.guess(tld=None, allow_utf8=False).lower()
    return _decoded(body, _BY_PYTHON_NAME.get(guess, guess))
