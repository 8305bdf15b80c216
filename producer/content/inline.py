"""Text of elements: whitespace, inline code, what is dropped on the way."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias, cast

from lxml import etree

from producer.content import chrome

Element: TypeAlias = etree._Element

LINE_BREAK = "\0"
"""Stands for `<br>` until a block's text is finished; the input holds no NUL by then."""
CODE_TAGS = frozenset(("code", "kbd", "samp", "tt"))
_MARKED_TAGS = CODE_TAGS | {"pre"}
_ANCHOR_SIGNS = frozenset(("¶", "#", "§", "◆", "🔗", "⚓", "\uf0c1", "[link]", "↩", "↩︎"))
_NEIGHBOURS = frozenset(("prev", "previous", "next"))
MAX_CONTROL_ELEMENTS = 6
MAX_CONTROL_CHARS = 60
MAX_WRAPPERS = 3
MAX_BUTTON_ELEMENTS = 50
_HEADING_LIKE = frozenset("h1 h2 h3 h4 h5 h6 dt summary caption figcaption".split())
_TEXT_CHARS = etree.XPath("string-length(normalize-space(.))")
_EXPONENT = re.compile(r"[+\-\u2212]?\d{1,4}|[a-z]")
MAX_START_PIECES = 500
"""Read for an element's first words. Some 100 elements: those around and before the text."""
_SPACES = re.compile(r"[ \t\n\r\f\v]+")
_INVISIBLE = str.maketrans("", "", "\u200b\u00ad\ufeff\u2060")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_TELLING = frozenset(("class", "id", "style", "role", "aria-hidden", "hidden"))
_WRAPPERS = frozenset(("header", "form", "aside"))
_HEADING_TAGS = ("h1", "h2", "h3", "h4")
_PROSE_TAGS = ("p", "h1", "h2", "pre")
_BLOCK_TAGS = frozenset("p div li ul ol dl dt dd tr td th pre blockquote h1 h2 h3 h4 h5 h6".split())
_HAS_MATH = etree.XPath("boolean(.//math)")
_SMALL_PICTURE = re.compile(r"(?:^|[\s_-])(?:icon|avatar|logo|badge|emoji)s?(?:$|[\s_-])", re.IGNORECASE)
_TEX = etree.XPath('string(.//*[local-name()="annotation"][contains(@encoding, "tex")])')


def is_dropped(element: Element, by_id: bool = False, by_name: bool = True) -> bool:
    """Whether the element and all beneath it is frame, hidden or not text. `by_id`: judge ids of `div` and lists too;
    without `by_name` nothing but tags counts.

    Ids are no sign inside a main part: generators make them of headings, and a section may be called "search".
    """
    tag = element.tag
    if tag in chrome.DROPPED_TAGS:
        return tag != "button" or not (_is_all_of_a_heading(element) or _is_named_in_text(element))
    if not by_name:
        return False
    for name, value in element.items():
        if name in _TELLING and _marks_dropped(element, name, value, by_id):
            return True
    if tag == "a":
        return _is_control(element)
    return tag in _WRAPPERS and _is_dropped_wrapper(element)


def _is_control(link: Element) -> bool:
    """Permalink signs, "edit this page", links to the page before and after."""
    if (rel := link.get("rel")) and not _NEIGHBOURS.isdisjoint(rel.lower().split()):
        return not any(_letters_beside(link))
    if len(link) == 0:
        words = (link.text or "").strip()
    elif sum(1 for _ in islice(link.iterdescendants(), MAX_CONTROL_ELEMENTS + 1)) > MAX_CONTROL_ELEMENTS:
        return False
    else:
        words = "".join(cast("Iterator[str]", link.itertext())).strip()
    local = (link.get("href") or "#").startswith("#")
    if words in _ANCHOR_SIGNS:
        return local or not _HEADING_LIKE.isdisjoint(each.tag for each in islice(link.iterancestors(), 3))
    return len(words) < MAX_CONTROL_CHARS and chrome.is_control_text(words, local) and not any(_letters_beside(link))


def _letters_beside(element: Element) -> tuple[bool, bool]:
    """Whether words stand directly before it, and behind it: as part of a sentence it is no control."""
    for _ in range(MAX_WRAPPERS):
        parent, previous = element.getparent(), element.getprevious()
        before = previous.tail if previous is not None else parent.text if parent is not None else None
        found = _has_letters(before), _has_letters(element.tail)
        if any(found) or parent is None or len(parent) > 1 or parent.tag in _BLOCK_TAGS:
            return found
        element = parent
    return False, False


def _has_letters(text: str | None) -> bool:
    return text is not None and any(map(str.isalnum, text))


def _is_all_of_a_heading(button: Element) -> bool:
    """An accordion's."""
    heading = next((each for each in islice(button.iterancestors(), MAX_WRAPPERS) if each.tag in _HEADING_LIKE), None)
    if heading is None or len(list(islice(heading.iterdescendants(), MAX_BUTTON_ELEMENTS))) == MAX_BUTTON_ELEMENTS:
        return False
    return cast(float, _TEXT_CHARS(heading)) == cast(float, _TEXT_CHARS(button))


def _is_named_in_text(button: Element) -> bool:
    """As in "Press Save to store"."""
    parent = button.getparent()
    return parent is not None and parent.tag in ("p", "li", "dd", "td") and all(_letters_beside(button))


def _marks_dropped(element: Element, name: str, value: str, by_id: bool) -> bool:
    tag = element.tag
    if name == "class":
        return chrome.is_chrome_class(value) or (tag == "a" and chrome.is_source_link(value))
    if name == "id":
        if tag not in ("div", "ul", "ol", "table", "td") or element.get("class") == "section":
            return False  # Docutils' sections have ids of their headings
        return chrome.is_chrome_id(value, sure=not by_id)
    if name == "style":
        return _HIDDEN_STYLE.search(value) is not None and not _is_hidden_math(element)
    return (
        (name == "role" and value in chrome.DROPPED_ROLES)
        or (name == "aria-hidden" and value == "true")
        or (name == "hidden" and value != "until-found")
    )


def _is_hidden_math(element: Element) -> bool:
    """MediaWiki shows a picture of a formula and hides the formula."""
    return (element.get("class") or "").startswith("mwe-math") and cast(bool, _HAS_MATH(element))


def _is_dropped_wrapper(element: Element) -> bool:
    if element.tag == "aside":
        return not chrome.is_kept_aside(element.get("class") or "")
    return next(element.iter(*(_HEADING_TAGS if element.tag == "header" else _PROSE_TAGS)), None) is None


def replacement(element: Element) -> str | None:
    """The text that stands for an element of its own kind (`br`, `img`, formulas); None for all others."""
    match element.tag:
        case "br":
            return LINE_BREAK
        case "img":
            return _alt_text(element)
        case "math":
            tex = element.get("alttext") or cast(str, _TEX(element))
            return tex or "".join(cast("Iterator[str]", element.itertext()))
        case "script" if (element.get("type") or "").startswith("math/tex"):
            return f" {(element.text or '').strip()} "
        case "sup" if len(element) == 0 and _is_exponent(element):
            return f"^{(element.text or '').strip()}"
        case _:
            return None


def _is_exponent(sup: Element) -> bool:
    """Behind a digit; behind a word it is a footnote's number."""
    parent, previous = sup.getparent(), sup.getprevious()
    before = previous.tail if previous is not None else parent.text if parent is not None else None
    return (before or "")[-1:].isdigit() and _EXPONENT.fullmatch((sup.text or "").strip()) is not None


def _alt_text(image: Element) -> str:
    """A formula's may be short; that of an icon or an author's portrait says nothing."""
    alt, classes = " ".join((image.get("alt") or "").split()), image.get("class") or ""
    if image.get("aria-hidden") == "true":
        return ""
    if "math" in classes or "tex" in classes.split():
        return f" {alt} "
    return f" {alt} " if 2 < len(alt) <= 300 and not _SMALL_PICTURE.search(classes) else ""


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
    if len(element) == 0 and element.tag not in _MARKED_TAGS:
        return " ".join(finished([element.text or ""]).split())
    return " ".join(finished(list(_pieces(element, with_code_marks))).split())


def inline_start(element: Element, chars: int) -> str:
    """The first characters of `inline_text`, as far as they stand among the element's first pieces."""
    parts: list[str] = []
    length = 0
    for part in islice(_pieces(element), MAX_START_PIECES):
        parts.append(part)
        length += len(finished([part]))
        if length >= chars:
            break
    return " ".join(finished(parts).split())[:chars]


def _pieces(element: Element, with_code_marks: bool = False) -> Iterator[str]:
    walk = etree.iterwalk(element, events=("start", "end"))
    code_depth = 0
    for event, node in walk:
        is_code = with_code_marks and node.tag in _MARKED_TAGS
        if event == "start":
            text = replacement(node) if node is not element else None
            if text is not None or (node is not element and is_dropped(node)):
                walk.skip_subtree()
                yield text or ""
                continue
            if node.tag in _BLOCK_TAGS:
                yield " "
            if is_code:
                code_depth += 1
                yield "`" if code_depth == 1 else ""
            yield node.text or ""
        else:
            if is_code and code_depth:
                yield "`" if code_depth == 1 else ""
                code_depth -= 1
            if node.tag in _BLOCK_TAGS:
                yield " "
            if node is not element:
                yield node.tail or ""
