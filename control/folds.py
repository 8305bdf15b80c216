"""From records of `events` and `pages` to rows, and from rows to answers.

Tables only grow: one row per record, or per entry in it, with its place. Views fold them by place, so neither the
order between topics nor the cut into batches shows in an answer.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from control.metrics import APPLIED, PASSED_OVER
from headrace.kafka.records import RawRecord
from schemas import facts
from schemas.codec import UndecodableRecord, decode
from schemas.events import Event, Int64
from schemas.identity import PageKey, parse_page_key
from schemas.pages import ChunkRef, PageRecord, PageState

log = logging.getLogger(__name__)

SCHEMA_VERSION = 7
"""Raise it when a table or a view changes: an older file is set aside and the log read again."""

Row = tuple[Any, ...]
Partition = tuple[str, int]
"""Topic without prefix, and number."""

_text, _int, _flag, _real = pa.string(), pa.int64(), pa.bool_(), pa.float64()


def _columns(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


_PLACE = {"partition": _int, "position": _int}

TABLES: dict[str, pa.Schema] = {
    # every event save Outcomes and ledgers; rank is the epoch, the group generation, or the offset of a dead letter;
    # subject tells stalls apart, and dead letters by their records' original places
    "facts": _columns(
        **_PLACE, type=_text, subject=_text, job_id=_text, kb_id=_text, generation=_int, revision=_int, rank=_int,
        state=_text, told_at=_text, value=_text,
    ),
    "batches": _columns(
        **_PLACE, job_id=_text, kb_id=_text, worker=_text, texts_embedded=_int, tokens_embedded=_int, calls=_int,
        decided_at=_text,
    ),
    # the consumer's ledger: a call when it was reserved, at its upper bound, and again when it was settled; and, of no
    # job, what control told of the questions of searches, named by its place
    "calls": _columns(
        **_PLACE, call_id=_text, job_id=_text, kb_id=_text, settled=_flag, texts=_int, requests=_int, tokens=_int,
        pico_usd=_int, at=_text,
    ),
    "outcomes": _columns(
        **_PLACE, job_id=_text, type=_text, chunk_id=_text, result=_text, reused=_flag,
        record_offset=_int,
    ),
    "pages": _columns(
        **_PLACE, job_id=_text, kb_id=_text, generation=_int, epoch=_int, attempt=_int, url=_text, state=_text,
        status=_int, reason=_text, discovered_from=_text, title=_text, language=_text, canonical_url=_text,
        description=_text, published_on=_text,
        depth=_int, chunks=_int, bytes=_int, duration_ms=_int, fetched_at=_text,
    ),
    "page_chunks": _columns(**_PLACE, job_id=_text, chunk_id=_text, born=_int),
    # the producer's ledger; number counts the requests of a record
    "requests": _columns(
        **_PLACE, number=_int, job_id=_text, host=_text, at=_text, method=_text, url=_text, purpose=_text, status=_int,
        error=_text, bytes=_int, duration_ms=_int, waited_ms=_int, attempt=_int,
    ),
    "standings": _columns(
        **_PLACE, job_id=_text, host=_text, robots=_text, crawl_delay_s=_real, concurrency=_int, closed_until=_text,
    ),
    # tombstones on `pages`: what stands before one is no longer said
    "forgotten": _columns(**_PLACE, kb_id=_text, generation=_int, url=_text),
}  # fmt: skip

VIEWS = {
    # A report for a newer command is newer whoever wrote it; then the newer owner's; then the later one.
    "newest_facts": """
        SELECT * FROM facts WHERE type NOT IN ('command_issued', 'command_refused', 'dead_lettered')
        QUALIFY row_number() OVER (
            PARTITION BY job_id, type, subject ORDER BY revision DESC, rank DESC, position DESC) = 1""",
    # Each call once; and what batches told in sum, before each call was told, of which no price is known.
    "spent": """
        SELECT job_id, kb_id, "at"[1:10] AS day, settled, texts, requests, tokens, pico_usd FROM calls
        QUALIFY row_number() OVER (
            PARTITION BY kb_id, job_id, call_id ORDER BY settled DESC, "partition", position) = 1
        UNION ALL
        SELECT job_id, kb_id, decided_at[1:10], true, texts_embedded, calls, tokens_embedded, NULL FROM batches
        WHERE calls > 0""",
    # The record of the newest owner's crawl, of those the last; none where a tombstone stands behind it.
    "newest_pages": """
        SELECT p.* FROM pages p ANTI JOIN forgotten f
            ON f.kb_id = p.kb_id AND f.generation = p.generation AND f.url = p.url AND f.position > p.position
        QUALIFY row_number() OVER (PARTITION BY p.job_id, p.url ORDER BY p.epoch DESC, p.position DESC) = 1""",
}

FOLLOWED = ("events", "pages")


class _Page(Event, frozen=True, kw_only=True, gc=False):
    """The part of a PageRecord that rows are made of: skipping the rest takes a third of the time."""

    TYPE = PageRecord.TYPE
    TOPIC = PageRecord.TOPIC

    kb_id: str
    generation: Int64
    job_id: str
    epoch: Int64
    attempt: Int64
    url: str
    state: PageState
    status: Int64 | None = None
    reason: str | None = None
    depth: Int64 = 0
    discovered_from: str | None = None
    title: str = ""
    language: str | None = None
    canonical_url: str | None = None
    description: str | None = None
    published_on: str | None = None
    bytes: Int64 = 0
    duration_ms: Int64 = 0
    chunks: tuple[ChunkRef, ...] = ()
    fetched_at: str


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    offset: Int64
    type: str
    result: facts.Result
    chunk_id: str | None = None
    reused: bool = False


class _Outcomes(Event, frozen=True, kw_only=True, gc=False):
    """The part of an Outcomes that rows are made of."""

    TYPE = facts.Outcomes.TYPE
    TOPIC = facts.Outcomes.TOPIC

    job_id: str
    kb_id: str
    worker: str
    entries: tuple[_Outcome, ...]
    texts_embedded: Int64 = 0
    tokens_embedded: Int64 = 0
    calls: Int64 = 0
    decided_at: str


_PARTS = {part.ce_type(): msgspec.json.Decoder(part) for part in (_Page, _Outcomes)}


@dataclass(frozen=True)
class Batch:
    """Rows by table, none of them empty; and the offsets to read on from, of partitions that moved."""

    tables: Mapping[str, pa.Table]
    offsets: Mapping[Partition, int]
    records: int

    def with_next(self, other: "Batch") -> "Batch":
        """One batch of both; `other` was read later."""
        tables = dict(self.tables)
        for name, table in other.tables.items():
            tables[name] = pa.concat_tables([tables[name], table]) if name in tables else table
        return Batch(tables, {**self.offsets, **other.offsets}, self.records + other.records)


class Folder:
    """Makes batches of what was read, and passes over what it has had: nothing is ever applied twice."""

    def __init__(self, offsets: Mapping[Partition, int]) -> None:
        """`offsets`: where each partition's unread records begin."""
        self._next = dict(offsets)

    def fold(self, records: Iterable[RawRecord], ends: Mapping[Partition, int] | None = None) -> Batch:
        """`ends`: where partitions were seen to end, which passes compacted holes and control records too."""
        found, reached, counts = _Found(), dict[Partition, int](), Counter[str]()
        for raw in records:
            place = (raw.topic, raw.partition)
            if raw.offset < self._next.get(place, 0):
                continue
            self._next[place] = reached[place] = raw.offset + 1
            counts[raw.topic] += 1
            try:
                found.add(raw)
            except UndecodableRecord as exc:
                PASSED_OVER.labels(raw.topic).inc()
                log.warning("%s %d/%d is passed over: %s", raw.topic, raw.partition, raw.offset, exc)
        for place, end in (ends or {}).items():
            if end > self._next.get(place, 0):
                self._next[place] = reached[place] = end
        for topic, count in counts.items():
            APPLIED.labels(topic).inc(count)
        return Batch(found.tables(), reached, counts.total())


class _Call(NamedTuple):
    """A reserved call has no texts yet, and stands at its upper bound."""

    call_id: str
    job_id: str | None
    kb_id: str
    settled: bool
    texts: int
    requests: int
    tokens: int
    pico_usd: int | None
    at: str


_Ledger = facts.CallReserved | facts.CallSettled | facts.QuestionsEmbedded


def _call(raw: RawRecord, event: _Ledger) -> _Call:
    if isinstance(event, facts.QuestionsEmbedded):
        place, asked = f"{raw.partition}/{raw.offset}", event.requests
        return _Call(place, None, event.kb_id, True, asked, asked, event.tokens, event.pico_usd, event.told_at)
    ids = event.call_id, event.job_id, event.kb_id
    if isinstance(event, facts.CallReserved):
        return _Call(*ids, False, 0, 0, event.max_tokens, event.max_pico_usd, event.reserved_at)
    return _Call(*ids, True, event.texts, event.requests, event.tokens, event.pico_usd, event.settled_at)


class _Found:
    """What a batch holds, decoded, each list beside the records that its items came in."""

    def __init__(self) -> None:
        self._facts: list[Row] = []
        self._outcomes: tuple[list[RawRecord], list[Any]] = ([], [])
        self._pages: tuple[list[RawRecord], list[Any]] = ([], [])
        self._ledger: tuple[list[RawRecord], list[Any]] = ([], [])
        self._calls: tuple[list[RawRecord], list[_Call]] = ([], [])
        self._forgotten: tuple[list[RawRecord], list[PageKey]] = ([], [])

    def add(self, raw: RawRecord) -> None:
        """Raises UndecodableRecord."""
        if raw.value is None:
            if raw.topic == "pages":
                _append(self._forgotten, raw, _forgotten(raw))
            return
        event = decode(raw.topic, raw.headers, raw.value, parts=_PARTS)
        if event.TYPE == PageRecord.TYPE:
            _append(self._pages, raw, event)
        elif event.TYPE == facts.Outcomes.TYPE:
            _append(self._outcomes, raw, event)
        elif event.TYPE == facts.RequestsMade.TYPE:
            _append(self._ledger, raw, event)
        elif isinstance(event, _Ledger):
            _append(self._calls, raw, _call(raw, event))
        else:
            self._facts.append(_fact_row(raw, event))

    def tables(self) -> dict[str, pa.Table]:
        made = {
            "facts": _table("facts", dict(zip(TABLES["facts"].names, zip(*self._facts, strict=True), strict=False))),
            "forgotten": _of_records("forgotten", *self._forgotten),
            "calls": _of_records("calls", *self._calls),
        }
        raws, events = self._outcomes
        made["batches"] = _of_records("batches", raws, events)
        lists = [event.entries for event in events]
        made["outcomes"] = _of_entries("outcomes", made["batches"], lists, record_offset="offset")
        raws, events = self._pages
        lists = [event.chunks for event in events]
        made["pages"] = _of_records("pages", raws, events, chunks=list(map(len, lists)))
        made["page_chunks"] = _of_entries("page_chunks", made["pages"], lists, chunk_id="id")
        made |= _ledger_tables(*self._ledger)
        return {name: table for name, table in made.items() if len(table)}


def _append(lists: tuple[list[RawRecord], list[Any]], raw: RawRecord, item: Any) -> None:
    lists[0].append(raw)
    lists[1].append(item)


def _table(name: str, columns: Mapping[str, Any]) -> pa.Table:
    schema = TABLES[name]
    arrays = [
        column if isinstance(column, pa.ChunkedArray) else pa.array(column, type=field.type)
        for field in schema
        for column in [columns.get(field.name, ())]
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _of_records(name: str, raws: Sequence[RawRecord], events: Sequence[Any], **given: Sequence[Any]) -> pa.Table:
    """One row per record: each column is an attribute of the event, or given."""
    columns = {"partition": _each("partition", raws), "position": _each("offset", raws)} | given
    for column in TABLES[name].names:
        if column not in columns:
            columns[column] = _each(column, events)
    return _table(name, columns)


def _ledger_tables(raws: Sequence[RawRecord], events: Sequence[facts.RequestsMade]) -> dict[str, pa.Table]:
    places = pa.table(
        {
            "partition": pa.array(_each("partition", raws), type=_int),
            "position": pa.array(_each("offset", raws), type=_int),
            "job_id": pa.array(_each("job_id", events), type=_text),
        }
    )
    hosts = [event.hosts for event in events]
    standings = _of_entries("standings", places, hosts)
    lists = [host.requests for host in chain.from_iterable(hosts)]
    numbers = [range(sum(len(host.requests) for host in each)) for each in hosts]
    given = {"number": list(chain.from_iterable(numbers)), "host": _parents(standings["host"], lists)}
    return {"standings": standings, "requests": _of_entries("requests", standings, lists, given)}


def _parents(column: pa.ChunkedArray, lists: Sequence[Sequence[Any]]) -> pa.ChunkedArray:
    """The parent's value for each entry of its list."""
    return column.take(pa.array([n for n, each in enumerate(lists) for _ in each], type=_int))


def _of_entries(
    name: str,
    parent: pa.Table,
    lists: Sequence[Sequence[Any]],
    given: Mapping[str, Any] | None = None,
    **attributes: str,
) -> pa.Table:
    """One row per entry: place and job are its parent's, the rest given, or attributes, perhaps of another name."""
    entries = list(chain.from_iterable(lists))
    columns = {column: _parents(parent[column], lists) for column in ("partition", "position", "job_id")}
    columns |= given or {}
    for column in TABLES[name].names:
        if column not in columns:
            columns[column] = _each(attributes.get(column, column), entries)
    return _table(name, columns)


def _each(attribute: str, items: Sequence[Any]) -> list[Any]:
    return list(map(attrgetter(attribute), items))


def _forgotten(raw: RawRecord) -> PageKey:
    try:
        key = parse_page_key((raw.key or b"").decode())
        return PageKey(key.kb_id, msgspec.convert(key.generation, Int64), key.url)
    except ValueError as exc:
        raise UndecodableRecord(f"a tombstone whose key names no page: {exc}") from exc


def _fact_row(raw: RawRecord, event: Event) -> Row:
    subject, state, rank, at = _told(event)
    return (
        raw.partition, raw.offset, event.TYPE, subject, getattr(event, "job_id", None), getattr(event, "kb_id", None),
        getattr(event, "generation", None), getattr(event, "revision", 0), rank, state, at,
        (raw.value or b"").decode(),
    )  # fmt: skip


def _told(event: Event) -> tuple[str, str, int, str]:
    """Subject, state, rank and time of a fact."""
    match event:
        case facts.CrawlReport():
            over = "over" if event.state in ("finished", "failed") else "going"
            return over, event.state, event.epoch, event.reported_at
        case facts.IndexReport():
            return "", event.state, event.group_generation, event.reported_at
        case facts.Stall():
            state = "ended" if event.ended else "open"
            return f"{event.service} {event.dependency}", state, 0, event.since
        case facts.ReviewNeeded() | facts.BudgetReached():
            return "", "needed", 0, event.reported_at
        case facts.RecordsLost() | facts.ChunksMissing():
            return _lost(event)
        case facts.DeadLetterRetried():
            return (
                f"{event.place.partition} {event.place.offset}",
                "retried",
                event.dead_letter.offset,
                event.retried_at,
            )
        case facts.Vacuumed():
            return event.kb_id, "vacuumed", event.below, event.vacuumed_at
        case facts.KbChanged() | facts.TokenChanged():
            return "", event.action, 0, event.changed_at
        case facts.JobFinished():
            return "", event.outcome, 0, event.finished_at
        case facts.CommandIssued():
            return "", event.action, 0, event.issued_at
        case facts.CommandRefused():
            return "", "refused", 0, event.refused_at
        case facts.DeadLettered():
            place = f"{event.place.partition} {event.place.offset}"
            return place, event.stage, event.dead_letter.offset, event.dead_lettered_at
    return "", "", 0, ""


def _lost(event: facts.RecordsLost | facts.ChunksMissing) -> tuple[str, str, int, str]:
    """What is told again, by an owner that fell over meanwhile, counts once."""
    if isinstance(event, facts.RecordsLost):
        return f"{event.partition} {event.first}", event.needed, 0, event.reported_at
    return f"{event.epoch}", "missing", 0, event.reported_at
