"""Writes `schemas/json/<type>.v<n>.json` from the event types, and `schemas/asyncapi.json` of the topics:
`python -m schemas.generate [--check]`.

What joined is added to `schemas/released.json`; a type that takes back what stands there is refused.
"""

import json
import sys
from pathlib import Path

import msgspec

from schemas import asyncapi, shapes
from schemas.codec import EVENT_TYPES
from schemas.events import Event

FOLDER = Path(__file__).parent / "json"
ASYNCAPI = Path(__file__).parent / "asyncapi.json"


def json_schema(event: type[Event]) -> str:
    """JSON Schema 2020-12 of an event's value, as text."""
    schema = msgspec.json.schema(event, ref_template="#/$defs/{name}")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event.ce_type(),
        "description": f"On the topic {event.TOPIC}.",
    }
    return json.dumps({**head, **schema}, indent=2, sort_keys=False) + "\n"


def stale() -> list[Path]:
    """Schema files that differ from today's types."""
    wanted = {FOLDER / f"{event.TYPE}.v{event.VERSION}.json": json_schema(event) for event in EVENT_TYPES}
    wanted |= {shapes.RELEASED: _released(), ASYNCAPI: asyncapi.text()}
    return [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]


def taken_back() -> list[str]:
    """What today's types lack of what was released."""
    known = shapes.released()
    return [
        f"{event.ce_type()}: {what}; let it be, or raise the version"
        for event in EVENT_TYPES
        if _name(event) in known
        for what in shapes.broken(known[_name(event)], _shape(event))
    ]


def _released() -> str:
    every = shapes.released() | {_name(event): _shape(event) for event in EVENT_TYPES}
    return json.dumps(every, indent=1, sort_keys=True) + "\n"


def _shape(event: type[Event]) -> shapes.Shape:
    return shapes.shape(json.loads(json_schema(event)))


def _name(event: type[Event]) -> str:
    return f"{event.TYPE}.v{event.VERSION}"


def main() -> int:
    for broken in taken_back():
        print(broken)
    if taken_back():
        return 1
    changed = stale()
    if "--check" in sys.argv[1:]:
        for path in changed:
            print(f"{path.name} is not current: run `make schemas`")
        return 1 if changed else 0
    FOLDER.mkdir(exist_ok=True)
    for event in EVENT_TYPES:
        (FOLDER / f"{event.TYPE}.v{event.VERSION}.json").write_text(json_schema(event))
    shapes.RELEASED.write_text(_released())
    ASYNCAPI.write_text(asyncapi.text())
    print(f"{len(EVENT_TYPES)} schemas, {len(changed)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
