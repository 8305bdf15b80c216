"""A table that is whole at any width: what does not fit beside the rest stands beneath its row, with its name."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

_ANY_WIDTH = 100_000
_NOTHING = ("", "–")
_INDENT = "     "


class Rows(Table):
    """Put the columns that are long, and that can be missed at a glance, last."""

    def __init__(self, *headers: str, title: str | None = None) -> None:
        super().__init__(*headers, title=title, box=None)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        beside = self._fitting(console, options)
        if not console.is_terminal or not beside or beside == len(self.columns):
            yield from super().__rich_console__(console, options)
            return
        lines = console.render_lines(self._first(beside), options, pad=False)
        before = len(lines) - self.row_count  # the title and the names of the columns
        for number, line in enumerate(lines):
            yield from line
            yield Segment.line()
            if number >= before:
                yield from self._beneath(beside, number - before, options.max_width)

    def _fitting(self, console: Console, options: ConsoleOptions) -> int:
        """How many columns from the left stand on one line in full; 0 where a cell has lines of its own."""
        if any("\n" in str(cell) for column in self.columns for cell in column.cells):
            return 0
        unbound = options.update(max_width=_ANY_WIDTH)
        widths = (Measurement.get(console, unbound, self._first(count)).maximum for count in self._counts())
        return next(
            (count for count, width in zip(self._counts(), widths, strict=True) if width <= options.max_width), 0
        )

    def _counts(self) -> range:
        return range(len(self.columns), 0, -1)

    def _first(self, count: int) -> Table:
        table = Table(title=self.title, box=None)
        for column in self.columns[:count]:
            table.add_column(column.header, justify=column.justify)
        for cells in zip(*(column.cells for column in self.columns[:count]), strict=True):
            table.add_row(*cells)
        return table

    def _beneath(self, beside: int, row: int, width: int) -> Iterator[Text]:
        line = Text(_INDENT, overflow="fold")
        for column in self.columns[beside:]:
            cell = list(column.cells)[row]
            value = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
            if value.plain.strip() in _NOTHING:
                continue
            piece = Text.assemble((f"{column.header} ", "dim"), value)
            if line.plain != _INDENT and line.cell_len + 2 + piece.cell_len > width:
                yield line
                line = Text(_INDENT, overflow="fold")
            line.append("" if line.plain == _INDENT else "  ").append_text(piece)
        if line.plain != _INDENT:
            yield line
