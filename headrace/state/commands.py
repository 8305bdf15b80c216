"""The newest valid command of every job."""

import logging
from collections.abc import Callable

from headrace import tracing
from headrace.kafka.records import RawRecord
from schemas.codec import UndecodableRecord, decode
from schemas.commands import JobCommand, refusal

log = logging.getLogger(__name__)


def _passed_over(raw: RawRecord, reason: str) -> None:
    log.warning("commands %d/%d is passed over: %s", raw.partition, raw.offset, reason)


class Commands:
    """Folds `commands`; `apply` goes to a Follower. An invalid record leaves the last valid command in force.

    `on_change(command)` is called for each new valid command, `on_refused(raw, reason)` for each invalid record.
    `first(command)` says why a job may not begin with this command, or nothing. `changes`: how many there were.
    """

    def __init__(
        self,
        on_change: Callable[[JobCommand], None] = lambda command: None,
        on_refused: Callable[[RawRecord, str], None] = _passed_over,
        first: Callable[[JobCommand], str | None] = lambda command: None,
    ) -> None:
        self._newest: dict[str, JobCommand] = {}
        self._traceparents: dict[str, str] = {}
        self._on_change, self._on_refused, self._first = on_change, on_refused, first
        self.changes = 0

    def get(self, job_id: str) -> JobCommand | None:
        return self._newest.get(job_id)

    def traceparent(self, command: JobCommand) -> str | None:
        """Of the request that asked for it; None where that had no trace, or it is not the newest command."""
        return self._traceparents.get(command.job_id) if command == self.get(command.job_id) else None

    def all(self) -> list[JobCommand]:
        return list(self._newest.values())

    def of_partition(self, partition: int) -> list[JobCommand]:
        return [command for command in self._newest.values() if command.partition == partition]

    def forget(self, job_id: str) -> None:
        """As if nothing had been commanded of the job."""
        self._newest.pop(job_id, None)
        self._traceparents.pop(job_id, None)
        self.changes += 1

    def apply(self, raw: RawRecord) -> None:
        if raw.value is None:
            return
        try:
            command = decode("commands", raw.headers, raw.value)
        except UndecodableRecord as exc:
            self._on_refused(raw, str(exc))
            return
        assert isinstance(command, JobCommand)
        current = self._newest.get(command.job_id)
        reason = _misplaced(raw, command) or refusal(current, command)
        if reason is None and current is None:
            reason = self._first(command)
        if reason:
            self._on_refused(raw, reason)
        elif command != current:
            self._newest[command.job_id] = command
            self._note_trace(raw, command)
            self.changes += 1
            self._on_change(command)

    def _note_trace(self, raw: RawRecord, command: JobCommand) -> None:
        self._traceparents.pop(command.job_id, None)
        if traceparent := tracing.parent_of(raw.headers):
            self._traceparents[command.job_id] = traceparent


def _misplaced(raw: RawRecord, command: JobCommand) -> str | None:
    if raw.key is None or raw.key != command.job_id.encode():
        return "the record's key is not the command's job_id"
    if raw.partition != command.partition:
        return f"the command names partition {command.partition} but stands on {raw.partition}"
    return None
