"""The encoding that a page declares in its first bytes (HTML standard, 13.2.3.2), step for step.

Functions that read on raise IndexError at the end of the bytes: the scan ends there, as the standard says.
"""

import re
from functools import lru_cache
from typing import Final

import webencodings

PRESCAN_BYTES: Final = 1_024
"""What the standard encourages user agents to look at."""
LATE_BYTES: Final = 65_536
"""A parser that meets a declaration further on begins anew with it (13.2.3.4); long comments stand before some."""

_SPACE = b"\t\n\x0c\r "
_CONSTRUCT = re.compile(rb"<(?:(!--)|(meta)[\t\n\x0c\r /]|(/?[a-z])|([!/?]))", re.IGNORECASE)
_CHARSET = re.compile(rb"charset[\t\n\x0c\r ]*=[\t\n\x0c\r ]*", re.IGNORECASE)
_UNQUOTED = re.compile(rb"[^\t\n\x0c\r ;]*")
_XML_ENCODING = re.compile(rb"(?:(?!encoding)[^>])*encoding[\x00-\x20]*=[\x00-\x20]*([\"'])([^>]*?)\1", re.DOTALL)


@lru_cache(maxsize=256)
def encoding_of(label: str) -> str | None:
    """The name of the Encoding standard's encoding with this label (4.2), None for an unknown label."""
    found = webencodings.lookup(label) if label.isascii() else None
    return found.name if found is not None else None


def declared_encoding(body: bytes) -> str | None:
    """ "Prescan a byte stream to determine its encoding", for HTML; then what a parser would meet later."""
    head = body[:PRESCAN_BYTES]
    return _wide_xml(head) or _met(head) or xml_encoding(head) or _late(body)


def _met(head: bytes) -> str | None:
    try:
        return _of_meta(head)
    except IndexError:
        return None


def _late(body: bytes) -> str | None:
    return _met(body[:LATE_BYTES]) if b"charset" in body[PRESCAN_BYTES:LATE_BYTES].lower() else None


def xml_encoding(body: bytes) -> str | None:
    """ "Get an XML encoding", and that of an XML declaration in UTF-16 without a BOM."""
    head = body[:PRESCAN_BYTES]
    if (wide := _wide_xml(head)) is not None:
        return wide
    match = _XML_ENCODING.match(head) if head.startswith(b"<?xml") and b">" in head else None
    if match is None or any(byte <= 0x20 for byte in match.group(2)):
        return None
    return _readable(encoding_of(match.group(2).decode("latin-1")))


def _wide_xml(head: bytes) -> str | None:
    if head.startswith(b"<\0?\0x\0"):
        return "utf-16le"
    return "utf-16be" if head.startswith(b"\0<\0?\0x") else None


def _readable(name: str | None) -> str | None:
    """A declaration that is readable as ASCII can't be in UTF-16."""
    return "utf-8" if name in ("utf-16le", "utf-16be") else name


def _of_meta(head: bytes) -> str:
    at = 0
    while True:
        match = _CONSTRUCT.search(head, at)
        if match is None:
            raise IndexError
        comment, meta, tag, other = match.groups()
        if comment:
            at = _after(head, b"-->", match.start() + 2)
        elif other:
            at = _after(head, b">", match.end())
        elif tag:
            at = _after_tag(head, match.end())
        elif meta:
            found, at = _meta(head, match.end() - 1)
            if found is not None:
                return found


def _after(head: bytes, mark: bytes, at: int) -> int:
    found = head.find(mark, at)
    if found < 0:
        raise IndexError
    return found + len(mark)


def _after_tag(head: bytes, at: int) -> int:
    while head[at] not in _SPACE + b">":
        at += 1
    while True:
        name, _, at = _attribute(head, at)
        if not name:
            return at + 1


def _meta(head: bytes, at: int) -> tuple[str | None, int]:
    """The encoding that a meta element declares, and where to go on."""
    names: set[bytes] = set()
    got_pragma = False
    need_pragma: bool | None = None
    charset: str | None = None
    while True:
        name, value, at = _attribute(head, at)
        if not name:
            break
        if name in names:
            continue
        names.add(name)
        if name == b"http-equiv":
            got_pragma = value == b"content-type"
        elif name == b"content" and charset is None and need_pragma is None:
            charset = _of_content(value)
            need_pragma = True if charset is not None else need_pragma
        elif name == b"charset":
            charset, need_pragma = encoding_of(value.decode("latin-1")), False
    if need_pragma is None or (need_pragma and not got_pragma) or charset is None:
        return None, at + 1
    return "windows-1252" if charset == "x-user-defined" else _readable(charset), at + 1


def _of_content(value: bytes) -> str | None:
    """ "Extracting a character encoding from a meta element"."""
    match = _CHARSET.search(value)
    if match is None:
        return None
    rest = value[match.end() :]
    if rest[:1] in (b'"', b"'"):
        end = rest.find(rest[:1], 1)
        return encoding_of(rest[1:end].decode("latin-1")) if end > 0 else None
    unquoted = _UNQUOTED.match(rest)
    return encoding_of(unquoted.group().decode("latin-1")) if unquoted and unquoted.group() else None


def _attribute(head: bytes, at: int) -> tuple[bytes, bytes, int]:
    """ "Get an attribute": name and value in lower case, and where it ends; an empty name for none."""
    while head[at] in _SPACE + b"/":
        at += 1
    if head[at] in b">":
        return b"", b"", at
    start = at
    while head[at] not in _SPACE + b"/>" and not (head[at] in b"=" and at > start):
        at += 1
    name = head[start:at].lower()
    while head[at] in _SPACE:
        at += 1
    if head[at] not in b"=":
        return name, b"", at
    at += 1
    while head[at] in _SPACE:
        at += 1
    return (name, *_value(head, at))


def _value(head: bytes, at: int) -> tuple[bytes, int]:
    if head[at] in b"\"'":
        end = _after(head, head[at : at + 1], at + 1)
        return head[at + 1 : end - 1].lower(), end
    start = at
    while head[at] not in _SPACE + b">":
        at += 1
    return head[start:at].lower(), at
