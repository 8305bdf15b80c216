"""From records of `events` and `pages` to rows, and from rows to answers.

Tables only grow: one row per record, or per entry in it, with its place. Views fold them by place, so neither the
order between topics nor the cut into batches shows in an answer.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headrace.kafka.records import RawRecord
from schemas import facts
from schemas.codec import decode
from schemas.events import Event
from schemas.pages import PageRecord

SCHEMA_VERSION = 1
"""Raise it when a table or a view changes: an older file is set aside and the log read again."""

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]

_text, _int, _flag = pa.string(), pa.int64(), pa.bool_()


def _columns(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


_PLACE = {"partition": _int, "position": _int}

TABLES: dict[str, pa.Schema] = {
    # every event save Outcomes; rank is the epoch or the group generation; subject tells stalls apart
    "facts": _columns(
        **_PLACE, type=_text, subject=_text, job_id=_text, kb_id=_text, generation=_int, revision=_int, rank=_int,
        state=_text, told_at=_text, value=_text,
    ),
    "batches": _columns(
        **_PLACE, job_id=_text, worker=_text, entries=_int, texts_embedded=_int, tokens_embedded=_int, calls=_int,
        told_at=_text,
    ),
    # number counts the entries of one event; origin is the original place of a requeued copy, else its own
    "outcomes": _columns(
        **_PLACE, number=_int, job_id=_text, type=_text, chunk_id=_text, result=_text, reused=_flag, reason=_text,
        record_partition=_int, record_offset=_int, origin_partition=_int, origin_offset=_int,
    ),
    "pages": _columns(
        **_PLACE, job_id=_text, kb_id=_text, generation=_int, url=_text, state=_text, status=_int, reason=_text,
        title=_text, depth=_int, chunks=_int, bytes=_int, duration_ms=_int, told_at=_text,
    ),
    "page_chunks": _columns(**_PLACE, job_id=_text, url=_text, chunk_id=_text, born=_int),
}  # fmt: skip

VIEWS = {
    # A report for a newer command is newer whoever wrote it; then the newer owner's; then the later one.
    "newest_facts": """
        SELECT * FROM facts WHERE type NOT IN ('command_issued', 'command_refused', 'dead_lettered')
        QUALIFY row_number() OVER (
            PARTITION BY job_id, type, subject ORDER BY revision DESC, rank DESC, position DESC) = 1""",
    "newest_pages": """
        SELECT * FROM pages
        QUALIFY row_number() OVER (PARTITION BY job_id, url ORDER BY position DESC) = 1""",
}

FOLLOWED = ("events", "pages")


def rows_of(raw: RawRecord) -> Iterator[tuple[str, Row]]:
    """The rows of one record, each with its table. A tombstone has none.

    Raises UndecodableRecord.
    """
    if raw.value is None:
        return
    event = decode(raw.topic, raw.headers, raw.value)
    if isinstance(event, facts.Outcomes):
        yield from _outcome_rows(raw, event)
    elif isinstance(event, PageRecord):
        yield from _page_rows(raw, event)
    else:
        yield "facts", _fact_row(raw, event)


def _outcome_rows(raw: RawRecord, event: facts.Outcomes) -> Iterator[tuple[str, Row]]:
    yield "batches", (
        raw.partition, raw.offset, event.job_id, event.worker, len(event.entries), event.texts_embedded,
        event.tokens_embedded, event.calls, event.decided_at,
    )  # fmt: skip
    for number, entry in enumerate(event.entries):
        origin = entry.origin
        yield "outcomes", (
            raw.partition, raw.offset, number, event.job_id, entry.type, entry.chunk_id, entry.result, entry.reused,
            entry.reason, event.partition, entry.offset,
            origin.partition if origin else event.partition, origin.offset if origin else entry.offset,
        )  # fmt: skip


def _page_rows(raw: RawRecord, event: PageRecord) -> Iterator[tuple[str, Row]]:
    yield "pages", (
        raw.partition, raw.offset, event.job_id, event.kb_id, event.generation, event.url, event.state, event.status,
        event.reason, event.title, event.depth, len(event.chunks), event.bytes, event.duration_ms, event.fetched_at,
    )  # fmt: skip
    for chunk in event.chunks:
        yield "page_chunks", (raw.partition, raw.offset, event.job_id, event.url, chunk.id, chunk.born)


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
        case facts.JobFinished():
            return "", event.outcome, 0, event.finished_at
        case facts.CommandIssued():
            return "", event.action, 0, event.issued_at
        case facts.CommandRefused():
            return "", "refused", 0, event.refused_at
        case facts.DeadLettered():
            return "", event.stage, 0, event.dead_lettered_at
    return "", "", 0, ""
