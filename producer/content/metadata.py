"""What a page says of itself: language, description, date of publication.

Each is asked for where pages put it, the surest place first. Nothing is guessed from the text.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias, cast

import msgspec
from lxml import etree

Element: TypeAlias = etree._Element

MAX_DESCRIPTION_CHARS: Final = 500
MAX_LANGUAGE_CHARS: Final = 35
"""The longest tag that implementations must take (RFC 5646, 4.4.1)."""
MAX_JSON_CHARS: Final = 200_000
"""Of JSON-LD in one page; more is a catalogue."""
MAX_JSON_NODES: Final = 2_000

_DESCRIPTIONS = ("description", "og:description", "dcterms.description", "dc.description", "twitter:description")
_PUBLISHED = (
    "article:published_time", "datepublished", "dcterms.issued", "dc.date.issued", "dcterms.date", "dc.date",
    "citation_publication_date", "publish-date", "pubdate", "date",
)  # fmt: skip
_CHANGED = ("article:modified_time", "og:updated_time", "datemodified", "dcterms.modified", "last-modified", "revised")
_LANGUAGES = ("content-language", "og:locale", "dcterms.language", "dc.language")
_PAGE_TYPES = re.compile(r"(?:Article|Page|Posting|Reference|CreativeWork|HowTo|LearningResource|SourceCode|Report)$")
"""schema.org types of what a page is, as against what it has on it (comments, reviews, products)."""

_JSON_LD = etree.XPath('//script[@type="application/ld+json"]')
_PUBLISHED_TIMES = etree.XPath('//*[(self::time and @pubdate) or @itemprop="datePublished"]')
_MARKS = ("pubdate", "itemprop")
_CHANGED_TIMES = etree.XPath('//*[@itemprop="dateModified"]')
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f]")
"""Escapes in JSON and YAML may name them."""
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_DATES = (
    re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)"),
    re.compile(r"(\d{4})()(\d{2})(\d{2})(?:\d{4}|\d{6})?(?!\d)"),
)
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_WRITTEN = ("%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """`published_on`: an ISO 8601 date; `language`: a BCP 47 tag."""

    title: str = ""
    language: str | None = None
    description: str | None = None
    published_on: str | None = None


NO_METADATA: Final = Metadata()


def html_metadata(root: Element, title: str, text: str) -> Metadata:
    """Of a whole page, before anything is taken out of it. `text` is its markup, in which a search is quicker."""
    metas = _metas(root)
    described = list(_json_ld(root))
    lowered = text.lower()
    marked_up = any(mark in lowered for mark in _MARKS)
    return Metadata(
        title=title,
        language=_language(root, metas),
        description=_first(words, _described(metas, described)),
        published_on=_first(iso_date, _dated(root if marked_up else None, metas, described)),
    )


def words(text: str | None) -> str | None:
    """One line of at most MAX_DESCRIPTION_CHARS, cut at a word; None for none."""
    line = " ".join(_CONTROL.sub("", text or "").split())
    if len(line) > MAX_DESCRIPTION_CHARS:
        line = line[: MAX_DESCRIPTION_CHARS - 1].rpartition(" ")[0] or line[: MAX_DESCRIPTION_CHARS - 1]
        return line + "…"
    return line or None


def language_tag(text: str | None) -> str | None:
    """`en_GB` as `en-GB`; None for what is no tag, and for the first of several without one."""
    tag = (text or "").partition(",")[0].strip().replace("_", "-")
    return tag if len(tag) <= MAX_LANGUAGE_CHARS and _LANGUAGE.fullmatch(tag) else None


def iso_date(text: str | None) -> str | None:
    """`2026-11-23` from an ISO 8601 date or time, an RFC 5322 date or an English one; None for all else.

    The day is that of the page's own time zone. `11/12/2026` is one of two days, and so none.
    """
    value = " ".join((text or "").split())[:60]
    if match := next(filter(None, (form.match(value) for form in _DATES)), None):
        return _checked(int(match[1]), int(match[3]), int(match[4]))
    for form in _WRITTEN:
        try:
            read = datetime.strptime(_ORDINAL.sub("", value), form)
        except ValueError:
            continue
        return _checked(read.year, read.month, read.day)
    try:
        read = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return _checked(read.year, read.month, read.day)


def _checked(year: int, month: int, day: int) -> str | None:
    """None for a date that isn't, and for one from before there were pages, which is a default of some program."""
    try:
        return date(year, month, day).isoformat() if year > 1970 else None
    except ValueError:
        return None


def _metas(root: Element) -> dict[str, str]:
    """Contents by name, property or http-equiv in lower case; the first of a name counts."""
    found: dict[str, str] = {}
    for element in root.iter("meta"):
        content = element.get("content")
        if content and content.strip():
            for attribute in ("name", "property", "itemprop", "http-equiv"):
                if name := element.get(attribute):
                    found.setdefault(name.strip().lower(), content)
    return found


def _language(root: Element, metas: dict[str, str]) -> str | None:
    declared = (root.get("lang"), root.get("xml:lang"), *(metas.get(name) for name in _LANGUAGES))
    return _first(language_tag, declared)


def _described(metas: dict[str, str], described: list[dict[str, Any]]) -> Iterator[str | None]:
    yield from (metas.get(name) for name in _DESCRIPTIONS)
    yield from _texts(described, "description")


def _dated(root: Element | None, metas: dict[str, str], described: list[dict[str, Any]]) -> Iterator[str | None]:
    yield metas.get(_PUBLISHED[0])
    yield from _texts(described, "datePublished")
    yield from _times(root, _PUBLISHED_TIMES)
    yield from (metas.get(name) for name in _PUBLISHED[1:])
    yield metas.get(_CHANGED[0])
    yield from _texts(described, "dateModified")
    yield from _times(root, _CHANGED_TIMES)
    yield from (metas.get(name) for name in _CHANGED[1:])


def _times(root: Element | None, find: etree.XPath) -> Iterator[str | None]:
    if root is None:
        return
    for element in cast("list[Element]", find(root))[:20]:
        yield element.get("datetime") or element.get("content") or element.text


def _texts(nodes: list[dict[str, Any]], name: str) -> Iterator[str | None]:
    for node in nodes:
        value = node.get(name)
        yield value if isinstance(value, str) else None


def _json_ld(root: Element) -> Iterator[dict[str, Any]]:
    """Objects of JSON-LD that describe the page, in page order."""
    room, nodes = MAX_JSON_CHARS, MAX_JSON_NODES
    for script in cast("list[Element]", _JSON_LD(root)):
        text = script.text or ""
        room -= len(text)
        if room < 0:
            return
        try:
            waiting = [msgspec.json.decode(text)]
        except (ValueError, RecursionError):
            # This page's JSON is none: what it would say stays unknown.
            continue
        while waiting and nodes:
            nodes -= 1
            value = waiting.pop()
            if isinstance(value, dict):
                if _describes_page(value):
                    yield value
                waiting += reversed([each for each in value.values() if isinstance(each, dict | list)])
            elif isinstance(value, list):
                waiting += reversed(value)


def _describes_page(node: dict[str, Any]) -> bool:
    named = node.get("@type")
    kinds = named if isinstance(named, list) else [named]
    return any(isinstance(kind, str) and _PAGE_TYPES.search(kind) for kind in kinds)


def _first(read: Any, values: Iterable[str | None]) -> str | None:
    """What `read` makes of the first value that it can read."""
    return next((found for value in values if value and (found := read(value))), None)
