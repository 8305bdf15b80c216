"""Between events and Kafka records: JSON values, CloudEvents 1.0 binary-mode headers.

Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2.
"""

import datetime
import functools
import itertools
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from schemas import chunks, commands, facts, kb, pages, parked
from schemas.events import Event

EVENT_TYPES: tuple[type[Event], ...] = (
    commands.JobCommand,
    chunks.CrawlBegin, chunks.Chunk, chunks.PageEnd, chunks.CrawlEnd, chunks.RepairEnd,
    pages.PageRecord,
    parked.ParkedSpan, parked.RequeuedThrough,
    kb.KbDefined, kb.GenerationState,
    facts.CommandIssued, facts.CommandRefused, facts.CrawlReport, facts.Outcomes, facts.IndexReport, facts.Stall,
    facts.DeadLettered, facts.DeadLetterRetried, facts.JobFinished, facts.ReviewNeeded, facts.RecordsLost,
    facts.ChunksMissing, facts.Vacuumed, facts.RequestsMade, facts.KbChanged, facts.CallReserved, facts.CallSettled,
    facts.BudgetReached, facts.QuestionsEmbedded, facts.TokenChanged,
)  # fmt: skip

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTERS: dict[str, Upcaster] = {}
"""From an old `ce_type` to the next version's fields; chained until the current version is reached."""

Headers = list[tuple[str, bytes]]

_ENCODER = msgspec.json.Encoder()
# Counted from a random start: drawing each id anew costs a tenth of a core at 5,000 records a second.
_IDS = itertools.count(uuid.uuid4().int >> 1)
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    event.ce_type(): msgspec.json.Decoder(event) for event in EVENT_TYPES
}
_BY_TYPE = {event.ce_type(): event for event in EVENT_TYPES}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# An operator at a console sends no headers; a topic with one type needs none.
_SOLE_TYPE = {"commands": commands.JobCommand.ce_type(), "pages": pages.PageRecord.ce_type()}


class UndecodableRecord(ValueError):
    """The record is no event of ours: no or foreign type, no JSON, or not of its schema."""


class NewerWriter(UndecodableRecord):
    """The record is of a known type, in a version or with a word of an enumeration that joined after this code was
    written. `unknown` says what is."""

    def __init__(self, reason: str, unknown: str) -> None:
        super().__init__(reason)
        self.unknown = unknown


def now() -> str:
    """UTC, RFC 3339 with milliseconds."""
    return _instant_at(time.time_ns() // 1_000_000)


@functools.lru_cache(maxsize=1)
def _instant_at(epoch_ms: int) -> str:
    """Records are made in bursts: many have the same time."""
    return instant(_EPOCH + datetime.timedelta(milliseconds=epoch_ms))


def instant(when: datetime.datetime) -> str:
    """A time in UTC as events carry it: such strings sort by time."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(event: Event) -> bytes:
    return _ENCODER.encode(event)


def headers_for(event: Event, source: str) -> Headers:
    """`source` names the writer, such as `producer/host-123`."""
    return _headers(event.ce_type().encode(), source)


def copied_headers(headers: Iterable[tuple[str, bytes | None]], source: str) -> Headers:
    """Of a copy of a record: its type and version stay, as do headers that are none of ours."""
    kept = list(headers)
    ours = _headers(next((value for name, value in kept if name == "ce_type" and value), b""), source)
    names = {name for name, _ in ours}
    return ours + [(name, value or b"") for name, value in kept if name not in names]


def with_fields(value: bytes, **fields: Any) -> bytes:
    """A record's value with these fields set. All others stay as they were, those that are unknown here too."""
    known = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    return _ENCODER.encode(known | fields)


def _headers(ce_type: bytes, source: str) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", ce_type),
        ("ce_source", source.encode()),
        ("ce_id", f"{next(_IDS):032x}".encode()),
        ("ce_time", now().encode()),
        ("content-type", b"application/json"),
    ]


def decode(
    topic: str,
    headers: Iterable[tuple[str, bytes | None]] | None,
    value: bytes | None,
    *,
    parts: Mapping[str, msgspec.json.Decoder[Any]] | None = None,
) -> Event:
    """The event in a record of `topic` (name without prefix).

    parts: by `ce_type`, decoders of types with fewer fields, for a reader that has no use for the others.

    Raises:
        UndecodableRecord: with a reason fit for a dead letter.
    """
    if value is None:
        raise UndecodableRecord("the record has no value")
    ce_type = _named_type(headers) if headers else None
    ce_type = ce_type or _SOLE_TYPE.get(topic)
    if ce_type is None:
        raise UndecodableRecord("the record has no ce_type header")
    decoder = (parts or _DECODERS).get(ce_type) or _DECODERS.get(ce_type)
    try:
        event = decoder.decode(value) if decoder else _upcast(ce_type, value)
    except (msgspec.MsgspecError, RecursionError) as exc:  # the latter: brackets nested without end
        raise _misread(ce_type, str(exc)) from exc
    except UnicodeDecodeError as exc:
        raise UndecodableRecord(f"not a {ce_type}: not UTF-8") from exc
    if event.TOPIC != topic:
        raise UndecodableRecord(f"a {ce_type} does not belong on {topic}")
    return event


def _named_type(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    return next((v.decode(errors="replace") for k, v in headers if k == "ce_type" and v), None)


def _unknown(ce_type: str) -> UndecodableRecord:
    name, _, version = ce_type.rpartition(".v")
    ours = [int(number) for kind, _, number in (known.rpartition(".v") for known in _BY_TYPE) if kind == name]
    if ours and re.fullmatch("[0-9]{1,9}", version) and int(version) > max(ours):
        reason = f"unknown event type {ce_type}: only versions up to {max(ours)} are known here"
        return NewerWriter(reason, ce_type)
    return UndecodableRecord(f"unknown event type {ce_type}")


def _misread(ce_type: str, why: str) -> UndecodableRecord:
    reason = f"not a {ce_type}: {why}"
    if why.startswith("Invalid enum value"):
        return NewerWriter(reason, f"{ce_type} ({why[:100]})")
    return UndecodableRecord(reason)


def _upcast(ce_type: str, value: bytes) -> Event:
    """Reads an old version through the chain of upcasters up to today's."""
    if ce_type not in UPCASTERS:
        raise _unknown(ce_type)
    fields = msgspec.json.decode(value, type=dict[str, Any])
    name, _, version = ce_type.rpartition(".v")
    number = int(version)
    try:
        while (step := UPCASTERS.get(f"{name}.v{number}")) is not None:
            fields, number = step(fields), number + 1
        if f"{name}.v{number}" not in _BY_TYPE:
            raise UndecodableRecord(f"unknown event type {name}.v{number}, which {ce_type} leads to")
        return msgspec.convert(fields, _BY_TYPE[f"{name}.v{number}"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
        if isinstance(exc, UndecodableRecord):
            raise
        # The record is bad: an upcaster met fields that its version never had.
        raise UndecodableRecord(f"not a {ce_type}: {exc!r}") from exc
