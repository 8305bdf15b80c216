"""Finds the element that holds a page's main content.

In order: the page's own semantics (`main`, `role=main`, `article`, the containers of documentation generators);
the element
that holds the content on the site's other pages (`template`); the whole body of a page that has no frame around its
content; readability-lxml for the rest.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import lxml.html
from lxml import etree
from readability.readability import Document as Readability

from producer.content import chrome
from producer.content.template import element_at

Element: TypeAlias = etree._Element

GUESSES = frozenset(("whole", "readability", "body"))
"""Methods for pages that do not say themselves what their main part is, where nothing was learnt from others."""
MIN_MAIN_CHARS = 200
MIN_MAIN_SHARE = 0.1
"""A main part with less text than this, on a page with ten times as much, is a shell that something else fills."""
MIN_OWN_SHARE = 0.3
"""Of the page's text outside links: `article`, and names like "content", are given to small boxes too."""
MIN_INNER_SHARE = 0.5
MIN_COVERED_SHARE = 0.6
MAX_READABILITY_ELEMENTS = 6_000
"""readability-lxml is slow, worst on index pages (2.5 s on one of them): above this many, the body is taken."""
MAX_LINK_SHARE = 0.5

logging.getLogger("readability").setLevel(logging.CRITICAL)


_CONTAINER_TAGS = ("div", "section", "article", "main")
_OUTER_CLASSES = frozenset(("md-content", "theme-doc-markdown", "markdown-body", "rst-content", "contentContainer"))
_OUTER_WHOLE_CLASSES = frozenset(
    ("body", "document", "contents", "refentry", "book", "chapter", "article", "sect1", "section", "content")
)
"""Class attributes of containers of Sphinx, Doxygen, DocBook and Docutils: the whole attribute, not one of several."""
_OUTER_IDS = frozenset("main-content main content mw-content-text bodyContent column1 apicontent doc-content".split())
_INNER_CLASSES = frozenset(("md-content__inner", "theme-doc-markdown", "markdown-body", "doc", "articleBody"))
_INNER_WHOLE_CLASSES = frozenset(("body", "contents"))
_TEXINFO_SUFFIX = "-level-extent"
MAX_CANDIDATES = 50
MAX_LINKS_COUNTED = 5_000

# No unions: libxml2 compares each node of one set with all of the other.
_ARTICLES = etree.XPath('//*[(self::article and not(ancestor::article)) or @role="article"]')
_TEXT_CHARS = etree.XPath("string-length(normalize-space(.))")
_LINKS = etree.XPath(".//a")
_ATTRIBUTES = etree.XPath('//@*[name()="class" or name()="id" or name()="role"]')
_HEADED = etree.XPath("boolean(.//h1)")
_TITLES = etree.XPath("//h1[not(ancestor::nav or ancestor::aside or ancestor::footer)]")
_DOXYGEN_TITLE = etree.XPath('//div[@class="headertitle"]/div[@class="title"]')
MAX_TITLES = 5
_SEMANTIC_FRAME = etree.XPath("boolean(//*[self::nav or self::aside or self::header or self::footer])")


def main_part(root: Element, element_count: int, template: str | None = None) -> tuple[Element, str]:
    """(element, method): `main`, `article`, `generator`, `template`, `whole`, `readability`, or `body` if nothing fits.

    `template`: see `producer.content.template`; for a page that does not say itself what its main part is.
    """
    body = _body(root)
    for method, find in _FINDERS:
        found = _covering(find(root))
        if found is None or not _is_substantial(found, body):
            continue
        if method != "main" and not _is_large(found, body):
            continue
        return _narrowed(found), method
    if template is not None and (found := element_at(root, template)) is not None and _is_substantial(found, body):
        return found, "template"
    if _is_frameless(root, body):
        return body, "whole"
    if element_count <= MAX_READABILITY_ELEMENTS and (article := _readable(root)) is not None:
        return article, "readability"
    return body, "body"


def title_outside(root: Element, part: Element, title: str) -> Element | None:
    """The page's heading where it stands outside its main part: an `h1` with the words of the page's title.

    With AsciiDoc it is the whole header, where a manual page has its name.
    """
    inside = set(part.iterancestors())
    if part.tag == "div" and part.get("class") == "contents":
        return next(iter(cast("list[Element]", _DOXYGEN_TITLE(root))), None)
    if part.tag == "body" or cast(bool, _HEADED(part)):
        return None
    for heading in cast("list[Element]", _TITLES(root))[:MAX_TITLES]:
        if _share_words("".join(heading.itertext()), title):
            parent = heading.getparent()
            is_header = parent is not None and parent.get("id") == "header" and parent not in inside
            return parent if is_header else heading
    return None


def _share_words(heading: str, title: str) -> bool:
    one, other = ("".join(filter(str.isalnum, text)).lower() for text in (heading, title))
    return bool(one and other) and (one in other or other in one)


def _mains(root: Element) -> Sequence[Element]:
    return [element for element in root.iter() if element.tag == "main" or element.get("role") == "main"]


def _articles(root: Element) -> Sequence[Element]:
    return cast("list[Element]", _ARTICLES(root))


def _generated(root: Element) -> Sequence[Element]:
    """Containers of documentation generators, outermost first."""
    return [element for element in root.iter(*_CONTAINER_TAGS) if _is_outer(element)]


_FINDERS: tuple[tuple[str, Callable[[Element], Sequence[Element]]], ...] = (
    ("main", _mains),
    ("article", _articles),
    ("generator", _generated),
)


def _is_outer(element: Element) -> bool:
    classes = element.get("class")
    if classes is not None and (
        classes in _OUTER_WHOLE_CLASSES
        or not _OUTER_CLASSES.isdisjoint(classes.split())
        or classes.endswith(_TEXINFO_SUFFIX)
    ):
        return True
    return str(element.get("id")) in _OUTER_IDS


def _is_inner(element: Element) -> bool:
    if element.tag == "article" or element.get("itemprop") == "articleBody":
        return True
    classes = element.get("class")
    if classes is None:
        return bool(element.get("id") == "mw-content-text")
    return classes in _INNER_WHOLE_CLASSES or not _INNER_CLASSES.isdisjoint(classes.split())


def _body(root: Element) -> Element:
    body = root.find("body")
    return root if body is None else body


def text_chars(element: Element) -> float:
    """Characters of text: runs in C, so it may be asked often."""
    return cast(float, _TEXT_CHARS(element))


def own_chars(element: Element) -> float:
    """Characters of text outside links."""
    return text_chars(element) - sum(
        text_chars(link) for link in cast("list[Element]", _LINKS(element))[:MAX_LINKS_COUNTED]
    )


def _largest(elements: Sequence[Element]) -> Element | None:
    if len(elements) < 2:
        return elements[0] if elements else None
    return max(elements[:MAX_CANDIDATES], key=text_chars)


def _covering(elements: Sequence[Element]) -> Element | None:
    """The one that holds most of their text, else the parent of the largest: siblings make up a page together."""
    largest = _largest(elements)
    if largest is None or len(elements) == 1:
        return largest
    chosen = set(elements[:MAX_CANDIDATES])
    outermost = [element for element in chosen if chosen.isdisjoint(element.iterancestors())]
    if text_chars(largest) >= MIN_COVERED_SHARE * sum(text_chars(element) for element in outermost):
        return largest
    parent = largest.getparent()
    return largest if parent is None else parent


def _is_substantial(part: Element, body: Element) -> bool:
    chars = text_chars(part)
    return chars >= MIN_MAIN_CHARS or 0 < chars >= MIN_MAIN_SHARE * text_chars(body)


def _is_large(part: Element, body: Element) -> bool:
    chars = text_chars(part)
    return chars >= 0.5 * text_chars(body) or own_chars(part) >= MIN_OWN_SHARE * own_chars(body)


def _narrowed(outer: Element) -> Element:
    """The generator's own container inside `main`, when it holds most of the text; several articles are a list."""
    inner = _largest([element for element in outer.iter(*_CONTAINER_TAGS) if _is_inner(element)])
    if inner is None or text_chars(inner) < MIN_INNER_SHARE * text_chars(outer):
        return outer
    return inner


def _is_frameless(root: Element, body: Element) -> bool:
    """Old plain pages (man2html, pydoc, Texinfo) are all content; readability would cost 50 times as much."""
    if cast(bool, _SEMANTIC_FRAME(root)):
        return False
    if any(chrome.hints_at_chrome(value) for value in set(cast("list[str]", _ATTRIBUTES(root)))):
        return False
    total = text_chars(body)
    return total > 0 and own_chars(body) >= (1 - MAX_LINK_SHARE) * total


def _readable(root: Element) -> Element | None:
    """readability-lxml's answer, parsed; None where it finds nothing or fails."""
    try:
        markup = etree.tostring(root, encoding="unicode", method="html")
        summary = Readability(lxml.html.document_fromstring(markup)).summary(html_partial=True)
        article = etree.fromstring(summary.encode("utf-8"), etree.HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError, TypeError, AttributeError, IndexError, RecursionError):
        # This page is odd in a way that the library doesn't expect; its body is taken instead.
        return None
    return article if article is not None and text_chars(article) >= MIN_MAIN_CHARS else None
