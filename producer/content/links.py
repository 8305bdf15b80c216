"""What a page says of other pages, and of how robots may use it: links, canonical, refresh, directives."""

import re
from collections.abc import Iterable, Iterator, Set
from typing import Final, TypeAlias, cast

import msgspec
from lxml import etree

from producer.urls import UrlError, canonical

Element: TypeAlias = etree._Element

MAX_LINKS: Final = 10_000
MAX_REFRESH_S: Final = 10.0
"""A page that sends its reader on within this time is a redirect; one that does so later is a page."""
AGENT: Final = "headrace"

_FRAMES: Final = ("iframe", "frame")
_LINKING: Final = ("a", "area", *_FRAMES, "link")
_LINKING_RELS: Final = frozenset(("next", "prev", "previous", "canonical"))
_REFRESH: Final = re.compile(
    r"""\s*+(?P<delay>\d*+(?:\.\d*+)?+)[\d.]*+(?:\s*+[;,]|\s)\s*+(?:url\s*+=\s*+)?+(?P<quote>["']?)(?P<url>.*)""",
    re.I | re.S,
)
"""HTML standard, 4.2.5.3, "shared declarative refresh steps". Possessive, so linear."""
_NO_RELS: Final = frozenset[str]()
_VALUED_DIRECTIVES: Final = frozenset(("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"))
"""Directives that may have a colon of their own, which so doesn't stand behind the name of a robot."""


class Directives(msgspec.Struct, frozen=True):
    """What the page asks of this robot, in its meta elements or in X-Robots-Tag."""

    noindex: bool = False
    nofollow: bool = False


def base_of(root: Element, url: str) -> str:
    """What links are relative to: the first usable `<base>`, else the page itself."""
    for element in root.iter("base"):
        if href := element.get("href"):
            try:
                return canonical(href, url)
            except UrlError:
                return url
    return url


class Links(msgspec.Struct, frozen=True):
    """Canonical, in the page's order, each once. `marked`: as nofollow, and linked nowhere else on the page."""

    followed: list[str] = []
    marked: list[str] = []


NO_LINKS: Final = Links()


def links_of(root: Element, base: str, url: str) -> Links:
    """Of the whole page: anchors, areas, frames, and `<link>`s to the next and previous page, to other languages, to
    the canonical one; a refresh's target last."""
    hrefs: list[tuple[str, str]] = []
    marked: list[tuple[str, str]] = []
    for element in root.iter(*_LINKING):
        rel = _rel(element)
        if (href := _href(element, rel)) is not None:
            (marked if "nofollow" in rel and element.tag not in _FRAMES else hrefs).append((href, base))
    refreshed = next(_refreshes(root), None)
    hrefs += [(target, base) for target in (refreshed or ())[1:]]
    followed = resolved(hrefs, url)
    known = frozenset(followed) if marked else ()
    return Links(followed, [link for link in resolved(marked, url) if link not in known])


def resolved(hrefs: Iterable[tuple[str, str]], url: str) -> list[str]:
    """Of (href, base). Each target once; fragments of one page fold into it; what isn't http(s), and `url` itself, is
    left out."""
    found: dict[str, None] = {}
    seen: set[tuple[str, str]] = set()
    for href, base in hrefs:
        target = href.partition("#")[0]
        if (target, base) in seen:
            continue
        seen.add((target, base))
        try:
            found[canonical(target, base)] = None
        except UrlError:
            continue
        found.pop(url, None)
        if len(found) >= MAX_LINKS:
            break
    return list(found)


def canonical_of(root: Element, base: str) -> str | None:
    """The URL under which the page wants to be known; mostly its own."""
    for element in root.iter("link"):
        if "canonical" in _rel(element) and (href := element.get("href")):
            try:
                return canonical(href, base)
            except UrlError:
                return None
    return None


def refresh_of(root: Element, base: str, url: str) -> str | None:
    """Where `<meta http-equiv=refresh>` sends the reader at once, or None."""
    for delay_s, target in _refreshes(root):
        try:
            sent_to = canonical(target, base)
        except UrlError:
            return None
        return sent_to if delay_s <= MAX_REFRESH_S and sent_to != url else None
    return None


def directives_of(root: Element | None, x_robots_tag: str | None) -> Directives:
    """The strictest of all that is said to every robot, or to this one. `x_robots_tag`: one header field a line."""
    tokens = {token for line in (x_robots_tag or "").splitlines() for token in _header_tokens(line)}
    for element in root.iter("meta") if root is not None else ():
        if (element.get("name") or "").strip().lower() in ("robots", AGENT):
            tokens.update(token.strip() for token in (element.get("content") or "").lower().split(","))
    return Directives(bool(tokens & {"noindex", "none"}), bool(tokens & {"nofollow", "none"}))


def _header_tokens(line: str) -> Iterator[str]:
    """A robot's name holds for the directives behind it, up to the next one or the end of its field."""
    meant = True
    for part in line.lower().split(","):
        head, colon, rest = part.partition(":")
        named = bool(colon) and head.strip() not in _VALUED_DIRECTIVES
        meant = head.strip() in (AGENT, "*") if named else meant
        if meant:
            yield (rest if named else part).strip()


def _href(element: Element, rel: Set[str]) -> str | None:
    """Where the element leads, if that is a page."""
    if element.tag in _FRAMES:
        return cast("str | None", element.get("src"))
    if element.tag == "link" and not _leads_to_a_page(element, rel):
        return None
    return cast("str | None", element.get("href"))


def _leads_to_a_page(link: Element, rel: Set[str]) -> bool:
    """An alternate is another language's page; without hreflang it is a feed, or the same page for other devices."""
    return bool(rel & _LINKING_RELS) or ("alternate" in rel and "stylesheet" not in rel and bool(link.get("hreflang")))


def _refreshes(root: Element) -> Iterator[tuple[float, str]]:
    """Delay in seconds and target, as written. What stands in `<noscript>` is for others than search engines."""
    for element in root.iter("meta"):
        if (element.get("http-equiv") or "").strip().lower() != "refresh":
            continue
        if next(element.iterancestors("noscript"), None) is not None:
            continue
        if (match := _REFRESH.fullmatch(element.get("content") or "")) is None:
            continue
        target = match["url"].partition(match["quote"])[0] if match["quote"] else match["url"]
        delay = match["delay"]
        if target.strip() and delay not in ("", "."):
            yield float(delay), target


def _rel(element: Element) -> Set[str]:
    value = element.get("rel")
    return set(value.lower().split()) if value else _NO_RELS
