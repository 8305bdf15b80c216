"""A table on a terminal that is too narrow for it."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from headrace.cli.rows import Rows

JOB = "01a21ac7-7ba1-73dc-af9b-1aeeb4f66e7a"


def shown(width: int, *, terminal: bool = True) -> list[str]:
    rows = Rows("KB", "status", "took", "job", "reason")
    rows.add_row("wiki", Text("needs_review", style="magenta"), "5 s", JOB, "[bold]much[/] would vanish")
    rows.add_row("docs", "done", "2 min", JOB, "")
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, color_system=None).print(rows)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_what_does_not_fit_stands_beneath_its_row_whole() -> None:
    assert shown(60) == [
        " KB    status        took",
        " wiki  needs_review  5 s",
        f"     job {JOB}",
        "     reason much would vanish",
        " docs  done          2 min",
        f"     job {JOB}",
    ]


def test_what_stands_beneath_shares_a_line_where_it_can() -> None:
    assert shown(46)[1:4] == [" wiki  needs_review  5 s", f"     job {JOB}", "     reason much would vanish"]
    rows = Rows("KB", "why", "try", "ms")
    rows.add_row("wiki", "w" * 20, "1", "7")
    out = io.StringIO()
    Console(file=out, width=30, force_terminal=True, color_system=None).print(rows)
    assert out.getvalue().splitlines()[-1].rstrip() == "     try 1  ms 7"


@pytest.mark.parametrize(("width", "terminal"), [(120, True), (160, False)])
def test_where_there_is_room_a_row_is_a_line(width: int, terminal: bool) -> None:
    assert len(shown(width, terminal=terminal)) == 3


def test_a_cell_of_several_lines_keeps_its_column() -> None:
    rows = Rows("plan", "more")
    rows.add_row("one\ntwo", "x" * 50)
    out = io.StringIO()
    Console(file=out, width=30, force_terminal=True, color_system=None).print(rows)
    assert "more" in out.getvalue().splitlines()[0]
