"""A job's whole desired state, on the compacted topic `commands`."""

import re
from typing import ClassVar, Literal

from schemas.events import Event, Int64
from schemas.identity import SLUG
from schemas.kb import MAX_DIMENSIONS, MODEL, Definition, former_collection_name

Desired = Literal["running", "paused", "cancelled", "rolled_back"]
"""cancelled: undo the generation unless it is published by then. rolled_back: undo it, published or not."""

ALLOWED: dict[Desired, frozenset[Desired]] = {
    "running": frozenset({"running", "paused", "cancelled", "rolled_back"}),
    "paused": frozenset({"paused", "running", "cancelled", "rolled_back"}),
    "cancelled": frozenset({"cancelled", "rolled_back"}),
    "rolled_back": frozenset({"rolled_back"}),
}

MAX_REASON = 500
"""Characters of why a person does something: each status and each event of the job shows them."""


class JobCommand(Event, frozen=True, kw_only=True):
    """`partition` is the job's partition in every topic keyed by job, computed once at start.

    `base` is the generation that was published at start, or None. A successor has revision + 1.
    `reembeds` is the published generation whose stored texts are embedded anew, by the definition's model: no page is
    fetched. `base` is None then, since no chunk of it can be kept.
    `scope_revision` is the revision that last changed what is crawled (`source`, `crawl.respect_robots`): pages and a
    `crawl_end` of an older one don't count. `extractor` is the version of the extraction at start (`pages.EXTRACTOR`):
    none of its pages is cut by an older one, and a producer that is older leaves the job alone.
    `collection` is where its objects go, computed once at start; None where the start was before commands named it.
    `approved` is the manifest digest that a person let pass the guard against vanishing.
    Every revision keeps the start's `idempotency_key` and `request_digest` (of its body), so compaction keeps them too.
    """

    TYPE: ClassVar[str] = "job_command"
    TOPIC: ClassVar[str] = "commands"

    job_id: str
    kb_id: str
    generation: Int64
    base: Int64 | None = None
    reembeds: Int64 | None = None
    partition: Int64
    desired: Desired
    revision: Int64
    definition: Definition
    scope_revision: Int64 = 1
    extractor: Int64 = 1
    collection: str | None = None
    approved: str | None = None
    issued_at: str
    issued_by: str
    reason: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None

    def key(self) -> str:
        return self.job_id


def refusal(current: JobCommand | None, successor: JobCommand) -> str | None:
    """Why `successor` may not follow `current`, or None where it may. The one judge of commands in every service."""
    if misfit := _misfit(successor):
        return misfit
    if current is None:  # compaction may have removed the revisions before it
        return None if successor.revision >= 1 else f"revision {successor.revision} is below 1"
    if successor == current:
        return None
    if successor.revision != current.revision + 1:
        return f"revision {successor.revision} does not follow {current.revision}"
    if successor.desired not in ALLOWED[current.desired]:
        return f"a {current.desired} job can't become {successor.desired}"
    fixed = ("job_id", "kb_id", "generation", "base", "reembeds", "partition", "extractor", "collection")
    changed = [name for name in fixed if getattr(current, name) != getattr(successor, name)]
    kept = ("embedding", "chunking")
    changed += [name for name in kept if getattr(current.definition, name) != getattr(successor.definition, name)]
    return f"{', '.join(changed)} of a job never change" if changed else None


def stands_on(command: JobCommand) -> int | None:
    """The generation that the job needs: it keeps chunks of it, or embeds its texts anew."""
    return command.base if command.base is not None else command.reembeds


def collection_of(command: JobCommand) -> str:
    """Where the job's objects go in Weaviate."""
    return command.collection or former_collection_name(command.definition.embedding)


_COLLECTION = re.compile(r"[A-Z][A-Za-z0-9_]{0,254}\Z")


def _misfit(command: JobCommand) -> str | None:
    """What of a command no service could work with, whatever stood before it."""
    if not SLUG.match(command.kb_id):
        return f"kb_id {command.kb_id[:80]!r} is not a slug"
    embedding, chunking = command.definition.embedding, command.definition.chunking
    open_ends = {
        "embedding.provider": embedding.provider,
        "embedding.model": embedding.model,
        "embedding.dimensions": embedding.dimensions,
        "chunking.max_tokens": chunking.max_tokens,
    }
    missing = [name for name, value in open_ends.items() if value is None]
    if missing:
        return f"{', '.join(missing)} must be given: a command holds every default"
    if not MODEL.match(embedding.model or "") or not 1 <= (embedding.dimensions or 0) <= MAX_DIMENSIONS:
        return f"{embedding.model!r:.80} of {embedding.dimensions} dimensions is no model"
    if command.reembeds is not None and command.base is not None:
        return f"it can't keep chunks of generation {command.base} and embed generation {command.reembeds} anew"
    if not _COLLECTION.match(collection_of(command)):
        return f"{collection_of(command)[:80]!r} is no collection"
    return None
