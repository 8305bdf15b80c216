"""What a body is: by its first bytes where they tell, else by its type and its URL's ending."""

import codecs
import re
from typing import Final, Literal

from producer.content.charset import wide_encoding
from producer.content.document import NotExtractable
from producer.urls import path_of

Kind = Literal["html", "markdown", "plain", "pdf", "xml", "json"]

MAX_NAMED_CHARS: Final = 80
HEAD_BYTES: Final = 65_536
"""How far a body is looked at: long comments stand before some."""
BINARY_HEAD_BYTES: Final = 4_096

_BY_TYPE: Final[dict[str, Kind]] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/x-web-markdown": "markdown",
    "text/plain": "plain",
    "text/x-rst": "plain",
    "text/prs.fallenstein.rst": "plain",
    "text/asciidoc": "plain",
    "text/x-asciidoc": "plain",
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/json": "json",
    "text/json": "json",
}
_UNTOLD = frozenset(("", "application/octet-stream", "binary/octet-stream", "application/force-download"))
_MARKDOWN_ENDINGS = (".md", ".markdown", ".mkd", ".mdx")
_TEXT_ENDINGS = (".txt", ".text", ".rst", ".adoc", ".asciidoc")
_MAGIC = {
    b"\x89PNG": "PNG",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"GIF8": "GIF",
    b"\xff\xd8\xff": "JPEG",
}
_PDF = re.compile(rb"\s*%PDF-")
_PROLOG = rb"(?:\s++|<!--.*?-->|<\?[^>]*+>)*+"
"""White space, comments and processing instructions, which stand before a page's or a feed's first tag."""
_ROOT_OF_HTML = re.compile(_PROLOG + rb"<(?:!doctype\s+html|html|head|body)[\s/>]", re.IGNORECASE | re.DOTALL)
_TAG_OF_HTML = re.compile(rb"\s*<(?:!--|(?:script|iframe|h1|div|font|table|a|style|title|b|br|p)[\s/>])", re.IGNORECASE)
"""What else an untyped body is HTML by (WHATWG MIME Sniffing, 7.1)."""
_FEED = re.compile(_PROLOG + rb"<(?:rss|feed|rdf:RDF|urlset|sitemapindex)\b", re.DOTALL)
_BINARY_BYTES = bytes({*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})
"""Bytes that text never holds (WHATWG MIME Sniffing, "binary data byte")."""


def kind_of(url: str, body: bytes, content_type: str | None) -> Kind:
    """Raises NotExtractable, with the type by name, for what no reader takes."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if _PDF.match(body):
        return "pdf"
    head = _head(body, content_type)
    _refuse_binary(body, head, media_type)
    if media_type in ("text/html", "text/plain", *_UNTOLD) and _FEED.match(head):
        return "xml"  # MIME Sniffing, 7.3: feeds go about as text/html
    kind = _untold(url, head, media_type) if media_type in _UNTOLD else _told(media_type)
    if kind is None:
        raise NotExtractable(f"content type {media_type[:MAX_NAMED_CHARS]} is not text that can be read")
    if kind == "xml" and _ROOT_OF_HTML.match(head):
        return "html"
    return "markdown" if kind == "plain" and _ends(url, _MARKDOWN_ENDINGS) else kind


def _head(body: bytes, content_type: str | None) -> bytes:
    """Its first bytes without a BOM, and as UTF-8 where they are UTF-16."""
    head = body[:HEAD_BYTES]
    if (encoding := wide_encoding(head, content_type)) is None:
        return head.removeprefix(codecs.BOM_UTF8)
    return head.decode(encoding, "ignore").removeprefix("\ufeff").encode()


def _told(media_type: str) -> Kind | None:
    if media_type in _BY_TYPE:
        return _BY_TYPE[media_type]
    if media_type.startswith("image/"):
        return None
    return "xml" if media_type.endswith("+xml") else "json" if media_type.endswith("+json") else None


def _untold(url: str, head: bytes, media_type: str) -> Kind | None:
    """Of a body whose type says nothing: without any it may be text; one that is to be saved, by its ending only."""
    if _ROOT_OF_HTML.match(head):
        return "html"
    if _ends(url, _MARKDOWN_ENDINGS + _TEXT_ENDINGS):
        return "plain"  # of these many begin with a tag
    if media_type:
        return None
    return "html" if _TAG_OF_HTML.match(head) else "plain"


def _ends(url: str, endings: tuple[str, ...]) -> bool:
    return path_of(url).lower().endswith(endings)


def _refuse_binary(body: bytes, head: bytes, media_type: str) -> None:
    under = f" under the content type {media_type[:MAX_NAMED_CHARS]}" if media_type else ""
    if named := next((name for magic, name in _MAGIC.items() if body.startswith(magic)), None):
        raise NotExtractable(f"{named} data{under}")
    head = head[:BINARY_HEAD_BYTES]
    if len(head) - len(head.translate(None, _BINARY_BYTES)) > max(4, len(head) // 50):
        raise NotExtractable(f"binary data{under}")
