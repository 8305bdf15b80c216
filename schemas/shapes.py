"""The shape of every event type as it was ever written, in `released.json`: what no later schema may take back.

A shape is flat: the path of each field (`definition.source.urls[]`) with its JSON types and whether it is required,
and each word of an enumeration (`state=failed`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Shape = dict[str, str]

RELEASED = Path(__file__).parent / "released.json"
REQUIRED = "required "


def shape(schema: Json) -> Shape:
    """Of an event's JSON Schema."""
    return dict(_fields(schema, schema, ""))


def broken(released: Shape, today: Shape) -> list[str]:
    """What today's shape takes back: only fields with a default, and words, may join."""
    changed = [
        f"{path} was {what}, is {today.get(path, 'gone')}" for path, what in released.items() if today.get(path) != what
    ]
    joined = [path for path, what in today.items() if path not in released and what.startswith(REQUIRED)]
    return changed + [f"{path} joined without a default" for path in joined if _parent(path) in ("", *released)]


def released() -> dict[str, Shape]:
    """By type and version, such as `chunk.v1`."""
    found: dict[str, Shape] = json.loads(RELEASED.read_bytes()) if RELEASED.exists() else {}
    return found


def _parent(path: str) -> str:
    return path.rpartition(".")[0].removesuffix("[]")


def _fields(root: Json, schema: Json, path: str) -> Iterator[tuple[str, str]]:
    """What lies below `path`."""
    for choice in _choices(root, schema):
        for word in choice.get("enum", ()):
            yield f"{path}={word}", "word"
        for name, inner in choice.get("properties", {}).items():
            below = f"{path}.{name}" if path else name
            yield below, (REQUIRED if name in choice.get("required", ()) else "") + _types(root, inner)
            yield from _fields(root, inner, below)
        if isinstance(items := choice.get("items"), dict):
            yield f"{path}[]", _types(root, items)
            yield from _fields(root, items, f"{path}[]")


def _types(root: Json, schema: Json) -> str:
    return "|".join(sorted({str(choice.get("type", "string")) for choice in _choices(root, schema)}))


def _choices(root: Json, schema: Json) -> list[Json]:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return [found for choice in schema.get("anyOf", [schema]) for found in _resolved(root, choice)]


def _resolved(root: Json, schema: Json) -> list[Json]:
    return _choices(root, schema) if "$ref" in schema or "anyOf" in schema else [schema]
