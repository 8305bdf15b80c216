"""From an element to Markdown blocks, in one iterative walk: no recursion, so depth costs nothing."""

from typing import TypeAlias

from lxml import etree

from producer.content.admonition import Admonition, admonition_of
from producer.content.codeblock import code_text, fenced, is_doxygen_fragment, language_of
from producer.content.document import Block, BlockKind
from producer.content.inline import CODE_TAGS, finished, inline_text, is_dropped, replacement
from producer.content.table import is_data_table, table_rows

Element: TypeAlias = etree._Element

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    "p div section article main ul ol li dl dt dd blockquote table tr td th thead tbody tfoot caption figure "
    "figcaption details summary hr address center fieldset legend header form body html hgroup aside".split()
)
_PYDOC_HEADINGS = {"title": 1, "bigsection": 2}
_FOOTNOTES = frozenset(("footnote", "citation", "fn"))
MAX_LIST_INDENT = 8
MAX_NUMBER_DIGITS = 7
MAX_HEADING_CHARS = 300
"""Longer ones are text in a heading's clothes; as headings they would stand in front of every chunk beneath."""


def blocks_of(element: Element, by_id: bool = False, by_name: bool = True) -> list[Block]:
    """The element's content in page order. `by_id`, `by_name`: see `inline.is_dropped`."""
    renderer = _Renderer(element, by_id, by_name)
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, node in walk:
        if event == "end":
            renderer.leave(node)
        elif not renderer.enter(node):
            walk.skip_subtree()
    renderer.close()
    return renderer.blocks


class _List:
    __slots__ = ("number", "ordered")

    def __init__(self, ordered: bool, first: int) -> None:
        self.ordered, self.number = ordered, first


class _Renderer:
    def __init__(self, root: Element, by_id: bool, by_name: bool) -> None:
        self.blocks: list[Block] = []
        self._root, self._by_id, self._by_name = root, by_id, by_name
        self._inline: list[str] = []
        self._lists: list[_List] = []
        self._list_lines: list[str] = []
        self._marker: str | None = None
        self._outer_lists: list[list[_List]] = []
        """For each quote that is open, the lists around it."""
        self._code_depth = 0
        self._lead = ""
        """Begins the next text: an admonition's label, a footnote's number."""
        self._admonitions: dict[Element, Admonition] = {}
        self._titles: set[Element] = set()
        self._goes_on = False
        """Whether the last block is a quote that the next text of the same quote joins."""

    def enter(self, node: Element) -> bool:
        """False when the node has been dealt with and its subtree is to be skipped."""
        if (text := replacement(node)) is not None:
            self._inline.append(text)
            return False
        if node is not self._root and is_dropped(node, self._by_id, self._by_name):
            return False
        tag = node.tag
        if (self._titles and node in self._titles) or (tag in ("span", "sup") and self._takes_footnote_label(node)):
            return False
        if tag in _BLOCKS:
            return self._enter_block(node, tag)
        if tag in _HEADINGS:
            self._heading(node, _HEADINGS[tag])
            return False
        return self._enter_inline(node, tag)

    def leave(self, node: Element) -> None:
        tag = node.tag
        if tag in _BLOCKS:
            self._leave_block(node, tag)
        elif tag in CODE_TAGS and self._code_depth:
            self._code_depth -= 1
            if not self._code_depth:
                self._inline.append("`")
        if node is not self._root:
            self._add(node.tail)

    def close(self) -> None:
        self._flush()
        self._flush_list()

    def _add(self, text: str | None) -> None:
        """Text of the block that is open; none begins with white space."""
        if text and (self._inline or not text.isspace()):
            self._inline.append(text)

    def _enter_inline(self, node: Element, tag: str) -> bool:
        if tag == "pre":
            self._code(node)
            return False
        if tag == "strong" and (level := _PYDOC_HEADINGS.get(node.get("class") or "")):
            self._heading(node, level)
            return False
        if tag in CODE_TAGS:
            self._code_depth += 1
            if self._code_depth == 1:
                self._inline.append("`")
        self._add(node.text)
        return True

    def _enter_block(self, node: Element, tag: str) -> bool:
        self._flush()
        if node is not self._root and (found := admonition_of(node)) is not None:
            self._enter_admonition(node, found)
        match tag:
            case "ul" | "ol":
                if self._lead and not self._lists:
                    self._quote_or_paragraph(self._with_lead(""))
                self._lists.append(_List(tag == "ol", _number(node.get("start")) or 1))
            case "li":
                self._marker = self._next_marker(node.get("value"))
            case "dt":
                self._term(node)
                return False
            case "blockquote" if node not in self._admonitions:
                self._begin_quote()
            case "table" if not self._lays_out_admonition(node) and is_data_table(node):
                self._emit(BlockKind.TABLE, "\n".join(table_rows(node)))
                return False
            case "div" if is_doxygen_fragment(node):
                self._code(node)
                return False
            case "div" if _is_doxygen_title(node):
                self._heading(node, 1)
                return False
            case "td" if (role := node.get("class")) in ("extra", "section-title"):
                return self._pydoc_cell(node, role)
        self._add(node.text)
        return True

    def _pydoc_cell(self, node: Element, role: str) -> bool:
        """pydoc has no headings: a class's title is a cell, a file's path on the server another."""
        if role == "section-title" and node.find("strong[@class]") is None:
            self._heading(node, 3)
        return role == "section-title" and node.find("strong[@class]") is not None

    def _enter_admonition(self, node: Element, found: Admonition) -> None:
        self._begin_quote()
        self._admonitions[node] = found
        if found.title is not None:
            self._titles.add(found.title)
        self._lead = f"**{found.label}**" if found.label else ""

    def _lays_out_admonition(self, table: Element) -> bool:
        """AsciiDoc's and DocBook's boxes are tables of a sign and the text."""
        return table in self._admonitions or table.getparent() in self._admonitions

    def _takes_footnote_label(self, node: Element) -> bool:
        """Sphinx's and DokuWiki's footnotes begin with their number in an element of its own."""
        parent = node.getparent()
        if parent is None or parent.tag not in ("div", "aside") or node.getprevious() is not None:
            return False
        if _FOOTNOTES.isdisjoint((parent.get("class") or "").split()):
            return False
        self._lead = inline_text(node)
        return True

    def _term(self, node: Element) -> None:
        words, parent = inline_text(node), node.getparent()
        if parent is not None and not _FOOTNOTES.isdisjoint((parent.get("class") or "").split()):
            self._lead = words
        else:
            self._emit(BlockKind.TERM, words)

    def _begin_quote(self) -> None:
        """A quote ends the list that it stands in, as a block of its own kind does."""
        self._flush_list()
        self._outer_lists.append(self._lists)
        self._lists, self._marker, self._goes_on = [], None, False

    def _end_quote(self) -> None:
        self._flush_list()
        if self._outer_lists:
            self._lists = self._outer_lists.pop()
        self._goes_on, self._lead = False, ""

    def _leave_block(self, node: Element, tag: str) -> None:
        self._flush()
        if self._admonitions.pop(node, None) is not None:
            self._end_quote()
            return
        match tag:
            case "ul" | "ol" if self._lists:
                self._lists.pop()
                if not self._lists:
                    self._flush_list()
            case "li":
                self._marker = None
            case "blockquote":
                self._end_quote()

    def _heading(self, node: Element, level: int) -> None:
        self._flush()
        words = inline_text(node)
        if len(words) > MAX_HEADING_CHARS:
            self._emit(BlockKind.PARAGRAPH, words)
        elif words:
            self._emit(BlockKind.HEADING, "#" * level + " " + words, level=level)

    def _code(self, node: Element) -> None:
        self._flush()
        if code := code_text(node):
            language = language_of(node)
            self._emit(BlockKind.CODE, fenced(code, language), language=language)

    def _emit(self, kind: BlockKind, text: str, level: int = 0, language: str | None = None) -> None:
        """A block of its own kind ends the list that it stands in; the list goes on after it."""
        self._flush_list()
        if not text:
            return
        if self._lead and kind is not BlockKind.HEADING:
            self._quote_or_paragraph(self._with_lead(""))
        self.blocks.append(Block(kind, text, level, language))
        self._goes_on = False

    def _flush(self) -> None:
        """End the running text: a line of the list that is open, else a paragraph or quote."""
        if not self._inline:
            return
        text = finished(self._inline)
        self._inline.clear()
        if self._code_depth % 2 == 1:
            self._code_depth = 0
        if not text or text == "``":
            return
        text = self._with_lead(text)
        if self._lists:
            self._list_line(text)
        else:
            self._quote_or_paragraph(text)

    def _with_lead(self, text: str) -> str:
        lead, self._lead = self._lead, ""
        return f"{lead} {text}".strip() if lead else text

    def _quote_or_paragraph(self, text: str) -> None:
        if not self._outer_lists:
            self.blocks.append(Block(BlockKind.PARAGRAPH, text))
            return
        quoted = "\n".join(f"> {line}" for line in text.split("\n"))
        if self._goes_on:
            quoted = f"{self.blocks.pop().text}\n>\n{quoted}"
        self.blocks.append(Block(BlockKind.QUOTE, quoted))
        self._goes_on = True

    def _flush_list(self) -> None:
        if not self._list_lines:
            return
        text = "\n".join(self._list_lines).strip()
        self._list_lines.clear()
        if self._outer_lists:
            self._quote_or_paragraph(text)
        else:
            self.blocks.append(Block(BlockKind.LIST, text))
            self._goes_on = False

    def _indent(self) -> str:
        return "  " * min(len(self._lists) - 1, MAX_LIST_INDENT)

    def _next_marker(self, value: str | None) -> str:
        if not self._lists:
            self._lists.append(_List(False, 1))
        innermost = self._lists[-1]
        innermost.number = _number(value) or innermost.number
        sign = f"{innermost.number}. " if innermost.ordered else "- "
        innermost.number += 1
        return self._indent() + sign

    def _list_line(self, text: str) -> None:
        lead = self._marker if self._marker is not None else self._indent() + "  "
        self._marker = None
        self._list_lines.append(lead + text.replace("\n", "\n" + " " * len(lead)))


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() and len(value) < MAX_NUMBER_DIGITS else None


def _is_doxygen_title(node: Element) -> bool:
    parent = node.getparent()
    return node.get("class") == "title" and parent is not None and parent.get("class") == "headertitle"


def first_heading(blocks: list[Block]) -> str | None:
    """The first top-level heading's words, else the first heading's."""
    headings = [block for block in blocks if block.kind is BlockKind.HEADING]
    best = next((block for block in headings if block.level == 1), headings[0] if headings else None)
    return best.heading if best is not None else None
