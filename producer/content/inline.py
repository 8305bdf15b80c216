"""Text of elements: whitespace, inline code, what is dropped on the way."""

import re
from collections.abc import Iterator
from typing import TypeAlias, cast

from lxml import etree

from producer.content import chrome

Element: TypeAlias = etree._Element

LINE_BREAK = "\0"
"""Stands for `<br>` until a block's text is finished; the input holds no NUL by then."""
CODE_TAGS = frozenset(("code", "kbd", "samp", "tt"))
_ANCHOR_SIGNS = frozenset(("¶", "#", "§", "🔗", "\uf0c1", "[link]"))
_SPACES = re.compile(r"[ \t\n\r\f\v]+")
_INVISIBLE = str.maketrans("", "", "\u200b\u00ad\ufeff\u2060")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_HAS_HEADING = etree.XPath("boolean(.//h1 | .//h2 | .//h3 | .//h4)")
_HAS_PROSE = etree.XPath("boolean(.//p | .//h1 | .//h2 | .//pre)")
_TEX = etree.XPath('string(.//*[local-name()="annotation"][contains(@encoding, "tex")])')


def is_dropped(element: Element, by_id: bool = False) -> bool:
    """Whether the element and all beneath it is frame, hidden or not text. `by_id`: judge ids of `div` and lists too.

    Ids are no sign inside a main part: generators make them of headings, and a section may be called "search".
    """
    tag = element.tag
    if tag in chrome.DROPPED_TAGS:
        return True
    if tag == "a" and len(element) == 0 and (element.text or "").strip() in _ANCHOR_SIGNS:
        return True
    for name, value in element.items():
        if _marks_dropped(tag, name, value, by_id):
            return True
    return tag in ("header", "form", "aside") and _is_dropped_wrapper(element)


def _marks_dropped(tag: str, name: str, value: str, by_id: bool) -> bool:
    if name == "class":
        return chrome.is_chrome_class(value) or (tag == "a" and chrome.is_source_link(value))
    if name == "id":
        return by_id and tag in ("div", "ul", "ol", "table", "td") and chrome.is_chrome_id(value)
    if name == "style":
        return _HIDDEN_STYLE.search(value) is not None
    return (
        (name == "role" and value in chrome.DROPPED_ROLES)
        or (name == "aria-hidden" and value == "true")
        or (name == "hidden" and value != "until-found")
    )


def _is_dropped_wrapper(element: Element) -> bool:
    if element.tag == "aside":
        return not chrome.is_kept_aside(element.get("class") or "")
    return not cast(bool, (_HAS_HEADING if element.tag == "header" else _HAS_PROSE)(element))


def replacement(element: Element) -> str | None:
    """The text that stands for an element of its own kind (`br`, `img`, `math`); None for all others."""
    match element.tag:
        case "br":
            return LINE_BREAK
        case "img":
            return _alt_text(element)
        case "math":
            tex = element.get("alttext") or cast(str, _TEX(element))
            return tex or "".join(cast("Iterator[str]", element.itertext()))
        case _:
            return None


def _alt_text(image: Element) -> str:
    alt = (image.get("alt") or "").strip()
    return f" {alt} " if 2 < len(alt) <= 300 else ""


def finished(parts: list[str]) -> str:
    """One block's text: whitespace collapsed, line breaks kept, indentation by no-break spaces kept as spaces."""
    text = "".join(parts)
    if not text.isascii():
        text = text.translate(_INVISIBLE)
    if LINE_BREAK not in text:
        return " ".join(text.split())
    lines = [_SPACES.sub(" ", line.strip(" \t\n\r\f\v")) for line in text.split(LINE_BREAK)]
    return "\n".join(line.replace("\xa0", " ").rstrip() for line in lines).strip("\n").strip()


def inline_text(element: Element, with_code_marks: bool = False) -> str:
    """The element's text in one piece, for headings, terms and table cells."""
    parts: list[str] = []
    walk = etree.iterwalk(element, events=("start", "end"))
    code_depth = 0
    for event, node in walk:
        if event == "start":
            text = replacement(node) if node is not element else None
            if text is not None or (node is not element and is_dropped(node)):
                walk.skip_subtree()
                parts.append(text or "")
                continue
            if with_code_marks and node.tag in CODE_TAGS:
                code_depth += 1
                parts.append("`" if code_depth == 1 else "")
            parts.append(node.text or "")
        else:
            if with_code_marks and node.tag in CODE_TAGS and code_depth:
                parts.append("`" if code_depth == 1 else "")
                code_depth -= 1
            if node is not element:
                parts.append(node.tail or "")
    return " ".join(finished(parts).split())
