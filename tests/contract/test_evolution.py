"""Events change while records of every age stay on the log, and services of two versions run side by side.

`examples/older/<type>.v<version>.<n>.json` is an example as it was written before fields joined that version, and
`json/older/` the schema that readers of then went by.
"""

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import schemas
from schemas import codec, generate, shapes
from schemas.codec import EVENT_TYPES, NewerWriter, UndecodableRecord, decode, encode
from schemas.events import Event, Place
from schemas.parked import RequeuedThrough

ROOT = Path(schemas.__file__).parent
OLDER = sorted((ROOT / "examples" / "older").glob("*.json"))
CURRENT = {event.ce_type(): event for event in EVENT_TYPES}

Json = dict[str, Any]


def ce_type(path: Path) -> str:
    """`chunk.v1.1.json` is the first shape of `headrace.chunk.v1`."""
    name, version, _, _ = path.name.split(".")
    return f"headrace.{name}.{version}"


def example(event: type[Event]) -> Json:
    value: Json = json.loads((ROOT / "examples" / f"{event.TYPE}.v{event.VERSION}.json").read_bytes())
    return value


def read(event: type[Event], value: Any) -> Event:
    return decode(event.TOPIC, [("ce_type", event.ce_type().encode())], json.dumps(value).encode())


class TestOlderShapes:
    """A new consumer reads what was written before, and an old one what is written now."""

    def test_each_has_its_schema(self) -> None:
        assert OLDER
        assert [path.name for path in OLDER] == sorted(path.name for path in (ROOT / "json" / "older").glob("*.json"))

    @pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
    def test_todays_code_reads_it_and_loses_nothing(self, path: Path) -> None:
        topic = next(event.TOPIC for event in EVENT_TYPES if ce_type(path).startswith(f"headrace.{event.TYPE}.v"))
        event = decode(topic, [("ce_type", ce_type(path).encode())], path.read_bytes())
        if event.ce_type() == ce_type(path):
            assert holds(json.loads(encode(event)), json.loads(path.read_bytes()))

    @pytest.mark.parametrize("path", [path for path in OLDER if ce_type(path) in CURRENT], ids=lambda path: path.name)
    def test_todays_schema_accepts_it(self, path: Path) -> None:
        schema = json.loads(generate.json_schema(CURRENT[ce_type(path)]))
        Draft202012Validator(schema).validate(json.loads(path.read_bytes()))

    @pytest.mark.parametrize("path", [path for path in OLDER if ce_type(path) in CURRENT], ids=lambda path: path.name)
    def test_the_readers_of_then_accept_what_is_written_today(self, path: Path) -> None:
        schema = json.loads((ROOT / "json" / "older" / path.name).read_bytes())
        Draft202012Validator(schema).validate(example(CURRENT[ce_type(path)]))

    @pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
    def test_it_differs_from_todays(self, path: Path) -> None:
        """Else it shows nothing, and is to be deleted."""
        older = (ROOT / "json" / "older" / path.name).read_text()
        assert older != generate.json_schema(CURRENT[ce_type(path)]) if ce_type(path) in CURRENT else True


def holds(value: Any, older: Any) -> bool:
    """Whether all that stands in `older` stands in `value`, to which fields may have joined anywhere."""
    if isinstance(older, dict):
        return isinstance(value, dict) and all(name in value and holds(value[name], older[name]) for name in older)
    if isinstance(older, list):
        return isinstance(value, list) and len(value) == len(older) and all(map(holds, value, older))
    return bool(value == older)


class TestReleased:
    """Whoever changes a type and forgets its older shape is told all the same."""

    def test_no_type_takes_back_what_was_released(self) -> None:
        assert generate.taken_back() == []
        assert {f"{event.TYPE}.v{event.VERSION}" for event in EVENT_TYPES} <= shapes.released().keys()

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"x": "integer"}, []),
            ({"x": "object", "x.y": "required string", "x.z[]": "string"}, []),
            ({"state=paused": "word"}, []),
            ({"x": "required integer"}, ["x joined without a default"]),
            ({"source.x": "required string"}, ["source.x joined without a default"]),
            ({"name": None}, ["name was required string, is gone"]),
            ({"name": None, "title": "required string"}, ["name was", "title joined"]),
            ({"name": "string"}, ["name was required string, is string"]),
            ({"size": "integer|null"}, ["size was integer, is integer|null"]),
            ({"size": "required integer"}, ["size was integer, is required integer"]),
            ({"state=running": None}, ["state=running was word, is gone"]),
        ],
    )
    def test_what_is_taken_back(self, change: dict[str, str | None], told: list[str]) -> None:
        released = {
            "name": "required string", "size": "integer", "state": "string", "state=running": "word",
            "source": "required object", "source.urls": "required array", "source.urls[]": "string",
        }  # fmt: skip
        today = {path: what for path, what in (released | change).items() if what is not None}
        found = shapes.broken(released, today)
        assert [each.startswith(start) for each, start in zip(found, told, strict=True)] == [True] * len(told)

    def test_a_shape_holds_every_field_and_word(self) -> None:
        schema = json.loads(generate.json_schema(CURRENT["headrace.job_command.v1"]))
        found = shapes.shape(schema)
        assert found["job_id"] == "required string" and found["base"] == "integer|null"
        assert found["desired=paused"] == "word" and found["definition"] == "required object"
        assert found["definition.source.urls[]"] == "string"
        assert found["definition.embedding.provider"] == "null|string"
        assert found["definition.embedding.provider=local"] == "word"


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=9)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)


def objects(value: Any) -> Iterator[Json]:
    """Every JSON object in the value, itself among them."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(each)


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.TYPE)
class TestANewerWriter:
    @settings(max_examples=25)
    @given(data=st.data())
    def test_fields_that_joined_anywhere_are_ignored(self, event: type[Event], data: st.DataObject) -> None:
        newer = copy.deepcopy(example(event))
        for each in data.draw(st.lists(st.sampled_from(list(objects(newer))), max_size=3)):
            each.update(data.draw(st.dictionaries(st.text(max_size=9).map("x_".__add__), VALUES, max_size=2)))
        assert read(event, newer) == read(event, example(event))

    @settings(max_examples=25)
    @given(data=st.data())
    def test_a_copy_keeps_fields_that_joined_anywhere(self, event: type[Event], data: st.DataObject) -> None:
        """Of a record that a service of this version writes again: parked, missing, retried."""
        newer = copy.deepcopy(example(event))
        for each in data.draw(st.lists(st.sampled_from(list(objects(newer))), max_size=3)):
            each.update(data.draw(st.dictionaries(st.text(max_size=9).map("x_".__add__), VALUES, max_size=2)))
        copied = codec.with_fields(json.dumps(newer).encode(), origin=Place(2, 7))
        assert json.loads(copied) == newer | {"origin": {"partition": 2, "offset": 7}}

    def test_a_word_that_joined_an_enumeration_is_undecodable(self, event: type[Event]) -> None:
        schema = json.loads(generate.json_schema(event))
        for path in words(schema, schema, example(event)):
            newer = copy.deepcopy(example(event))
            inner = newer
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = "a-word-of-the-future"
            with pytest.raises(NewerWriter, match="a-word-of-the-future"):
                read(event, newer)

    @pytest.mark.parametrize("name", ["headrace.{}.v{}", "headrace.new_{}.v{}"])
    def test_a_newer_version_and_a_new_type_are_undecodable(self, event: type[Event], name: str) -> None:
        newer = name.format(event.TYPE, event.VERSION + 1).encode()
        with pytest.raises(UndecodableRecord, match="unknown event type"):
            decode(event.TOPIC, [("ce_type", newer)], json.dumps(example(event)).encode())

    def test_a_newer_version_is_told_from_what_is_no_event(self, event: type[Event]) -> None:
        """Readers wait for a newer reader where they meet the former."""
        kinds = {"2": NewerWriter, "x": UndecodableRecord, "0": UndecodableRecord, "9" * 5000: UndecodableRecord}
        for version, kind in kinds.items():
            with pytest.raises(kind) as told:
                decode(event.TOPIC, [("ce_type", f"headrace.{event.TYPE}.v{version}".encode())], b"{}")
            assert type(told.value) is kind


def words(root: Json, schema: Json, value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in an example an enumerated word stands."""
    schema = resolved(root, schema)
    if "enum" in schema:
        yield path
    for choice in schema.get("anyOf", ()):
        if Draft202012Validator({**choice, "$defs": root["$defs"]}).is_valid(value):
            yield from words(root, choice, value, path)
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from words(root, inner, value[name], (*path, name))
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, each in enumerate(value):
            yield from words(root, schema["items"], each, (*path, index))


def resolved(root: Json, schema: Json) -> Json:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def test_enumerated_words_are_found_where_they_stand() -> None:
    """Else the test above would pass without having looked."""
    found = {
        event.TYPE: set(words(s := json.loads(generate.json_schema(event)), s, example(event))) for event in EVENT_TYPES
    }
    assert ("desired",) in found["job_command"]
    assert ("definition", "embedding", "provider") in found["job_command"]
    assert ("state",) in found["page"] and ("state",) in found["generation_state"]
    assert ("entries", 0, "result") in found["outcomes"]


class TestANewVersion:
    """v1 called the offset `through`, v2 `end`, one past it; v3 is today's: its records, and a link that is missing."""

    KIND = "headrace.requeued_through"

    @pytest.fixture(autouse=True)
    def three_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(codec, "_DECODERS", {f"{self.KIND}.v3": codec._DECODERS[f"{self.KIND}.v1"]})
        monkeypatch.setattr(codec, "_BY_TYPE", {f"{self.KIND}.v3": RequeuedThrough})
        monkeypatch.setitem(codec.UPCASTERS, f"{self.KIND}.v1", lambda old: old | {"end": old["through"] + 1})
        monkeypatch.setitem(codec.UPCASTERS, f"{self.KIND}.v2", lambda old: old | {"offset": old["end"] - 1})

    def read(self, version: int, fields: Json) -> Event:
        headers = [("ce_type", f"{self.KIND}.v{version}".encode())]
        return decode("parked", headers, json.dumps({"job_id": "j", "partition": 4} | fields).encode())

    @given(offset=st.integers(-(2**63) + 1, 2**63 - 2))
    def test_every_version_reads_as_todays(self, offset: int) -> None:
        today = RequeuedThrough(job_id="j", partition=4, offset=offset)
        assert self.read(1, {"through": offset}) == self.read(2, {"end": offset + 1}) == today
        assert self.read(3, {"offset": offset}) == today

    def test_fields_that_joined_an_old_version_are_ignored_too(self) -> None:
        assert self.read(1, {"through": 7, "x": [1]}) == RequeuedThrough(job_id="j", partition=4, offset=7)

    @pytest.mark.parametrize("missing", [1, 2])
    def test_a_missing_link_makes_the_record_undecodable(self, monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
        monkeypatch.delitem(codec.UPCASTERS, f"{self.KIND}.v{missing}")
        with pytest.raises(UndecodableRecord, match=rf"unknown event type {self.KIND}.v{missing}"):
            self.read(1, {"through": 7})

    @given(st.dictionaries(st.sampled_from(["through", "end", "offset", "job_id"]), VALUES, max_size=4))
    def test_no_fields_of_an_old_version_can_raise_anything_else(self, fields: Json) -> None:
        for version in (1, 2, 3):
            with contextlib.suppress(UndecodableRecord):
                self.read(version, fields)
