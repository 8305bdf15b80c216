"""Tables: data as Markdown rows; tables used for layout are told apart."""

from typing import TypeAlias, cast

from lxml import etree

from producer.content.inline import inline_text, is_dropped

Element: TypeAlias = etree._Element

MAX_COLUMNS = 50
MAX_ROWSPAN = 1_000
MAX_REPEATED_CHARS = 200
"""A longer cell that spans rows stands in the first of them alone."""
_PYDOC_LAYOUT = ("heading", "section")
_LAYOUT_SIGNS = etree.XPath(
    "boolean(.//*[self::table or self::dl or self::h1 or self::h2 or self::h3 or self::h4 or self::blockquote"
    ' or self::main or self::article or (self::div and @class="fragment")]) or .//td/p[5] or .//li[8]'
)
_CODE_BLOCKS = etree.XPath(".//pre")
_ROWS = etree.XPath(".//tr")


def is_data_table(table: Element) -> bool:
    """False for a table that arranges content: it holds blocks, says so, or has one column only."""
    if (
        table.get("role") in ("presentation", "none")
        or table.get("class") in _PYDOC_LAYOUT
        or cast(bool, _LAYOUT_SIGNS(table))
        or any(not _is_one_line(code) for code in cast("list[Element]", _CODE_BLOCKS(table)))
    ):
        return False
    rows = cast("list[Element]", _ROWS(table))
    return any(sum(1 for cell in row if cell.tag in ("td", "th")) > 1 for row in rows[:50])


def table_rows(table: Element) -> list[str]:
    """Markdown lines: caption, header, rule, rows. Empty rows are left out; a missing header isn't invented.

    Cells stay in their columns: one that spans rows stands in each of them, so that every row can be read alone; one
    that spans columns stands in the first, or over each where several header rows become one.
    """
    elements = [row for row in cast("list[Element]", _ROWS(table)) if not is_dropped(row)]
    header_rows = _header_rows(elements)
    grid = _grid(elements, header_rows)
    header = _merged(grid[:header_rows])
    rows = [row for row in ([header] if any(header) else []) + grid[header_rows:] if any(row)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if any(header) and len(lines) > 1:
        lines.insert(1, "|" + " --- |" * len(header))
    caption = table.find("caption")
    words = inline_text(caption) if caption is not None else ""
    return ([words, ""] if words and lines else []) + lines


def _grid(elements: list[Element], header_rows: int) -> list[list[str]]:
    """Cells by row and column."""
    grid: list[list[str]] = []
    reaching: dict[int, tuple[str, int]] = {}
    """By column: the cell from above that still reaches down, and for how many rows."""
    for number, element in enumerate(elements):
        row: list[str] = []
        _continue(row, reaching)
        beyond: list[str] = []
        for cell in element:
            if cell.tag not in ("td", "th") or is_dropped(cell):
                continue
            if len(row) < MAX_COLUMNS:
                _place(cell, row, reaching, repeats=number < header_rows > 1)
                _continue(row, reaching)
            else:
                beyond.append(_words(cell))
        if any(beyond):
            row[-1] = " ".join(filter(None, [row[-1], *beyond]))
        grid.append(row)
    return grid


def _place(cell: Element, row: list[str], reaching: dict[int, tuple[str, int]], *, repeats: bool) -> None:
    words = _words(cell)
    below = _span(cell, "rowspan", MAX_ROWSPAN) - 1
    for column in range(_span(cell, "colspan", MAX_COLUMNS - len(row))):
        here = words if repeats or column == 0 else ""
        if below:
            reaching[len(row)] = (here if len(here) <= MAX_REPEATED_CHARS else "", below)
        row.append(here)


def _words(cell: Element) -> str:
    return inline_text(cell, with_code_marks=True).replace("|", "\\|")


def _continue(row: list[str], reaching: dict[int, tuple[str, int]]) -> None:
    """Fill the next columns as far as cells from above reach into this row."""
    while (found := reaching.pop(len(row), None)) is not None and len(row) < MAX_COLUMNS:
        words, left = found
        if left > 1:
            # Not before this row is done: the next row asks for it anew.
            reaching[len(row)] = (words, left - 1)
        row.append(words)


def _span(cell: Element, name: str, most: int) -> int:
    value = cell.get(name) or "1"
    return max(1, min(int(value), most)) if value.isdecimal() and len(value) < 6 else 1


def _merged(rows: list[list[str]]) -> list[str]:
    """Header rows as one: each column's words from top to bottom, the same ones once."""
    width = max(map(len, rows), default=0)
    columns = [dict.fromkeys(row[column] for row in rows if column < len(row)) for column in range(width)]
    return [" ".join(filter(None, words)) for words in columns]


def _header_rows(elements: list[Element]) -> int:
    in_head = 0
    for element in elements:
        parent = element.getparent()
        if parent is None or parent.tag != "thead":
            break
        in_head += 1
    if in_head or not elements:
        return in_head
    return 1 if all(cell.tag == "th" for cell in elements[0]) and len(elements[0]) else 0


def _is_one_line(code: Element) -> bool:
    return "\n" not in "".join(code.itertext()).strip() and code.find(".//br") is None
