"""The labelled set: 60 pages of 12 documentation generators, and what of each a reader came for.

`pages.json` names for each page its package, version and licence, the elements that hold its main text and those inside
that are not of it. They were written by looking at the pages, and no code of the extractor takes part here.
"""

import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias, cast

import msgspec
from lxml import etree, html

Element: TypeAlias = etree._Element

HERE = Path(__file__).parent
_NO_TEXT = frozenset(("script", "style", "template", "noscript", "svg", "head"))
_INLINE = frozenset(
    "a abbr b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span strike strong sub "
    "sup time tt u var wbr".split()
)


class Page(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`main` and `drop` are CSS selectors, or XPath where they begin with a slash. `until`: the main text ends before
    the last place of this text, for pages whose frame stands in no element of its own. `made`: how, where the package
    holds the source of the page only. `neighbours`: unlabelled pages of the same site."""

    name: str
    generator: str
    registry: str
    package: str
    version: str
    licence: str
    path: str
    main: tuple[str, ...]
    drop: tuple[str, ...]
    until: str | None = None
    made: str | None = None
    neighbours: tuple[str, ...] = ()

    @property
    def body(self) -> bytes:
        return _read("pages", self.name)

    @property
    def neighbouring(self) -> list[bytes]:
        return [_read("neighbours", name) for name in self.neighbours]


def _read(folder: str, name: str) -> bytes:
    return lzma.decompress((HERE / folder / f"{name}.html.xz").read_bytes())


def labelled_pages() -> list[Page]:
    return msgspec.json.decode((HERE / "pages.json").read_bytes(), type=list[Page])


def main_text(page: Page, body: bytes) -> str:
    """The page's main text in reading order. Raises LookupError where a selector of `main` finds nothing."""
    text = body.decode("utf-8", "replace")
    root = html.document_fromstring(text.encode(), html.HTMLParser(encoding="utf-8"))
    dropped = {element for selector in page.drop for element in _select(root, selector)}
    found = []
    for selector in page.main:
        if not (elements := _select(root, selector)):
            raise LookupError(f"{page.name}: {selector} finds nothing")
        found += elements
    main = "\n".join(_text(element, dropped) for element in _outermost(found))
    return main[: main.rindex(page.until)] if page.until else main


def _select(root: Element, selector: str) -> list[Element]:
    found = root.xpath(selector) if selector.startswith("/") else cast(html.HtmlElement, root).cssselect(selector)
    return cast("list[Element]", found)


def _outermost(elements: Iterable[Element]) -> list[Element]:
    chosen = dict.fromkeys(elements)
    return [element for element in chosen if not any(above in chosen for above in element.iterancestors())]


def _text(element: Element, dropped: set[Element]) -> str:
    """Text nodes under the element; lines end at block elements."""
    if not isinstance(element.tag, str) or element.tag in _NO_TEXT or element in dropped:
        return ""
    edge = "" if element.tag in _INLINE else "\n"
    inside = "".join(_text(child, dropped) + (child.tail or "") for child in element)
    return edge + (element.text or "") + inside + edge
