"""Who may import whom. Services meet on topics, so what they agree on is in `schemas`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS: dict[str, frozenset[str]] = {
    "schemas": frozenset({"schemas"}),
    "headrace": frozenset({"schemas", "headrace"}),
    "producer": frozenset({"schemas", "headrace", "producer"}),
    "consumer": frozenset({"schemas", "headrace", "consumer"}),
    "control": frozenset({"schemas", "headrace", "control"}),
}
"""Each room, and the rooms of ours that it may import."""
OURS = frozenset(ROOMS) | {"tests", "bench"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported, inside functions and under `if` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            yield node.lineno, ".".join(part for part in (above, node.module) if part)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def trespasses(source: str, package: str) -> list[str]:
    """What a module of `package` imports beyond its room's bounds."""
    allowed = ROOMS[package.split(".", maxsplit=1)[0]]
    found = imports(ast.parse(source), package)
    return [f"line {line}: {name}" for line, name in found if name.split(".")[0] in OURS - allowed]


@pytest.mark.parametrize("room", ROOMS)
def test_keeps_to_its_bounds(room: str) -> None:
    found = {}
    for path in modules(room):
        package = ".".join(path.relative_to(ROOT).parent.parts)
        if wrong := trespasses(path.read_text(), package):
            found[str(path.relative_to(ROOT))] = wrong
    assert found == {}


def test_every_room_is_there() -> None:
    """A renamed folder would make the test above pass over nothing."""
    assert [room for room in ROOMS if not modules(room)] == []


@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("import consumer", "producer"),
        ("import consumer.app as app", "producer.content"),
        ("from control.http import routes", "headrace.cli"),
        ("def f():\n    from producer import urls", "consumer"),
        ("if True:\n    import headrace.settings", "schemas"),
        ("import importlib\nimportlib.import_module('consumer.app')", "headrace"),
        ("import tests.conftest", "producer"),
    ],
)
def test_a_trespass_is_seen(source: str, package: str) -> None:
    assert trespasses(source, package)


@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("import json, schemas.kb", "producer"),
        ("from headrace.settings import Settings", "control"),
        ("from . import urls", "producer"),
        ("from ..urls import canonical", "producer.content"),
        ("import consumerism", "producer"),
    ],
)
def test_what_is_allowed_is_no_trespass(source: str, package: str) -> None:
    assert trespasses(source, package) == []
