"""A page's bytes to a `Document`. Pure and synchronous: runs in the process pool."""

import re
from typing import Final, TypeAlias, cast
from urllib.parse import unquote

import msgspec
from lxml import etree

from headrace.counted import counted
from producer.content.charset import decode
from producer.content.document import Block, Document, NotExtractable, content_hash, scalars
from producer.content.links import (
    NO_LINKS,
    Directives,
    Links,
    base_of,
    canonical_of,
    directives_of,
    links_of,
    refresh_of,
    resolved,
)
from producer.content.listing import json_listing, xml_listing
from producer.content.mainpart import GUESSES, main_part, own_chars, text_chars, title_outside
from producer.content.markdown import markdown_html
from producer.content.metadata import NO_METADATA, Metadata, html_metadata
from producer.content.pdf import read_pdf
from producer.content.plaintext import plain_blocks
from producer.content.render import blocks_of, first_heading
from producer.content.sniffing import kind_of
from producer.content.template import Sketch, sketch_of
from producer.content.trimming import trim
from producer.urls import path_of

Element: TypeAlias = etree._Element

MAX_INPUT_BYTES = 10 * 1024 * 1024
MAX_ELEMENTS = 300_000
"""About 150 MB of tree; real pages of 10 MB have up to 200,000."""
MAX_ATTRIBUTES = 5_000
MAX_TITLE_CHARS = 300
MIN_READ_SHARE = 0.1
"""Of a main part's text outside links. Where less comes out, names of its elements mean something else than frame."""

_ATTRIBUTE = re.compile(
    r"""[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+)?+)?+"""
)
_TAG = re.compile(rf"<[a-zA-Z][^\s/>]*+(?:{_ATTRIBUTE.pattern})*+")
"""HTML standard, 13.2.5.32 and on: quotes mean something behind `=` alone. Possessive, so linear."""
_COUNT = etree.XPath("count(//*)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufffe\uffff]")
_CONTROL_REFERENCE = re.compile(
    r"&#(?:0*(?:[1-8]|1[124-9]|2\d|3[01]|127|6553[45])(?!\d)|[xX]0*(?:[1-8bBcCeEfF]|1[\da-fA-F]|7[fF]|[fF]{3}[eEfF])(?![\da-fA-F]));?"
)
"""Of characters that XML has no room for; lxml takes none of them back into a tree."""


class Site(msgspec.Struct, frozen=True):
    """What is known of the pages around: the path of their content; while that is `undecided`, a page is sketched."""

    template: str | None = None
    undecided: bool = False


UNKNOWN: Final = Site()


def extract(
    url: str,
    body: bytes,
    content_type: str | None = None,
    x_robots_tag: str | None = None,
    site: Site = UNKNOWN,
) -> Document:
    """Text, structure and links of a page.

    `url` is canonical, `content_type` and `x_robots_tag` are header values. An HTML page without text gives a
    document without blocks: its links still count. Raises NotExtractable for what holds no text.
    """
    directives = directives_of(None, x_robots_tag)
    if len(body) > MAX_INPUT_BYTES:
        raise NotExtractable(f"larger than {MAX_INPUT_BYTES} bytes", limited=True)
    kind = kind_of(url, body, content_type)
    if kind == "pdf":
        metadata, blocks = read_pdf(body)
        return _document(
            metadata.title, blocks, named=_named(url), directives=directives, method=kind, metadata=metadata
        )
    text = decode(body, content_type, kind if kind in ("html", "xml") else "nothing")
    text = _CONTROL.sub("", text.replace("\f", " "))
    match kind:
        case "html":
            return _from_html(url, text, x_robots_tag, site)
        case "markdown":
            metadata, html = markdown_html(text)
            return _from_markdown(url, html, metadata, directives)
        case "plain":
            return _document("", plain_blocks(text), named=_named(url), directives=directives, method=kind)
        case "xml" | "json":
            raise _listed(url, text, kind, nofollow=directives.nofollow)


def _listed(url: str, text: str, kind: str, *, nofollow: bool) -> NotExtractable:
    """Why a list of pages is not one, with its links."""
    _refuse_costly(text)
    listing = xml_listing(text, url) if kind == "xml" else json_listing(text, url)
    if nofollow:
        return NotExtractable(f"{listing.what}: nofollow")
    links = resolved(listing.hrefs, url)
    return NotExtractable(f"{listing.what}: {counted(len(links), 'link')}", links=links)


def _refuse_costly(text: str) -> None:
    # Before the tree is built, which takes some 150 bytes an element; each has a start tag and often an end tag.
    if text.count("<") > 2 * MAX_ELEMENTS:
        raise NotExtractable(f"more than {MAX_ELEMENTS} elements", limited=True)
    # libxml2 compares each attribute with all before it, and nothing can stop it while it does.
    long = (tag for tag in _TAG.findall(text) if len(tag) > 2 * MAX_ATTRIBUTES)
    if any(len(_ATTRIBUTE.findall(tag)) > MAX_ATTRIBUTES for tag in long):
        raise NotExtractable(f"a tag with more than {MAX_ATTRIBUTES} attributes", limited=True)


def _from_html(url: str, text: str, x_robots_tag: str | None, site: Site) -> Document:
    _refuse_costly(text)
    root = _parse(text)
    if root is None:
        return _document("", [], directives=directives_of(None, x_robots_tag), method="empty")
    count = int(cast(float, _COUNT(root)))
    if count > MAX_ELEMENTS:
        raise NotExtractable(f"more than {MAX_ELEMENTS} elements", limited=True)
    base = base_of(root, url)
    directives = directives_of(root, x_robots_tag)
    links, canonical, refresh = links_of(root, base, url), canonical_of(root, base), refresh_of(root, base, url)
    metadata = html_metadata(root, _title(root), text)
    _empty_scripts(root)
    part, method = main_part(root, count, site.template)
    sketch = sketch_of(root) if site.undecided and method in GUESSES else None
    heading = title_outside(root, part, metadata.title)
    trim(part)
    blocks = blocks_of(part, by_id=method in ("whole", "body"))
    if _is_little(sum(len(block.text) for block in blocks), part):
        blocks = blocks_of(part, by_name=False)
    if heading is not None:
        blocks = blocks_of(heading) + blocks
    return _document(
        _best_title(metadata.title, blocks),
        blocks,
        named=_named(url) if blocks else "",
        links=links,
        directives=directives,
        method=method,
        metadata=metadata,
        canonical_url=canonical,
        refresh_to=refresh,
        template=site.template if method == "template" else None,
        sketch=sketch,
    )


def _is_little(chars: int, part: Element) -> bool:
    """Text of links is counted only where it decides."""
    return chars < MIN_READ_SHARE * text_chars(part) and chars < MIN_READ_SHARE * own_chars(part)


def _empty_scripts(root: Element) -> None:
    """Their text would count as the page's; formulas stay."""
    for element in root.iter("script", "style"):
        if not (element.get("type") or "").startswith("math/tex"):
            element.text = None


def _from_markdown(url: str, html: str, metadata: Metadata, directives: Directives) -> Document:
    _refuse_costly(html)
    root = _parse(html)
    blocks = blocks_of(root) if root is not None else []
    return _document(
        metadata.title or first_heading(blocks) or "",
        blocks,
        named=_named(url),
        links=links_of(root, url, url) if root is not None else NO_LINKS,
        directives=directives,
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
    directives: Directives,
    method: str,
    named: str = "",
    links: Links = NO_LINKS,
    metadata: Metadata = NO_METADATA,
    canonical_url: str | None = None,
    refresh_to: str | None = None,
    template: str | None = None,
    sketch: Sketch | None = None,
) -> Document:
    """`named`: its title where it has none of its own, no part of its hash: one page at two URLs stays one content."""
    title, blocks = scalars(title[:MAX_TITLE_CHARS]), [_with_scalars(block) for block in blocks]
    return Document(
        title=title or scalars(named[:MAX_TITLE_CHARS]),
        language=metadata.language,
        blocks=blocks,
        links=list(links.followed),
        content_hash=content_hash(title, blocks),
        canonical_url=canonical_url,
        refresh_to=refresh_to,
        description=metadata.description and scalars(metadata.description),
        published_on=metadata.published_on,
        noindex=directives.noindex,
        nofollow=directives.nofollow,
        nofollow_links=tuple(links.marked),
        method=method,
        template=template,
        sketch=sketch,
    )


def _with_scalars(block: Block) -> Block:
    text = scalars(block.text)
    return block if text is block.text else msgspec.structs.replace(block, text=text)


def _parse(text: str) -> Element | None:
    """The tree, or None for a page without any element. End tags that are left out nest hundreds of levels, and only
    with `huge_tree` has libxml2 room for more than 256; behind level 2,048 it drops what follows."""
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True)
    plain = _CONTROL_REFERENCE.sub("", text)
    try:
        root = cast("Element | None", etree.fromstring(plain.encode("utf-8", "replace"), parser))
    except etree.XMLSyntaxError:
        # This page is empty: it has no text.
        root = None
    last = parser.error_log.last_error
    if last is not None and last.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT:
        raise NotExtractable("nested deeper than the parser goes", limited=True)
    return root


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
