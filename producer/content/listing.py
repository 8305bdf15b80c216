"""Feeds and sitemaps: pages that are lists of pages. Their links are followed; they are no text of their own.

RSS 0.9 to 2.0, Atom (RFC 4287, paging by RFC 5005), JSON Feed 1.x, sitemaps and indices of sitemaps.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias, cast

import msgspec
from lxml import etree

from producer.content.document import NotExtractable

Element: TypeAlias = etree._Element

MAX_NAMED_CHARS: Final = 40
_ABOUT = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"


class Listing(msgspec.Struct, frozen=True):
    """`what` it is, in words; `hrefs` as they stand there, each with the base that it is relative to."""

    what: str
    hrefs: list[tuple[str, str]]


def xml_listing(text: str, url: str) -> Listing:
    """Raises NotExtractable for XML of other kinds, and where it declares entities: feeds need none."""
    if "<!ENTITY" in text:
        raise NotExtractable("XML that declares entities")
    root = _parse(text, url)
    name = etree.QName(root).localname if root is not None else ""
    for what, names, find in _KINDS:
        if root is not None and name in names:
            return Listing(what, [(href, base or url) for href, base in find(root) if href])
    raise NotExtractable(f"XML of the type {name[:MAX_NAMED_CHARS]}" if name else "XML that can't be read")


def json_listing(text: str, url: str) -> Listing:
    """Raises NotExtractable for JSON that is no feed."""
    try:
        feed = msgspec.json.decode(text, type=_JsonFeed)
    except (ValueError, RecursionError):
        raise NotExtractable("JSON that is no feed") from None
    if "jsonfeed.org/version/" not in feed.version:
        raise NotExtractable("JSON that is no feed")
    hrefs = [item.url or item.external_url for item in feed.items] + [feed.next_url]
    return Listing("a JSON feed", [(href, url) for href in hrefs if href])


class _JsonItem(msgspec.Struct):
    url: str | None = None
    external_url: str | None = None


class _JsonFeed(msgspec.Struct):
    version: str
    items: list[_JsonItem] = []
    next_url: str | None = None


def _parse(text: str, url: str) -> Element | None:
    parser = etree.XMLParser(
        encoding="utf-8", recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        return cast("Element | None", etree.fromstring(text.lstrip().encode("utf-8", "replace"), parser, base_url=url))
    except etree.XMLSyntaxError:
        return None  # this page is bad: beyond what the parser can mend


def _of_rss(root: Element) -> Iterator[tuple[str, str | None]]:
    for item in root.iter("{*}item"):
        link = next(filter(None, map(_page_link, item.iterchildren("{*}link"))), None)
        guid = item.find("guid")
        if link is not None:
            yield link
        elif guid is not None and guid.get("isPermaLink") != "false":
            yield (guid.text or "").strip(), guid.base
        elif about := item.get(_ABOUT):
            yield about, item.base
    yield from _atom_links(root, ("next", "previous", "prev-archive"))


def _page_link(link: Element) -> tuple[str, str | None] | None:
    """Of RSS's own or Atom's `link` of an item; None for one that leads to replies, enclosures and the like."""
    href = (link.text or link.get("href") or "").strip()
    return (href, link.base) if href and link.get("rel", "alternate") == "alternate" else None


def _of_atom(root: Element) -> Iterator[tuple[str, str | None]]:
    for entry in root.iterchildren("{*}entry"):
        yield from _atom_links(entry, ("alternate",))
    yield from _atom_links(root, ("next", "previous", "prev-archive"))


def _atom_links(parent: Element, rels: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """Of the children of an entry, a feed or a channel."""
    inner = parent if parent.find("{*}channel") is None else cast("Element", parent.find("{*}channel"))
    for link in inner.iterchildren("{*}link"):
        if link.get("rel", "alternate") in rels and (href := link.get("href")):
            yield href.strip(), link.base


def _of_sitemap(root: Element) -> Iterator[tuple[str, str | None]]:
    for entry in root.iterchildren("{*}url", "{*}sitemap"):
        place = entry.find("{*}loc")
        if place is not None and place.text:
            yield place.text.strip(), None


_KINDS: Final[tuple[tuple[str, tuple[str, ...], Any], ...]] = (
    ("an RSS feed", ("rss", "RDF"), _of_rss),
    ("an Atom feed", ("feed",), _of_atom),
    ("a sitemap", ("urlset", "sitemapindex"), _of_sitemap),
)
