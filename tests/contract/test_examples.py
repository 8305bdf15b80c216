"""Every event type has a schema and an example, and today's code reads them all."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import schemas
from schemas import generate
from schemas.codec import EVENT_TYPES, decode, encode
from schemas.events import Event
from schemas.topics import TOPICS

EXAMPLES = Path(schemas.__file__).parent / "examples"
FILES = sorted(EXAMPLES.glob("*.json"))
BY_TYPE = {event.TYPE: event for event in EVENT_TYPES}


def ce_type_of(path: Path) -> str:
    """`chunk.v1.json` is an example of `headrace.chunk.v1`."""
    return f"headrace.{path.name.removesuffix('.json')}"


def read(path: Path) -> Event:
    topic = BY_TYPE[path.name.split(".")[0]].TOPIC
    return decode(topic, [("ce_type", ce_type_of(path).encode())], path.read_bytes())


def example(event: type[Event]) -> Path:
    return EXAMPLES / f"{event.TYPE}.v{event.VERSION}.json"


def schema_of(event: type[Event]) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(generate.json_schema(event))
    return schema


def test_schema_files_are_current() -> None:
    assert [path.name for path in generate.stale()] == [], "run `python -m schemas.generate`"


def test_every_schema_file_is_of_a_version_that_can_be_read() -> None:
    """A type's older schema may stay beside its examples; a file of no type is left over from a rename."""
    names = {path.name for path in generate.FOLDER.glob("*.json")}
    assert {name for name in names if name.split(".")[0] not in BY_TYPE} == set()
    assert {path.name for path in FILES} == names


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.TYPE)
class TestEachEventType:
    def test_has_an_example(self, event: type[Event]) -> None:
        assert example(event).exists(), f"write {example(event)}"

    def test_its_example_survives_a_round_trip(self, event: type[Event]) -> None:
        decoded = read(example(event))
        assert type(decoded) is event
        assert json.loads(encode(decoded)) == json.loads(example(event).read_bytes())

    def test_its_example_fits_its_schema(self, event: type[Event]) -> None:
        schema = schema_of(event)
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(json.loads(example(event).read_bytes()))

    def test_its_schema_refuses_what_the_decoder_refuses(self, event: type[Event]) -> None:
        """A schema that lets everything pass would make the test above worthless."""
        schema = schema_of(event)
        whole: dict[str, Any] = json.loads(example(event).read_bytes())
        for name in schema["$defs"][event.__name__]["required"]:
            without = {key: value for key, value in whole.items() if key != name}
            assert not Draft202012Validator(schema).is_valid(without), name

    def test_its_example_shows_every_field(self, event: type[Event]) -> None:
        assert json.loads(example(event).read_bytes()).keys() == set(event.__struct_fields__)

    def test_lives_on_a_topic_of_ours_and_has_a_key(self, event: type[Event]) -> None:
        assert event.TOPIC in TOPICS
        assert read(example(event)).key()

    def test_its_times_are_utc_in_rfc_3339(self, event: type[Event]) -> None:
        values: dict[str, Any] = json.loads(example(event).read_bytes())
        times = [value for name, value in values.items() if name.endswith("_at") or name == "since"]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)

    def test_fields_of_a_newer_writer_are_ignored(self, event: type[Event]) -> None:
        newer = json.loads(example(event).read_bytes()) | {"from_the_future": {"nested": [1, None]}}
        decoded = decode(event.TOPIC, [("ce_type", event.ce_type().encode())], json.dumps(newer).encode())
        assert decoded == read(example(event))
        assert Draft202012Validator(schema_of(event)).is_valid(newer)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_example_of_every_version_is_read_by_todays_code(path: Path) -> None:
    assert type(read(path)) is BY_TYPE[path.name.split(".")[0]]


def test_types_are_unique() -> None:
    assert len({event.ce_type() for event in EVENT_TYPES}) == len(EVENT_TYPES)


def test_every_topic_with_values_of_ours_has_an_event_type() -> None:
    """Dead letters hold other topics' records, untouched."""
    assert {event.TOPIC for event in EVENT_TYPES} == TOPICS.keys() - {"dead-letters"}
