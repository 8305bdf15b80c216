"""What is no event of ours is refused with a reason, and nothing else ever leaves `decode`."""

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas import codec
from schemas.codec import EVENT_TYPES, Headers, UndecodableRecord, decode, headers_for
from schemas.commands import JobCommand
from schemas.parked import RequeuedThrough

EXAMPLES = Path(schemas.__file__).parent / "examples"
COMMAND = (EXAMPLES / "job_command.v1.json").read_bytes()
REQUEUED = (EXAMPLES / "requeued_through.v1.json").read_bytes()


def headers(ce_type: str) -> Headers:
    return [("ce_type", ce_type.encode())]


def with_fields(value: bytes, **changed: Any) -> bytes:
    return json.dumps(json.loads(value) | changed).encode()


REFUSED = {
    "a tombstone": ("parked", headers("headrace.requeued_through.v1"), None, "no value"),
    "no headers": ("parked", None, REQUEUED, "no ce_type header"),
    "an empty type": ("parked", [("ce_type", b"")], REQUEUED, "no ce_type header"),
    "a null type": ("parked", [("ce_type", None)], REQUEUED, "no ce_type header"),
    "a foreign type": ("parked", headers("com.example.order"), REQUEUED, "unknown event type com.example.order"),
    "a later version": ("parked", headers("headrace.requeued_through.v9"), REQUEUED, "unknown event type"),
    "a type in no encoding": ("parked", [("ce_type", b"\xff\xfe")], REQUEUED, "unknown event type"),
    "another topic's type": ("chunks", headers("headrace.requeued_through.v1"), REQUEUED, "does not belong on chunks"),
    "nothing": ("commands", None, b"", "not a headrace.job_command.v1"),
    "prose": ("commands", None, b"hello", "not a headrace.job_command.v1: JSON is malformed"),
    "cut off": ("commands", None, COMMAND[:-20], "truncated"),
    "two values": ("commands", None, COMMAND + COMMAND, "malformed"),
    "JSON null": ("commands", None, b"null", "Expected `object`, got `null`"),
    "a list": ("commands", None, b"[]", "Expected `object`, got `array`"),
    "UTF-16": ("commands", None, COMMAND.decode().encode("utf-16"), "malformed"),
    "Latin-1 in a field": ("commands", None, with_fields(COMMAND, reason="@").replace(b"@", b"\xe9"), "not UTF-8"),
    "half a surrogate pair": ("commands", None, with_fields(COMMAND, reason="\ud800"), "not a headrace.job_command.v1"),
    "a missing field": ("parked", headers("headrace.requeued_through.v1"), b"{}", "missing required field `job_id`"),
    "a wrong type": (
        "commands",
        None,
        with_fields(COMMAND, revision="2"),
        "Expected `int`, got `str` - at `$.revision`",
    ),
    "a wrong word": ("commands", None, with_fields(COMMAND, desired="asleep"), "Invalid enum value 'asleep'"),
    "a huge number": ("commands", None, with_fields(COMMAND, revision=10**400), "revision"),
    "deep nesting": (
        "commands",
        None,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "not a headrace.job_command.v1",
    ),
}


@pytest.mark.parametrize(
    ("topic", "record_headers", "value", "reason"),
    [pytest.param(*case, id=name) for name, case in REFUSED.items()],
)
def test_is_refused_with_a_reason(topic: str, record_headers: Headers | None, value: bytes | None, reason: str) -> None:
    with pytest.raises(UndecodableRecord) as caught:
        decode(topic, record_headers, value)
    assert reason in str(caught.value)


@given(
    topic=st.sampled_from(sorted({event.TOPIC for event in EVENT_TYPES})),
    ce_type=st.sampled_from([event.ce_type().encode() for event in EVENT_TYPES]) | st.binary(max_size=20) | st.none(),
    value=st.binary(max_size=200) | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    ).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip
def test_no_record_can_raise_anything_else(topic: str, ce_type: bytes | None, value: bytes) -> None:
    with pytest.raises(UndecodableRecord):
        decode(topic, [("ce_type", ce_type)], value)


@pytest.mark.parametrize(("topic", "name"), [("commands", "job_command"), ("pages", "page")])
def test_a_topic_of_one_type_needs_no_header(topic: str, name: str) -> None:
    """An operator's console producer sends none."""
    event = decode(topic, None, (EXAMPLES / f"{name}.v1.json").read_bytes())
    assert event.ce_type() == f"headrace.{name}.v1"


def test_the_first_ce_type_header_counts() -> None:
    """A dead letter's own headers stand before those that give its reason."""
    twice = [*headers("headrace.requeued_through.v1"), *headers("headrace.page.v1")]
    assert isinstance(decode("parked", twice, REQUEUED), RequeuedThrough)


class TestUpcasting:
    """v1 called the offset `through`; v2 called it `end`, one past it; v3 is today's."""

    @pytest.fixture(autouse=True)
    def three_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = "headrace.requeued_through"
        current = codec._DECODERS[f"{kind}.v1"]
        monkeypatch.setattr(RequeuedThrough, "VERSION", 3)
        monkeypatch.setattr(codec, "_DECODERS", {f"{kind}.v3": current})
        monkeypatch.setattr(codec, "_BY_TYPE", {f"{kind}.v3": RequeuedThrough})
        monkeypatch.setitem(codec.UPCASTERS, f"{kind}.v1", lambda old: old | {"end": old["through"] + 1})
        monkeypatch.setitem(codec.UPCASTERS, f"{kind}.v2", lambda old: old | {"offset": old["end"] - 1})

    @pytest.mark.parametrize(("version", "name", "offset"), [(1, "through", 41), (2, "end", 42), (3, "offset", 41)])
    def test_every_version_reads_as_todays(self, version: int, name: str, offset: int) -> None:
        value = json.dumps({"job_id": "j", "partition": 4, name: offset}).encode()
        event = decode("parked", headers(f"headrace.requeued_through.v{version}"), value)
        assert event == RequeuedThrough(job_id="j", partition=4, offset=41)

    @pytest.mark.parametrize("value", [b"nonsense", b"[]", b'{"through": 1}'])
    def test_garbage_of_an_old_version_is_refused_too(self, value: bytes) -> None:
        with pytest.raises(UndecodableRecord):
            decode("parked", headers("headrace.requeued_through.v1"), value)

    @pytest.mark.parametrize("value", [b'{"job_id": "j"}', b'{"through": "x"}'])
    def test_fields_that_an_upcaster_cannot_read_are_refused_too(self, value: bytes) -> None:
        with pytest.raises(UndecodableRecord):
            decode("parked", headers("headrace.requeued_through.v1"), value)


class TestHeaders:
    """CloudEvents 1.0.2, Kafka protocol binding, section 3.2: binary mode."""

    def test_are_complete(self) -> None:
        event = decode("commands", None, COMMAND)
        found = dict(headers_for(event, "control/host-1"))
        assert found["ce_specversion"] == b"1.0"
        assert found["ce_type"] == b"headrace.job_command.v1"
        assert found["ce_source"] == b"control/host-1"
        assert found["content-type"] == b"application/json"
        assert re.fullmatch(rb"[0-9a-f]{32}", found["ce_id"])
        assert found.keys() == {"ce_specversion", "ce_type", "ce_source", "ce_id", "ce_time", "content-type"}

    def test_the_time_is_rfc_3339_in_utc_and_now(self) -> None:
        before = datetime.datetime.now(datetime.UTC)
        text = dict(headers_for(decode("commands", None, COMMAND), "test"))["ce_time"].decode()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
        assert abs(datetime.datetime.fromisoformat(text) - before) < datetime.timedelta(seconds=30)

    def test_every_event_has_its_own_id(self) -> None:
        event = decode("commands", None, COMMAND)
        assert isinstance(event, JobCommand)
        assert len({dict(headers_for(event, "test"))["ce_id"] for _ in range(100)}) == 100
