"""A record of `chunks` on its way through the consumer."""

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from headrace.embedding.base import Vectors
from headrace.kafka.records import RawRecord
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd, PageEnd, RepairEnd
from schemas.codec import NewerWriter, UndecodableRecord, decode
from schemas.commands import JobCommand
from schemas.events import Event, Int64, Place
from schemas.facts import Outcome, Result
from schemas.topics import MAX_RECORD_BYTES

MAX_REASON = 500
"""Characters: a reason quotes what the record says, and goes into headers, events and a status."""
MAX_NAME = 200
"""Characters of a job's, a knowledge base's or a chunk's id: more than any of ours has."""


class Newer(Event, frozen=True, kw_only=True):
    """A record in a version that this consumer is too old for: whose it is, which every version says alike."""

    TYPE: ClassVar[str] = "newer"
    TOPIC: ClassVar[str] = "chunks"

    written_as: str
    job_id: str
    kb_id: str
    generation: Int64
    origin: Place | None = None
    retry_of: Place | None = None

    def key(self) -> str:
        return self.job_id


JobRecord = CrawlBegin | Chunk | PageEnd | CrawlEnd | RepairEnd | Newer


@dataclass(slots=True)
class Item:
    """`result` is None while the record is still to be indexed (a chunk) or to take effect (another record).

    `waits`: it was read only to be set aside.
    """

    raw: RawRecord
    event: JobRecord | None
    refused: str | None = None
    command: JobCommand | None = None
    result: Result | None = None
    reason: str | None = None
    stage: str = "decode"
    vector: Vectors | None = None
    reused: bool = False
    waits: bool = False

    @property
    def place(self) -> Place:
        """Where the record was first written."""
        origin = self.event.origin if self.event else None
        return origin or Place(self.raw.partition, self.raw.offset)

    @property
    def job_id(self) -> str | None:
        return self.event.job_id if self.event else None

    @property
    def epoch(self) -> int:
        """The offset of the `crawl_begin` that this record belongs to; its own place for one that belongs to none."""
        if self.event is None or isinstance(self.event, CrawlBegin | RepairEnd | Newer):
            return self.place.offset
        return self.event.epoch

    def refuse(self, stage: str, reason: str) -> None:
        """The record fails by itself: it goes to the dead letters."""
        self.result, self.stage, self.reason = "dead_lettered", stage, reason[:MAX_REASON]

    def outcome(self) -> Outcome:
        assert self.event is not None and self.result is not None
        return Outcome(
            offset=self.raw.offset,
            type=self.event.written_as if isinstance(self.event, Newer) else self.event.TYPE,
            result=self.result,
            chunk_id=self.event.chunk_id if isinstance(self.event, Chunk) else None,
            origin=self.event.origin,
            reused=self.reused,
            reason=self.reason,
        )


@dataclass(slots=True)
class Batch:
    """Items that are embedded together and acked together, in offset order per partition.

    `events` are Faust's handles of the same records. `prepared_ns`: from when to when, where traces are on.
    """

    items: list[Item]
    events: list[Any]
    group_generation: int
    prepared_ns: tuple[int, int] | None = None

    def jobs(self) -> dict[str, list[Item]]:
        """Items by job, records that name none left out."""
        found: dict[str, list[Item]] = {}
        for item in self.items:
            if item.job_id is not None:
                found.setdefault(item.job_id, []).append(item)
        return found


def item_of(raw: RawRecord) -> Item:
    """Decodes once, here; a record that can't be decoded, or is too large to work with, is an item that is refused."""
    if raw.size > MAX_RECORD_BYTES:
        return _refused(raw, f"it has {raw.size} bytes: {MAX_RECORD_BYTES} at most can be worked with")
    try:
        event = decode("chunks", raw.headers, raw.value)
    except (UndecodableRecord, RecursionError) as exc:  # the latter: brackets nested without end
        newer = _newer(raw, exc.unknown) if isinstance(exc, NewerWriter) else None
        if newer is None:
            return _refused(raw, str(exc))
        event = newer
    assert isinstance(event, JobRecord)
    names = (event.job_id, event.kb_id, event.chunk_id if isinstance(event, Chunk) else "")
    if any(len(name) > MAX_NAME for name in names):
        return _refused(raw, f"an id in it has more than {MAX_NAME} characters")
    return Item(raw, event)


def _refused(raw: RawRecord, reason: str) -> Item:
    item = Item(raw, None)
    item.refuse("decode", reason)
    return item


def _newer(raw: RawRecord, written_as: str) -> Newer | None:
    try:
        fields = msgspec.json.decode(raw.value or b"", type=dict[str, Any])
        return msgspec.convert(fields | {"written_as": written_as}, Newer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
