"""Finds the element that holds a page's main content.

In order: the page's own semantics (`main`, `role=main`, `article`, the containers of documentation generators);
the whole body of a page that has no frame around its content; readability-lxml for the rest.
"""

import logging
from collections.abc import Sequence
from typing import TypeAlias, cast

import lxml.html
from lxml import etree
from readability.readability import Document as Readability

from producer.content import chrome

Element: TypeAlias = etree._Element

MIN_MAIN_CHARS = 200
MIN_MAIN_SHARE = 0.1
"""A main part with less text than this, on a page with ten times as much, is a shell that something else fills."""
MIN_INNER_SHARE = 0.5
MAX_READABILITY_ELEMENTS = 6_000
"""readability-lxml is slow, worst on index pages (2.5 s on one of them): above this many, the body is taken."""
MAX_LINK_SHARE = 0.5

logging.getLogger("readability").setLevel(logging.CRITICAL)


def _has_class(name: str) -> str:
    return f'contains(concat(" ", normalize-space(@class), " "), " {name} ")'


def _by_class(*names: str) -> str:
    return "//*[" + " or ".join(_has_class(name) for name in names) + "]"


_OUTER: tuple[tuple[str, etree.XPath], ...] = (
    ("main", etree.XPath('//main | //*[@role="main"]')),
    ("article", etree.XPath('//article[not(ancestor::article)] | //*[@role="article"]')),
    (
        "generator",
        etree.XPath(
            " | ".join(
                (
                    _by_class("md-content", "theme-doc-markdown", "markdown-body", "rst-content", "contentContainer"),
                    # Sphinx, Doxygen, Javadoc, DocBook, AsciiDoc, MediaWiki, Docutils, Texinfo, godoc
                    '//div[@class="body" or @class="document" or @class="contents" or @class="refentry"]',
                    '//div[@class="book" or @class="chapter" or @class="article" or @class="sect1" or @class="section"]'
                    '[not(ancestor::div[@class="book" or @class="chapter" or @class="article" or @class="section"])]',
                    '//*[@id="main-content" or @id="main" or @id="content"]',
                    '//*[@id="mw-content-text" or @id="bodyContent"]',
                    '//div[contains(@class, "-level-extent")][not(ancestor::div[contains(@class, "-level-extent")])]',
                    '//*[@id="column1" or @id="apicontent" or @id="doc-content"]',
                )
            )
        ),
    ),
)
_INNER = etree.XPath(
    " | ".join(
        (
            ".//article",
            "." + _by_class("md-content__inner", "theme-doc-markdown", "markdown-body", "doc", "articleBody"),
            './/div[@class="body" or @class="contents"]',
            './/*[@id="mw-content-text" or @itemprop="articleBody"]',
        )
    )
)
_TEXT_CHARS = etree.XPath("string-length(normalize-space(.))")
_LINKS = etree.XPath(".//a")
_ATTRIBUTES = etree.XPath("//@class | //@id | //@role")
_SEMANTIC_FRAME = etree.XPath("boolean(//nav | //aside | //header | //footer)")


def main_part(root: Element, element_count: int) -> tuple[Element, str]:
    """(element, method): `main`, `article`, `generator`, `whole`, `readability`, or `body` where nothing fits."""
    body = _body(root)
    for method, path in _OUTER:
        if (found := _largest(cast("list[Element]", path(root)))) is not None:
            if _is_substantial(found, body):
                return _narrowed(found), method
    if _is_frameless(root, body):
        return body, "whole"
    if element_count <= MAX_READABILITY_ELEMENTS and (article := _readable(root)) is not None:
        return article, "readability"
    return body, "body"


def _body(root: Element) -> Element:
    body = root.find("body")
    return root if body is None else body


def text_chars(element: Element) -> float:
    """Characters of text, scripts not counted apart: runs in C, so it may be asked often."""
    return cast(float, _TEXT_CHARS(element))


def _largest(elements: Sequence[Element]) -> Element | None:
    if len(elements) < 2:
        return elements[0] if elements else None
    return max(elements[:200], key=text_chars)


def _is_substantial(part: Element, body: Element) -> bool:
    chars = text_chars(part)
    return chars >= MIN_MAIN_CHARS or 0 < chars >= MIN_MAIN_SHARE * text_chars(body)


def _narrowed(outer: Element) -> Element:
    """The generator's own container inside `main`, when it holds most of the text; several articles are a list."""
    inner = _largest(cast("list[Element]", _INNER(outer)))
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
    linked = sum(text_chars(link) for link in cast("list[Element]", _LINKS(body))[:5_000])
    return total > 0 and linked <= MAX_LINK_SHARE * total


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
