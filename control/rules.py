"""What may be commanded, as pure functions: from what is known to the events to write, or a Problem."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from control.problems import Conflict, Invalid, NotFound
from headrace.embedding.endpoints import how_to_name
from headrace.prices import Prices
from schemas import kb
from schemas.commands import Desired, JobCommand, collection_of, stands_on
from schemas.events import Event
from schemas.facts import CommandIssued, KbChanged, TokenChanged
from schemas.identity import new_job_id, partition_for
from schemas.kb import Definition, GenerationState, KbDefined
from schemas.pages import EXTRACTOR

Action = Literal["pause", "resume", "cancel"]

DESIRED: dict[Action, Desired] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}


@dataclass(frozen=True)
class Job:
    """A job's newest valid command, and how it ended. `end` is None while nothing terminal is known of it.

    `review` is the digest of the manifest that waits for a person.
    """

    command: JobCommand
    end: Literal["completed", "failed", "cancelled"] | None = None
    undoing: bool = False
    review: str | None = None

    @property
    def active(self) -> bool:
        return self.end is None


@dataclass(frozen=True)
class Origin:
    """Who asks, when and why."""

    issued_at: str
    issued_by: str
    reason: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None


def job_end(
    command: JobCommand,
    *,
    outcome: str | None,
    undone_revision: int | None,
    generation: GenerationState | None,
    review: str | None = None,
) -> Job:
    """Whether and how a job is over.

    `outcome` is that of its JobFinished; `undone_revision` is the newest command that an `undone` IndexReport answers.
    A cancelled or rolled back job is over once its absence is proven, not once its generation is marked; a cancelled
    one whose generation was published first, once its end is told.
    """
    state = generation.state if generation else None
    undoing = command.desired == "rolled_back" or (command.desired == "cancelled" and state != "published")
    if outcome == "failed":
        return Job(command, "failed")
    if undoing and undone_revision == command.revision:
        return Job(command, "cancelled")
    published = state == "published" and command.desired != "cancelled"
    if not undoing and (outcome is not None or published):
        return Job(command, "completed")
    return Job(command, undoing=undoing or state == "undone", review=review)


def define(kb_id: str, known: KbDefined | None, definition: Definition, *, at: str, by: str) -> KbDefined:
    """The KB's next record; a KB that was deleted comes back with its generation numbers used up."""
    return KbDefined(
        kb_id=kb_id,
        definition=definition,
        last_generation=known.last_generation if known else 0,
        deleted_through=known.deleted_through if known else 0,
        vacuumed_below=known.vacuumed_below if known else 0,
        reembedding=known.reembedding if known and _waits_for_switch(known, definition) else None,
        updated_at=at,
        updated_by=by,
    )


def _waits_for_switch(known: KbDefined, definition: Definition) -> bool:
    """A model that is named while texts are embedded by another is a later word."""
    return not known.deleted and kb.same_vectors(known.definition.embedding, definition.embedding)


def delete(known: KbDefined, jobs: Sequence[Job], *, at: str, by: str) -> KbDefined:
    for job in jobs:
        if job.active:
            raise Conflict(
                f"job {job.command.job_id} of {known.kb_id} is {_word(job)}; cancel it before deleting",
                code="job-active",
            )
    return msgspec.structs.replace(
        known, deleted=True, deleted_through=known.last_generation, updated_at=at, updated_by=by
    )


def job_id_beside(active: Iterable[JobCommand], partitions: int) -> str:
    """A new job's id, of a partition with the fewest active jobs: on it, records wait for those before them."""
    busy = Counter(command.partition for command in active)
    least = min(busy[partition] for partition in range(partitions))
    return next(job_id for job_id in iter(new_job_id, "") if busy[partition_for(job_id, partitions)] == least)


def start(
    known: KbDefined,
    jobs: Sequence[Job],
    *,
    job_id: str,
    partitions: int,
    published: GenerationState | None,
    published_by: JobCommand | None,
    openai_available: bool,
    origin: Origin,
) -> tuple[KbDefined, JobCommand, CommandIssued]:
    """What one transaction writes to start a job. `published_by` is the command of the published generation's job."""
    check_idle(known, jobs)
    definition = resolved(known.definition, openai_available=openai_available)
    command = first_command(
        known,
        definition,
        job_id=job_id,
        partitions=partitions,
        base=published.generation if published and _builds_on_job(definition, published_by) else None,
        extractor=EXTRACTOR,
        origin=origin,
    )
    counted = msgspec.structs.replace(known, last_generation=command.generation, reembedding=None)
    return counted, command, audit(command, "start")


def check_idle(known: KbDefined, jobs: Sequence[Job]) -> None:
    """Raises Conflict while a job is active."""
    for job in jobs:
        if job.active:
            raise Conflict(f"job {job.command.job_id} of {known.kb_id} is {_word(job)}", code="job-active")


def first_command(
    known: KbDefined,
    definition: Definition,
    *,
    job_id: str,
    partitions: int,
    base: int | None = None,
    reembeds: int | None = None,
    extractor: int,
    origin: Origin,
) -> JobCommand:
    """Of a job that is to run: the generation behind the last, in the collection of the definition's embedding."""
    return JobCommand(
        job_id=job_id,
        kb_id=known.kb_id,
        generation=known.last_generation + 1,
        base=base,
        reembeds=reembeds,
        partition=partition_for(job_id, partitions),
        desired="running",
        revision=1,
        definition=definition,
        extractor=extractor,
        collection=kb.collection_name(definition.embedding),
        issued_at=origin.issued_at,
        issued_by=origin.issued_by,
        reason=origin.reason,
        idempotency_key=origin.idempotency_key,
        request_digest=origin.request_digest,
    )


def change(
    job: Job, action: Action, *, definition: Definition | None, openai_available: bool, origin: Origin
) -> tuple[JobCommand, CommandIssued] | None:
    """What one transaction writes for `action`; None where the job is so commanded already.

    `definition` is the KB's current one: resume takes it up, save what must not change within a generation.
    """
    command, desired = job.command, DESIRED[action]
    if job.end is not None and not (action == "cancel" and job.end == "cancelled"):
        raise Conflict(f"job {command.job_id} is {job.end}; there is nothing to {action}", code="job-over")
    if command.desired == desired:
        return None
    if command.desired in ("cancelled", "rolled_back"):
        raise Conflict(f"job {command.job_id} is being cancelled, which is final", code="job-cancelled")
    if job.undoing:
        raise Conflict(f"job {command.job_id} has failed and its generation is being undone", code="job-over")
    taken = command.definition
    if action == "resume" and definition is not None:
        taken = within_generation(command, resolved(definition, openai_available=openai_available))
    successor = _successor(command, origin, desired=desired, definition=taken)
    if _crawls_differently(command.definition, taken):
        successor = msgspec.structs.replace(successor, scope_revision=successor.revision)
    return successor, audit(successor, action)


def approve(job: Job, digest: str | None, *, origin: Origin) -> tuple[JobCommand, CommandIssued] | None:
    """A person lets the manifest under review be published; what is found after another crawl needs another word.

    `digest`, where given, is that of the manifest which the person has seen. None where it is approved already.
    """
    command = job.command
    if job.review is not None and job.active and command.desired == "running":
        if digest not in (None, job.review):
            raise Conflict(f"the manifest under review is {job.review}, not {digest}", code="another-manifest")
        successor = _successor(command, origin, approved=job.review)
        return successor, audit(successor, "approve")
    if (
        job.active
        and command.desired == "running"
        and command.approved is not None
        and digest in (None, command.approved)
    ):
        return None
    raise Conflict(f"job {command.job_id} does not wait for a review; there is nothing to approve", code="no-review")


def rollback(
    known: KbDefined,
    jobs: Sequence[Job],
    *,
    published: Sequence[GenerationState],
    wanted: int | None,
    origin: Origin,
) -> tuple[JobCommand, CommandIssued] | JobCommand:
    """What undoes the newest published generation; the command that does already, or did, where `wanted` names it.

    `jobs` holds the newest job, those being rolled back, and that of the newest published generation; `published` the
    published generations, newest first.
    """
    by_generation = {job.command.generation: job for job in jobs}
    under_way = next((job for job in jobs if job.command.desired == "rolled_back" and job.active), None)
    asked = by_generation.get(wanted) if wanted is not None else under_way
    if asked is not None and asked.command.desired == "rolled_back":
        return asked.command
    check_idle(known, jobs)
    newest = published[0].generation if published else None
    if newest is None or (wanted is not None and wanted != newest):
        raise Conflict(f"the newest published generation of {known.kb_id} is {newest}", code="not-the-newest")
    if len(published) < 2:
        raise Conflict(
            f"generation {newest} is the only published one of {known.kb_id}: there is none to go back to",
            code="nothing-before",
        )
    if published[1].generation < known.vacuumed_below:
        raise Conflict(f"generation {published[1].generation} was vacuumed: it can't be gone back to", code="vacuumed")
    successor = _successor(by_generation[newest].command, origin, desired="rolled_back")
    return successor, audit(successor, "rollback")


def vacuum(
    known: KbDefined,
    jobs: Sequence[Job],
    *,
    published: Sequence[GenerationState],
    keep: int,
    below: int | None,
    at: str,
    by: str,
) -> KbDefined:
    """The KB's record with its floor raised to `below`, or to the oldest of `keep` published generations.

    `published` holds the published generations, newest first. A floor never sinks.
    """
    if not published:
        raise Conflict(f"{known.kb_id} has no published generation; there is nothing to vacuum", code="not-published")
    floor = below if below is not None else published[min(keep, len(published)) - 1].generation
    if floor > published[0].generation:
        raise Conflict(
            f"below {floor} lies generation {published[0].generation}, which searches see; it can't be vacuumed",
            code="still-searched",
        )
    for job in jobs:
        if job.active and (job.undoing or (stands_on(job.command) or floor) < floor):
            raise Conflict(f"job {job.command.job_id} of {known.kb_id} is {_word(job)}", code="job-active")
    return msgspec.structs.replace(known, vacuumed_below=max(known.vacuumed_below, floor), updated_at=at, updated_by=by)


def _successor(command: JobCommand, origin: Origin, **changed: Any) -> JobCommand:
    return msgspec.structs.replace(
        command,
        revision=command.revision + 1,
        issued_at=origin.issued_at,
        issued_by=origin.issued_by,
        reason=origin.reason,
        **changed,
    )


def _crawls_differently(before: Definition, after: Definition) -> bool:
    """Whether pages could be found, or left out, that were not before."""
    return (before.source, before.crawl.respect_robots) != (after.source, after.crawl.respect_robots)


def restore(command: JobCommand, *, origin: Origin) -> tuple[JobCommand, CommandIssued]:
    """The last valid command once more, unchanged, where an invalid record hides it."""
    issued = audit(command, "restore")
    return command, msgspec.structs.replace(
        issued, issued_at=origin.issued_at, issued_by=origin.issued_by, reason=origin.reason
    )


def resolved(definition: Definition, *, openai_available: bool) -> Definition:
    try:
        return kb.resolve(definition, openai_available=openai_available)
    except kb.InvalidDefinition as exc:
        raise Invalid(str(exc), code="invalid-definition") from exc


def check_endpoint(definition: Definition, endpoints: frozenset[str]) -> None:
    """Raises Invalid where a definition is embedded by a server that the environment doesn't name."""
    name = definition.embedding.endpoint
    if name is not None and name not in endpoints:
        raise Invalid(
            f"embedding.endpoint {name!r} is not known here ({', '.join(sorted(endpoints)) or 'none is'}): "
            f"{how_to_name(name)}, and restart control and the consumer",
            code="unknown-endpoint",
        )


def check_budget(definition: Definition, prices: Prices) -> None:
    """Raises Invalid where a resolved definition has a budget in dollars, and nobody knows what its model costs."""
    embedding = definition.embedding
    if definition.budget.max_usd is not None and prices.pico_usd(embedding, 1) is None:
        raise Invalid(
            f"budget.max_usd needs a price, and that of {embedding.model} is not known: restart control and the "
            f"consumer with HEADRACE_PRICES={embedding.model}=<dollars per million tokens>, or give budget.max_tokens",
            code="unknown-price",
        )


def builds_on(definition: Definition, published: Definition | None) -> bool:
    """Whether chunks and vectors of `published` can stand in a generation of `definition`."""
    return (
        published is not None
        and kb.same_vectors(published.embedding, definition.embedding)
        and kb.cut_by(published) == kb.cut_by(definition)
    )


def _builds_on_job(definition: Definition, job: JobCommand | None) -> bool:
    return (
        job is not None
        and job.extractor == EXTRACTOR
        and collection_of(job) == kb.collection_name(definition.embedding)
        and builds_on(definition, job.definition)
    )


def within_generation(command: JobCommand, wanted: Definition) -> Definition:
    """`wanted` with the embedding and chunking of the job: a generation has one profile and one way of cutting. What is
    embedded anew stays as it was crawled, too."""
    running = command.definition
    kept = msgspec.structs.replace(wanted, embedding=running.embedding, chunking=running.chunking)
    if command.reembeds is None:
        return kept
    return msgspec.structs.replace(kept, source=running.source, crawl=running.crawl)


def same_request(command: JobCommand, kb_id: str, digest: str | None) -> None:
    """Raises Invalid where an Idempotency-Key comes back with another request than it was first used for."""
    if command.kb_id != kb_id:
        raise Invalid("this Idempotency-Key started a job of another knowledge base", code="idempotency-key-reused")
    if command.request_digest != digest:
        raise Invalid(
            f"this Idempotency-Key started job {command.job_id} with another body", code="idempotency-key-reused"
        )


def audit(
    command: JobCommand,
    action: Literal["start", "pause", "resume", "cancel", "approve", "rollback", "restore"],
) -> CommandIssued:
    return CommandIssued(
        job_id=command.job_id,
        kb_id=command.kb_id,
        generation=command.generation,
        action=action,
        desired=command.desired,
        revision=command.revision,
        issued_at=command.issued_at,
        issued_by=command.issued_by,
        reason=command.reason,
        idempotency_key=command.idempotency_key,
    )


def kb_audit(kb: KbDefined, action: Literal["define", "delete", "vacuum"], reason: str | None) -> KbChanged:
    return KbChanged(
        kb_id=kb.kb_id,
        action=action,
        below=kb.vacuumed_below if action == "vacuum" else None,
        changed_at=kb.updated_at,
        changed_by=kb.updated_by,
        reason=reason,
    )


def partition_of(event: Event, *, job_partition: int | None, partitions: int) -> int:
    """Where control writes an event: a job's facts go to the job's partition, a knowledge base's to its own.

    What is told of tokens stands in one, so that it has an order.
    """
    if isinstance(event, KbDefined | KbChanged):
        return partition_for(event.kb_id, partitions)
    if isinstance(event, TokenChanged):
        return partition_for(event.TYPE, partitions)
    if job_partition is None:
        raise NotFound("the job has no partition")
    return job_partition


def _word(job: Job) -> str:
    if job.undoing:
        return {"cancelled": "being cancelled", "rolled_back": "being rolled back"}.get(
            job.command.desired, "being undone"
        )
    if job.review is not None:
        return "waiting for a review"
    return "paused" if job.command.desired == "paused" else "active"
