"""A page's bytes to a `Document`. Pure and synchronous: runs in the process pool."""

import re
from collections.abc import Iterable
from typing import TypeAlias, cast
from urllib.parse import unquote

from lxml import etree

from producer.content.charset import decode
from producer.content.document import Block, Document, NotExtractable, content_hash
from producer.content.listing import json_listing, xml_listing
from producer.content.mainpart import main_part
from producer.content.markdown import markdown_html
from producer.content.metadata import NO_METADATA, Metadata, html_metadata
from producer.content.plaintext import plain_blocks
from producer.content.render import blocks_of, first_heading
from producer.content.sniffing import kind_of
from producer.urls import UrlError, canonical, path_of

Element: TypeAlias = etree._Element

MAX_INPUT_BYTES = 10 * 1024 * 1024
MAX_ELEMENTS = 300_000
"""About 150 MB of tree; real pages of 10 MB have up to 200,000."""
MAX_ATTRIBUTES = 5_000
MAX_LINKS = 10_000
MAX_TITLE_CHARS = 300

_LONG_TAG = re.compile("<[a-zA-Z][^<>]{20000,}")
_COUNT = etree.XPath("count(//*)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")


def extract(url: str, body: bytes, content_type: str | None = None, x_robots_tag: str | None = None) -> Document:
    """Text, structure and links of a page.

    `url` is canonical, `content_type` and `x_robots_tag` are header values. An HTML page without text gives a
    document without blocks: its links still count. Raises NotExtractable for what holds no text.
    """
    if len(body) > MAX_INPUT_BYTES:
        raise NotExtractable(f"larger than {MAX_INPUT_BYTES} bytes", limited=True)
    kind = kind_of(url, body, content_type)
    if kind == "pdf":
        raise NotExtractable("PDF data")
    text = _CONTROL.sub("", decode(body, content_type, is_html=kind == "html"))
    match kind:
        case "html":
            return _from_html(url, text, x_robots_tag)
        case "markdown":
            metadata, html = markdown_html(text)
            return _from_markdown(url, html, metadata, x_robots_tag)
        case "plain":
            directives = _parse_directives([x_robots_tag or ""])
            return _document(_named(url), plain_blocks(text), links=[], directives=directives, method=kind)
        case "xml" | "json":
            raise _listed(url, text, kind, x_robots_tag)


def _listed(url: str, text: str, kind: str, x_robots_tag: str | None) -> NotExtractable:
    """Why a list of pages is not one, with its links."""
    _refuse_costly(text)
    listing = xml_listing(text, url) if kind == "xml" else json_listing(text, url)
    if _parse_directives([x_robots_tag or ""])[1]:
        return NotExtractable(f"{listing.what}: nofollow")
    links = _canonical_links(listing.hrefs)
    return NotExtractable(f"{listing.what}: {len(links)} links", links=links)


def _refuse_costly(text: str) -> None:
    # Before the tree is built, which takes some 150 bytes an element; each has a start tag and often an end tag.
    if text.count("<") > 2 * MAX_ELEMENTS:
        raise NotExtractable(f"more than {MAX_ELEMENTS} elements", limited=True)
    # libxml2 compares each attribute with all before it, and nothing can stop it while it does.
    if any(len(tag.group().split()) > MAX_ATTRIBUTES for tag in _LONG_TAG.finditer(text)):
        raise NotExtractable(f"a tag with more than {MAX_ATTRIBUTES} attributes", limited=True)


def _from_html(url: str, text: str, x_robots_tag: str | None) -> Document:
    _refuse_costly(text)
    root = _parse(text)
    if root is None:
        return _document("", [], links=[], directives=_parse_directives([x_robots_tag or ""]), method="empty")
    count = int(cast(float, _COUNT(root)))
    if count > MAX_ELEMENTS:
        raise NotExtractable(f"more than {MAX_ELEMENTS} elements", limited=True)
    base = _base(root, url)
    directives = _directives(root, x_robots_tag)
    links, target = _links(root, base), _canonical_url(root, base)
    metadata = html_metadata(root, _title(root))
    part, method = main_part(root, count)
    blocks = blocks_of(part, by_id=method in ("whole", "body"))
    return _document(
        _best_title(metadata.title, blocks),
        blocks,
        links=links,
        directives=directives,
        method=method,
        metadata=metadata,
        canonical_url=target,
    )


def _from_markdown(url: str, html: str, metadata: Metadata, x_robots_tag: str | None) -> Document:
    _refuse_costly(html)
    root = _parse(html)
    blocks = blocks_of(root) if root is not None else []
    return _document(
        metadata.title or first_heading(blocks) or _named(url),
        blocks,
        links=_links(root, url) if root is not None else [],
        directives=_parse_directives([x_robots_tag or ""]),
        method="markdown",
        metadata=metadata,
    )


def _named(url: str) -> str:
    """The file's name, as a title for what has none."""
    return unquote(path_of(url).rstrip("/").rpartition("/")[2])


def _document(
    title: str,
    blocks: list[Block],
    *,
    links: list[str],
    directives: tuple[bool, bool],
    method: str,
    metadata: Metadata = NO_METADATA,
    canonical_url: str | None = None,
) -> Document:
    return Document(
        title=title[:MAX_TITLE_CHARS],
        language=metadata.language,
        blocks=blocks,
        links=links,
        content_hash=content_hash(title[:MAX_TITLE_CHARS], blocks),
        canonical_url=canonical_url,
        description=metadata.description,
        published_on=metadata.published_on,
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
    return _canonical_links((href, base) for href in hrefs)


def _canonical_links(hrefs: Iterable[tuple[str, str]]) -> list[str]:
    """Of (href, base). Each target once; fragments of one page fold into it; what isn't http(s) is left out."""
    found: dict[str, None] = {}
    seen: set[tuple[str, str]] = set()
    for href, base in hrefs:
        target = href.partition("#")[0].strip()
        if not target or (target, base) in seen:
            continue
        seen.add((target, base))
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


def _best_title(title: str, blocks: list[Block]) -> str:
    """The first heading when the page's title merely adds the site's name to it, else the title."""
    heading = first_heading(blocks)
    if not title or (heading and len(heading) >= 3 and _letters(heading) in _letters(title)):
        return heading or title
    return title


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()
