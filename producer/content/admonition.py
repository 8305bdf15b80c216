"""Admonitions: boxes that say "Note", "Warning" and the like, as each generator marks them."""

import re
from functools import lru_cache
from itertools import islice
from typing import TypeAlias

import msgspec
from lxml import etree

from producer.content.inline import inline_start, inline_text

Element: TypeAlias = etree._Element

_TAGS = frozenset("div aside section details dl blockquote p table".split())
_MARKERS = frozenset(
    "admonition admonitionblock theme-admonition md-admonition callout markdown-alert starlight-aside custom-block "
    "alert nextra-callout gitbook-hint".split()
)
_KINDS = {
    kind: kind.capitalize()
    for kind in "note tip warning caution danger important hint attention error info todo success question".split()
} | {"seealso": "See also"}
_ALONE = frozenset("note tip warning caution important danger attention".split())
"""Kinds that mark an admonition without a further class (DocBook, Doxygen)."""
_PREFIX = re.compile(r"^(?:(?:theme-)?admonition|callout|alert|markdown-alert|starlight-aside|hint|custom-block)-{1,2}")
_TITLE = re.compile(
    r"(?:^|\s)(?:title|admonition-?title|admonitionHeading\w*|callout-?title|callout-heading|custom-block-title|"
    r"markdown-alert-title|starlight-aside__title|alert-heading|alert__heading)(?:\s|$)"
)
MAX_TITLE_DEPTH = 8
"""Elements looked at for a title: it comes first, in a wrapper or two, or a layout table's first cell."""
MAX_LABEL_CHARS = 120


class Admonition(msgspec.Struct, frozen=True):
    """`title`: the element whose words are the label, not to be read again."""

    label: str
    title: Element | None = None


def admonition_of(node: Element) -> Admonition | None:
    """The admonition that the element is, or None. A label that its text begins with anyway is left empty."""
    classes = node.get("class")
    if classes is None or node.tag not in _TAGS or (kind := _kind(classes)) is None:
        return None
    title = _title_of(node)
    if title is not None and (label := _clean(title)) and len(label) <= MAX_LABEL_CHARS:
        return Admonition(label, title)
    return Admonition("" if _begins_with(node, kind) else kind)


@lru_cache(maxsize=4_096)
def _kind(classes: str) -> str | None:
    tokens = classes.lower().split()
    named = next((kind for token in tokens if (kind := _PREFIX.sub("", token)) in _KINDS), None)
    if not _MARKERS.isdisjoint(tokens):
        return _KINDS[named or "note"]
    return _KINDS[named] if named in _ALONE and named in tokens else None


def _title_of(node: Element) -> Element | None:
    """A details' summary, a list's first term, or what a class calls a title."""
    if node.tag in ("details", "dl"):
        first = next(iter(node), None)
        return first if first is not None and first.tag in ("summary", "dt") else None
    near = islice(node.iterdescendants(), MAX_TITLE_DEPTH)
    return next((each for each in near if _TITLE.search(each.get("class") or "")), None)


def _clean(title: Element) -> str:
    return inline_text(title).strip(" :.")


def _begins_with(node: Element, kind: str) -> bool:
    return inline_start(node, len(kind)).lower() == kind.lower()
