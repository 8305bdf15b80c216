"""Every protocol that is written down stands in docs/design.md beside tests that cut it off, and those are there."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("producer", "consumer", "control", "headrace")
NUMBERED = re.compile(r"^\s*1\. .*^\s*2\. ", re.MULTILINE | re.DOTALL)


class Row(NamedTuple):
    protocol: str
    kept_in: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    section = (ROOT / "docs" / "design.md").read_text().partition("\n## Protocols\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "`" in line]
    named = [row for row in cells if len(row) == 3]
    return [Row(row[0], row[1].strip("`"), tuple(re.findall(r"`([^`]+)`", row[2]))) for row in named]


def protocols(path: Path) -> list[str]:
    """Docstrings that number their steps and say what a crash leaves."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return [text for text in texts if NUMBERED.search(text) and "crash" in text.lower()]


@cache
def names(path: Path) -> set[str]:
    """What a test module defines: `test_one`, `TestMany`, `TestMany::test_one`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = node.body if isinstance(node, ast.ClassDef) else []
            methods = [each for each in inner if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {node.name, *(f"{node.name}::{each.name}" for each in methods)}
    return found


def test_every_protocol_stands_in_the_table_and_the_table_in_the_code() -> None:
    written = {
        path.relative_to(ROOT).as_posix()
        for service in SERVICES
        for path in (ROOT / service).rglob("*.py")
        if protocols(path)
    }
    assert written == {row.kept_in for row in rows()}
    assert len(written) > 10


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.kept_in)
def test_the_tests_that_cut_it_off_are_there(row: Row) -> None:
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name.rpartition("::")[2].lower().startswith("test"), f"{test} names no test"
        assert name in names(ROOT / "tests" / file), f"there is no {test}"
