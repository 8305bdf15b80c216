"""What a frame leaves inside the main part: the page's own table of contents, tab labels, a generator's signature.

Changes the tree in place, before it is read.
"""

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias, cast
from urllib.parse import unquote

from lxml import etree

from producer.content.inline import inline_start, inline_text

Element: TypeAlias = etree._Element

MIN_ENTRIES = 3
MIN_LINKED_SHARE = 0.8
MAX_LISTS = 500
MAX_TABS = 5_000
MAX_EMPTY_SIBLINGS = 50
"""Without text, between a list and the heading above it."""
MAX_ANNOUNCING_CHARS = 40
MIN_ROW_LINKS, MAX_ROW_LINKS, MAX_ROW_CHARS, MAX_ROW_DEPTH = 2, 12, 400, 6
_CONTENTS_WORDS = frozenset(
    "contents|table of contents|index|on this page|in this article|in this page|page contents|toc".split("|")
)
_ROW_TAGS = frozenset("div p table center section span tbody tr td".split())
_ANNOUNCING = frozenset("h1 h2 h3 h4 h5 h6 dt".split())
_LOCAL = re.compile("#.")
_PLACES = etree.XPath('//@*[name()="id" or name()="name"]')
_LINKS = etree.XPath(".//a[@href]")
_TEXT_CHARS = etree.XPath("string-length(normalize-space(.))")
_TABS = etree.XPath('.//*[@role="tab"]')
_PANELS = etree.XPath('.//*[@role="tabpanel"]')
_TABBED_LABELS = etree.XPath('./div[@class="tabbed-labels"]/label')
_TABBED_BLOCKS = etree.XPath('./div[@class="tabbed-content"]/div')
_ACCORDION_BUTTONS = etree.XPath(
    ".//button[@aria-controls][ancestor::h1 or ancestor::h2 or ancestor::h3 or ancestor::h4 or ancestor::h5"
    " or ancestor::h6 or ancestor::dt]"
)
_LAST_LINK = etree.XPath("(.//a[@href])[last()]")


def trim(part: Element) -> None:
    """Before `blocks_of`. Idempotent."""
    _unfold_tabs(part)
    _unfold_accordions(part)
    _drop_local_contents(part)
    _drop_signature(part)
    for backwards in (False, True):
        _drop_link_row(part, backwards)


def _unfold_tabs(part: Element) -> None:
    """Every tab's content stays, under its label, whichever is in front when the page loads."""
    nodes = list(part.iter("div", "ul"))
    _unfold_tablists(part, [node for node in nodes if node.get("role") == "tablist"][:MAX_LISTS])
    for node in nodes:
        if "data-tabs" in node.attrib:
            _unfold_tabbed_set(node)


def _unfold_tablists(part: Element, tablists: Sequence[Element]) -> None:
    """As ARIA has it: Docusaurus, Starlight, sphinx-tabs."""
    if not tablists:
        return
    tabs_of = _by_ancestor(_found(_TABS, part)[:MAX_TABS], set(tablists))
    panels_of = _by_ancestor(_found(_PANELS, part)[:MAX_TABS], {node.getparent() for node in tablists} - {None})
    for tablist in tablists:
        tabs = tabs_of[tablist]
        panels = [panel for panel in panels_of[tablist.getparent()] if panel.get("role")]
        if len(tabs) == len(panels) > 0:
            _label(panels, tabs)
            _cut(tablist)


def _unfold_accordions(part: Element) -> None:
    """As ARIA has it: a heading's button names the panel that it shows."""
    controlled = {button.get("aria-controls") for button in _found(_ACCORDION_BUTTONS, part)}
    for panel in part.iter("div", "dd", "section") if controlled else ():
        if panel.get("id") in controlled:
            _show(panel)


def _by_ancestor(nodes: Iterable[Element], ancestors: Container[Element | None]) -> dict[Element | None, list[Element]]:
    found: dict[Element | None, list[Element]] = defaultdict(list)
    for node in nodes:
        for ancestor in node.iterancestors():
            if ancestor in ancestors:
                found[ancestor].append(node)
    return found


def _unfold_tabbed_set(tabbed: Element) -> None:
    """MkDocs' content tabs."""
    labels, panels = _found(_TABBED_LABELS, tabbed), _found(_TABBED_BLOCKS, tabbed)
    if len(labels) == len(panels) > 0:
        _label(panels, labels)
        _cut(cast(Element, labels[0].getparent()))


def _show(panel: Element) -> None:
    for name in ("hidden", "aria-hidden", "style", "role"):
        panel.attrib.pop(name, None)


def _label(panels: Iterable[Element], labels: Iterable[Element]) -> None:
    for panel, label in zip(panels, labels, strict=True):
        _show(panel)
        if words := inline_text(label):
            paragraph = etree.Element("p")
            paragraph.text, paragraph.tail, panel.text = f"**{words}**", panel.text, None
            panel.insert(0, paragraph)


def _drop_local_contents(part: Element) -> None:
    """Lists of links to places on the same page, with the heading above that says so."""
    judged: set[Element] = set()
    lists = [entries for entries in part.iter("ul", "ol", "dl") if _begins_local(entries)]
    places = set(cast("list[str]", _PLACES(part))) if lists else set()
    for entries in lists[:MAX_LISTS]:
        if not judged.isdisjoint(entries.iterancestors()):
            continue
        judged.add(entries)
        if not _is_local(entries, places):
            continue
        if (heading := _heading_before(entries)) is not None:
            _cut(heading)
        _cut(entries)


def _begins_local(entries: Element) -> bool:
    """Cheap: most lists have no link, or one that leads on."""
    first = entries.find(".//a[@href]")
    return first is not None and _LOCAL.match(first.get("href") or "") is not None


def _is_local(entries: Element, places: set[str]) -> bool:
    links = _found(_LINKS, entries)
    targets = [link.get("href") or "" for link in links]
    if len(links) < MIN_ENTRIES or not all(map(_LOCAL.match, targets)):
        return False
    if sum(unquote(target[1:]) in places or target[1:] in places for target in targets) < MIN_LINKED_SHARE * len(links):
        return False
    return sum(map(_chars, links)) >= MIN_LINKED_SHARE * _chars(entries)


def _heading_before(entries: Element) -> Element | None:
    """The sibling before it, or before its wrapper, when its words announce contents."""
    for node in (entries, entries.getparent()):
        siblings = islice(node.itersiblings(preceding=True), MAX_EMPTY_SIBLINGS) if node is not None else ()
        if (before := next(_with_text(siblings), None)) is not None:
            return before if inline_start(before, MAX_ANNOUNCING_CHARS).strip(" :").lower() in _CONTENTS_WORDS else None
    return None


def _with_text(elements: Iterable[Element]) -> Iterator[Element]:
    return (element for element in elements if inline_start(element, 1))


def _drop_signature(part: Element) -> None:
    """man2html's last line has no element of its own: a rule, and words and links behind it."""
    if part.tag != "body":
        return
    for link in _found(_LAST_LINK, part):
        if "man2html" not in (link.get("href") or ""):
            continue
        rule = next(link.itersiblings("hr", preceding=True), None)
        if rule is not None:
            for element in list(rule.itersiblings()):
                element.getparent().remove(element)  # with the words behind it
            rule.tail = None


def _drop_link_row(part: Element, backwards: bool) -> None:
    """A row of links as the first or last thing, as in "Previous | Up | Next"; not what a heading announces."""
    node: Element | None = part
    for _ in range(MAX_ROW_DEPTH):
        node = next(_with_text(node.iterchildren(reversed=backwards)), None) if node is not None else None
        if node is None or node.tag not in _ROW_TAGS or (node.tail or "").strip():
            return
        if _is_link_row(node):
            if not _is_announced(node, part):
                _cut(node)
            return


def _is_announced(node: Element, part: Element) -> bool:
    """Whether what comes before it in the text is a heading."""
    before: Element | None = None
    while before is None and node is not part:
        before = next(_with_text(node.itersiblings(preceding=True)), None)
        node = cast(Element, node.getparent())
    while before is not None and before.tag not in _ANNOUNCING and not (before.tail or "").strip():
        before = next(_with_text(before.iterchildren(reversed=True)), None)
    return before is not None and before.tag in _ANNOUNCING


def _is_link_row(node: Element) -> bool:
    links = list(islice((link for link in node.iter("a") if link.get("href") is not None), MAX_ROW_LINKS + 1))
    if not MIN_ROW_LINKS <= len(links) <= MAX_ROW_LINKS:
        return False
    words = "".join(cast("Iterator[str]", node.itertext()))
    linked = "".join(text for link in links for text in cast("Iterator[str]", link.itertext()))
    return len(words) < MAX_ROW_CHARS and _letters(words) == _letters(linked)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _cut(element: Element) -> None:
    """Take the element out, and leave the text behind it where it is."""
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    if element.tail:
        if before is not None:
            before.tail = (before.tail or "") + element.tail
        else:
            parent.text = (parent.text or "") + element.tail
    parent.remove(element)


def _found(path: etree.XPath, element: Element) -> list[Element]:
    return cast("list[Element]", path(element))


def _chars(element: Element) -> float:
    return cast(float, _TEXT_CHARS(element))
