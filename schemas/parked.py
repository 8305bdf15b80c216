"""Offset spans set aside while their job was paused."""

from typing import ClassVar

from schemas.events import Event, Int64
from schemas.identity import requeued_key, span_key


class ParkedSpan(Event, frozen=True, kw_only=True):
    """The job's records from `first_offset` to `last_offset` (both included) of its partition of `chunks`.

    Written once, never rewritten; tombstoned after every requeued copy has its delivery report. Spans may overlap:
    what is parked is their union.
    """

    TYPE: ClassVar[str] = "parked_span"
    TOPIC: ClassVar[str] = "parked"

    job_id: str
    kb_id: str
    generation: Int64
    partition: Int64
    first_offset: Int64
    last_offset: Int64
    revision: Int64
    parked_at: str

    def key(self) -> str:
        return span_key(self.job_id, self.partition, self.first_offset, self.last_offset)


class RequeuedThrough(Event, frozen=True, kw_only=True):
    """Copies of parked records stand up to `offset` of the partition: a `crawl_end` before it moves behind it."""

    TYPE: ClassVar[str] = "requeued_through"
    TOPIC: ClassVar[str] = "parked"

    job_id: str
    partition: Int64
    offset: Int64

    def key(self) -> str:
        return requeued_key(self.job_id, self.partition)
