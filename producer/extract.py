"""A page's bytes to a `Document`. Pure and synchronous: runs in the process pool."""

import re
from collections.abc import Iterable
from typing import TypeAlias, cast
from urllib.parse import unquote

from lxml import etree

from producer.content.charset import decode
from producer.content.document import Block, Document, NotExtractable, content_hash
from producer.content.mainpart import main_part
from producer.content.plaintext import markdown_blocks, markdown_links, plain_blocks
from producer.content.render import blocks_of, first_heading
from producer.urls import UrlError, canonical, path_of

Element: TypeAlias = etree._Element

MAX_INPUT_BYTES = 10 * 1024 * 1024
MAX_ELEMENTS = 300_000
"""About 150 MB of tree; real pages of 10 MB have up to 200,000."""
MAX_ATTRIBUTES = 5_000
MAX_LINKS = 10_000
MAX_TITLE_CHARS = 300

_HTML_TYPES = frozenset(("text/html", "application/xhtml+xml"))
_MARKDOWN_TYPES = frozenset(("text/markdown", "text/x-markdown"))
_MARKDOWN_SUFFIXES = (".md", ".markdown", ".mkd")
_MAGIC = {
    b"%PDF": "PDF",
    b"\x89PNG": "PNG",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"GIF8": "GIF",
    b"\xff\xd8\xff": "JPEG",
}
_LOOKS_HTML = re.compile(
    rb"^\s*(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html|head|body|\?xml[^>]*>\s*<(?:!doctype\s+html|html))",
    re.I | re.S,
)
_LONG_TAG = re.compile("<[a-zA-Z][^<>]{20000,}")
_COUNT = etree.XPath("count(//*)")
_BINARY_BYTES = bytes({*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})
"""Bytes that text never holds (WHATWG MIME Sniffing, "binary data byte")."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")


def extract(url: str, body: bytes, content_type: str | None = None, x_robots_tag: str | None = None) -> Document:
    """Text, structure and links of a page.

    `url` is canonical, `content_type` and `x_robots_tag` are header values. An HTML page without text gives a
    document without blocks: its links still count. Raises NotExtractable for what holds no text.
    """
    if len(body) > MAX_INPUT_BYTES:
        raise NotExtractable(f"larger than {MAX_INPUT_BYTES} bytes", limited=True)
    kind = _kind(url, body, content_type)
    text = _CONTROL.sub("", decode(body, content_type, is_html=kind == "html"))
    if kind == "html":
        return _from_html(url, text, x_robots_tag)
    return _from_text(url, text, kind, x_robots_tag)


def _kind(url: str, body: bytes, content_type: str | None) -> str:
    """`html`, `markdown` or `plain`. Raises NotExtractable for every other type."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    _refuse_binary(body, media_type)
    if media_type in _HTML_TYPES or (media_type in ("", "application/octet-stream") and _LOOKS_HTML.match(body)):
        return "html"
    if media_type in _MARKDOWN_TYPES:
        return "markdown"
    if media_type in ("", "text/plain"):
        return "markdown" if path_of(url).lower().endswith(_MARKDOWN_SUFFIXES) else "plain"
    raise NotExtractable(f"content type {media_type[:80]} is not text that can be read")


def _refuse_binary(body: bytes, media_type: str) -> None:
    named = next((name for magic, name in _MAGIC.items() if body.startswith(magic)), None)
    if named is not None:
        raise NotExtractable(f"{named} data" + (f" under the content type {media_type[:80]}" if media_type else ""))
    head = body[:4_096]
    wide = body.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and len(head) - len(head.translate(None, _BINARY_BYTES)) > max(4, len(head) // 50):
        raise NotExtractable("binary data" + (f" under the content type {media_type[:80]}" if media_type else ""))


def _from_html(url: str, text: str, x_robots_tag: str | None) -> Document:
    # Before the tree is built, which takes some 150 bytes an element; each has a start tag and often an end tag.
    if text.count("<") > 2 * MAX_ELEMENTS:
        raise NotExtractable(f"more than {MAX_ELEMENTS} elements", limited=True)
    # libxml2 compares each attribute with all before it, and nothing can stop it while it does.
    if any(len(tag.group().split()) > MAX_ATTRIBUTES for tag in _LONG_TAG.finditer(text)):
        raise NotExtractable(f"a tag with more than {MAX_ATTRIBUTES} attributes", limited=True)
    root = _parse(text)
    if root is None:
        return _document("", [], links=[], directives=_parse_directives([x_robots_tag or ""]), method="empty")
    count = int(cast(float, _COUNT(root)))
    if count > MAX_ELEMENTS:
        raise NotExtractable(f"more than {MAX_ELEMENTS} elements", limited=True)
    base = _base(root, url)
    directives = _directives(root, x_robots_tag)
    links, target = _links(root, base), _canonical_url(root, base)
    title, language = _title(root), _language(root)
    part, method = main_part(root, count)
    blocks = blocks_of(part, by_id=method in ("whole", "body"))
    return _document(
        _best_title(title, blocks),
        blocks,
        links=links,
        directives=directives,
        method=method,
        language=language,
        canonical_url=target,
    )


def _from_text(url: str, text: str, kind: str, x_robots_tag: str | None) -> Document:
    blocks = markdown_blocks(text) if kind == "markdown" else plain_blocks(text)
    found = markdown_links(text) if kind == "markdown" else []
    title = first_heading(blocks) or unquote(path_of(url).rstrip("/").rpartition("/")[2])
    directives = _parse_directives([x_robots_tag or ""])
    links = _canonical_links(found, url)
    return _document(title, blocks, links=links, directives=directives, method=kind)


def _document(
    title: str,
    blocks: list[Block],
    *,
    links: list[str],
    directives: tuple[bool, bool],
    method: str,
    language: str | None = None,
    canonical_url: str | None = None,
) -> Document:
    return Document(
        title=title[:MAX_TITLE_CHARS],
        language=language,
        blocks=blocks,
        links=links,
        content_hash=content_hash(title[:MAX_TITLE_CHARS], blocks),
        canonical_url=canonical_url,
        noindex=directives[0],
        nofollow=directives[1],
        method=method,
    )


def _parse(text: str) -> Element | None:
    """The tree, or None for a page without any element. libxml2 drops what lies deeper than 256 levels."""
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False)
    try:
        return cast("Element | None", etree.fromstring(text.encode("utf-8", "replace"), parser))
    except etree.XMLSyntaxError:
        # This page is empty or beyond the parser's limits: it has no text.
        return None


def _base(root: Element, url: str) -> str:
    for element in root.iter("base"):
        if href := element.get("href"):
            try:
                return canonical(href, url)
            except UrlError:
                return url
    return url


def _links(root: Element, base: str) -> list[str]:
    hrefs = (
        href
        for element in root.iter("a", "area")
        if (href := element.get("href")) and "nofollow" not in (element.get("rel") or "").lower().split()
    )
    return _canonical_links(hrefs, base)


def _canonical_links(hrefs: Iterable[str], base: str) -> list[str]:
    """Each target once; fragments of one page fold into it; what isn't http(s) is left out."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    for href in hrefs:
        target = href.partition("#")[0].strip()
        if not target or target in seen:
            continue
        seen.add(target)
        try:
            found[canonical(target, base)] = None
        except UrlError:
            continue
        if len(found) >= MAX_LINKS:
            break
    return list(found)


def _canonical_url(root: Element, base: str) -> str | None:
    for element in root.iter("link"):
        if "canonical" in (element.get("rel") or "").lower().split() and (href := element.get("href")):
            try:
                return canonical(href, base)
            except UrlError:
                return None
    return None


def _directives(root: Element, x_robots_tag: str | None) -> tuple[bool, bool]:
    metas = [
        element.get("content") or ""
        for element in root.iter("meta")
        if (element.get("name") or "").lower() in ("robots", "headrace")
    ]
    return _parse_directives([*metas, x_robots_tag or ""])


def _parse_directives(values: list[str]) -> tuple[bool, bool]:
    """(noindex, nofollow). A header directive for another robot (`otherbot: noindex`) doesn't count."""
    tokens: set[str] = set()
    for directive in ",".join(values).lower().split(","):
        agent, colon, value = directive.rpartition(":")
        if not colon or agent.strip() in ("headrace", "*"):
            tokens.add((value if colon else directive).strip())
    return bool(tokens & {"noindex", "none"}), bool(tokens & {"nofollow", "none"})


def _title(root: Element) -> str:
    element = next(root.iter("title"), None)
    return " ".join((element.text or "").split()) if element is not None else ""


def _language(root: Element) -> str | None:
    value = (root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or "").strip()
    return value[:35] or None


def _best_title(title: str, blocks: list[Block]) -> str:
    """The first heading when the page's title merely adds the site's name to it, else the title."""
    heading = first_heading(blocks)
    if not title or (heading and len(heading) >= 3 and _letters(heading) in _letters(title)):
        return heading or title
    return title


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()
