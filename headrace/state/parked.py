"""What is parked: spans of offsets, and how far their copies have been requeued."""

import logging

from headrace.kafka.records import RawRecord
from schemas.codec import UndecodableRecord, decode
from schemas.parked import ParkedSpan, RequeuedThrough

log = logging.getLogger(__name__)


class Parked:
    """Folds `parked`; `apply` goes to a Follower. A span stands until its tombstone is read."""

    def __init__(self) -> None:
        self._spans: dict[str, dict[bytes, ParkedSpan]] = {}
        self._jobs: dict[bytes, str] = {}
        self._through: dict[str, int] = {}

    def of(self, job_id: str) -> list[ParkedSpan]:
        """The job's spans, by first offset."""
        return sorted(self._spans.get(job_id, {}).values(), key=lambda span: (span.first_offset, span.last_offset))

    def requeued_through(self, job_id: str) -> int:
        """The offset of the last requeued copy; -1 where there never was one."""
        return self._through.get(job_id, -1)

    def apply(self, raw: RawRecord) -> None:
        key = raw.key or b""
        if raw.value is None:
            job_id = self._jobs.pop(key, None)
            if job_id is not None:
                self._spans[job_id].pop(key, None)
            return
        try:
            event = decode("parked", raw.headers, raw.value)
        except UndecodableRecord as exc:
            log.warning("parked %d/%d is passed over: %s", raw.partition, raw.offset, exc)
            return
        if isinstance(event, ParkedSpan):
            self._spans.setdefault(event.job_id, {})[key] = event
            self._jobs[key] = event.job_id
        elif isinstance(event, RequeuedThrough):
            self._through[event.job_id] = max(event.offset, self.requeued_through(event.job_id))
