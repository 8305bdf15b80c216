"""docs/operations.md says of every reason for which a job may be stalled what it means and what to do."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("consumer", "producer", "headrace")
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("\n## Stalls\n")[2].partition("\n## ")[0]
DEPENDENCIES = {"OpenAI", "local model", "Weaviate", "version", "disk", "offsets", "projection", "Kafka"}
"""As `stalls` of a status names them."""


def words(node: ast.expr) -> str:
    """A string as it stands in the code, `…` for what is put in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(words(part) for part in parts)
        case ast.BinOp(left=left, right=right):
            return words(left) + words(right)
    return "…"


def reasons() -> list[tuple[str, str]]:
    """Dependency and reason of each `DependencyUnwell(…)` that says either in words; without those that never leave a
    service, as when a job is not running any more."""
    found = []
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "DependencyUnwell":
                found.append((words(node.args[0]), words(node.args[1])))
    return [(whose, reason) for whose, reason in found if whose != "job" and reason.strip("…: ")]


def documented() -> dict[str, list[str]]:
    """By dependency, the reasons that the first column of the table has."""
    rows: dict[str, list[str]] = {}
    for row in re.findall(r"^\| (`.+?`) \| .+ \| .+ \|$", TABLE, re.MULTILINE):
        whose, _, first = row.split("`")[1].partition(": ")
        rows.setdefault(whose, []).extend([first, *row.split("`")[3::2]])
    return rows


def covers(shown: str, reason: str) -> bool:
    """`…` at either side is anything; a reason may go on behind what is shown."""
    pattern = ".*".join(map(re.escape, shown.replace("…", "\0").split("\0")))
    return re.match(pattern, reason) is not None


@pytest.mark.parametrize(("whose", "reason"), reasons())
def test_a_reason_stands_in_the_table(whose: str, reason: str) -> None:
    rows = documented()
    candidates = rows.get(whose, []) if whose != "…" else [each for shown in rows.values() for each in shown]
    assert any(covers(shown, reason) for shown in candidates), candidates


def test_every_dependency_has_rows_and_no_row_is_of_another() -> None:
    assert set(documented()) == DEPENDENCIES
    assert len(reasons()) > 15
