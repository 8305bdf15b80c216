"""A job's whole desired state, on the compacted topic `commands`."""

from typing import ClassVar, Literal

from schemas.events import Event, Int64
from schemas.kb import Definition

Desired = Literal["running", "paused", "cancelled"]

ALLOWED: dict[Desired, frozenset[Desired]] = {
    "running": frozenset({"running", "paused", "cancelled"}),
    "paused": frozenset({"paused", "running", "cancelled"}),
    "cancelled": frozenset({"cancelled"}),
}


class JobCommand(Event, frozen=True, kw_only=True):
    """`partition` is the job's partition in every topic keyed by job, computed once at start.

    `base` is the generation that was published at start, or None. A successor has revision + 1.
    Every revision keeps the start's `idempotency_key` and `request_digest` (of its body), so compaction keeps them too.
    """

    TYPE: ClassVar[str] = "job_command"
    TOPIC: ClassVar[str] = "commands"

    job_id: str
    kb_id: str
    generation: Int64
    base: Int64 | None = None
    partition: Int64
    desired: Desired
    revision: Int64
    definition: Definition
    issued_at: str
    issued_by: str
    reason: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None

    def key(self) -> str:
        return self.job_id


def refusal(current: JobCommand | None, successor: JobCommand) -> str | None:
    """Why `successor` may not follow `current`, or None where it may. The one judge of commands in every service."""
    if current is None:  # compaction may have removed the revisions before it
        return None if successor.revision >= 1 else f"revision {successor.revision} is below 1"
    if successor == current:
        return None
    if successor.revision != current.revision + 1:
        return f"revision {successor.revision} does not follow {current.revision}"
    if successor.desired not in ALLOWED[current.desired]:
        return f"a {current.desired} job can't become {successor.desired}"
    fixed = ("job_id", "kb_id", "generation", "base", "partition")
    changed = [name for name in fixed if getattr(current, name) != getattr(successor, name)]
    return f"{', '.join(changed)} of a job never change" if changed else None
