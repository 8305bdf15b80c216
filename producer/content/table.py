"""Tables: data as Markdown rows; tables used for layout are told apart."""

from typing import TypeAlias, cast

from lxml import etree

from producer.content.inline import inline_text

Element: TypeAlias = etree._Element

MAX_COLUMNS = 50
_PYDOC_LAYOUT = ("heading", "section")
_LAYOUT_SIGNS = etree.XPath(
    "boolean(.//table | .//pre | .//dl | .//h1 | .//h2 | .//h3 | .//h4 | .//blockquote | .//main | .//article"
    ' | .//div[@class="fragment"] | .//td/p[5] | .//li[8])'
)
_ROWS = etree.XPath(".//tr")


def is_data_table(table: Element) -> bool:
    """False for a table that arranges content: it holds blocks, says so, or has one column only."""
    if (
        table.get("role") in ("presentation", "none")
        or table.get("class") in _PYDOC_LAYOUT
        or cast(bool, _LAYOUT_SIGNS(table))
    ):
        return False
    rows = cast("list[Element]", _ROWS(table))
    return any(sum(1 for cell in row if cell.tag in ("td", "th")) > 1 for row in rows[:50])


def table_rows(table: Element) -> list[str]:
    """Markdown lines: caption, header, rule, rows. Empty rows are left out; a missing header isn't invented."""
    rows = [_cells(row) for row in cast("list[Element]", _ROWS(table))]
    rows = [row for row in rows if any(row)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if len(lines) > 1 and _first_is_header(table):
        lines.insert(1, "|" + " --- |" * len(rows[0]))
    caption = table.find("caption")
    words = inline_text(caption) if caption is not None else ""
    return ([words, ""] if words and lines else []) + lines


def _cells(row: Element) -> list[str]:
    cells = [cell for cell in row if cell.tag in ("td", "th")][:MAX_COLUMNS]
    return [inline_text(cell, with_code_marks=True).replace("|", "\\|") for cell in cells]


def _first_is_header(table: Element) -> bool:
    first = next(table.iter("tr"), None)
    if first is None:
        return False
    parent = first.getparent()
    return (parent is not None and parent.tag == "thead") or all(cell.tag == "th" for cell in first)
