"""Where requests become commands: one decision at a time, on what has been read back from the log."""

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence

import msgspec

from control import reembedding, rules
from control.books import Books, Refused
from control.idempotency import request_digest
from control.metrics import COMMANDS, REFUSED
from control.preconditions import ALWAYS, Precondition
from control.problems import Conflict, NotFound
from control.rules import Action, Job, Origin
from control.standing import known as known_kb
from control.writer import Outgoing, Writer, Written
from headrace.prices import Prices
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.estimates import ReembedRequest
from schemas.events import Event
from schemas.facts import CommandIssued, CommandRefused, KbChanged, TokenChanged
from schemas.identity import new_job_id, partition_for
from schemas.kb import Definition, Embedding, GenerationState, KbDefined, same_vectors

log = logging.getLogger(__name__)

JobOf = Callable[[JobCommand], Awaitable[Job]]
"""Gives a job with how it ended, from the projection."""
Begin = Callable[..., tuple[KbDefined, JobCommand, CommandIssued]]
"""`rules.start`, or another that takes what that takes."""


class Desk:
    """Serialises decisions. Every method raises Problem, and Fenced once another instance took over."""

    def __init__(
        self,
        books: Books,
        writer: Writer,
        job_of: JobOf,
        *,
        partitions: int,
        openai_available: bool,
        prices: Prices,
        endpoints: frozenset[str] = frozenset(),
    ) -> None:
        self._books, self._writer, self._job_of = books, writer, job_of
        self._partitions = partitions
        self._openai_available, self._prices, self._endpoints = openai_available, prices, endpoints
        self._deciding = asyncio.Lock()
        self._unread: Sequence[Written] = ()
        self._dropping = Counter[str]()

    def known(self, kb_id: str) -> KbDefined:
        return known_kb(self._books.kbs.get(kb_id), kb_id)

    def wanted(self, kb_id: str, definition: Definition | None, given: Precondition = ALWAYS) -> Definition:
        """What a start would go by, with every default filled in; None: the knowledge base's own."""
        given.check(kb_id, self._books.kbs.get(kb_id), definition)
        resolved = self.resolved(definition if definition is not None else self.known(kb_id).definition)
        self._check_means(resolved)
        return resolved

    def _check_means(self, resolved: Definition) -> None:
        """Raises Invalid where the environment lacks what a definition needs."""
        rules.check_budget(resolved, self._prices)
        rules.check_endpoint(resolved, self._endpoints)

    def resolved(self, definition: Definition) -> Definition:
        """With every default filled in; raises Invalid."""
        return rules.resolved(definition, openai_available=self._openai_available)

    async def define(
        self,
        kb_id: str,
        definition: Definition,
        *,
        by: str,
        reason: str | None = None,
        given: Precondition = ALWAYS,
    ) -> KbDefined:
        resolved = self.resolved(definition)
        self._check_means(resolved)
        async with self._decision():
            self._check_dropped(kb_id)
            known = self._books.kbs.get(kb_id)
            given.check(kb_id, known, definition)
            if known and not known.deleted and known.definition == definition:
                return known
            defined = rules.define(kb_id, known, definition, at=now(), by=by)
            await self._write(defined, rules.kb_audit(defined, "define", reason))
            return defined

    async def delete(
        self,
        kb_id: str,
        *,
        by: str,
        reason: str | None = None,
        given: Precondition = ALWAYS,
        first: Callable[[], Awaitable[None]],
        drop: Callable[[], Awaitable[None]],
    ) -> None:
        """Marks the KB deleted, then drops its objects.

        `first` runs before anything is written, and what it raises leaves all as it was. Until `drop` is done the KB
        can't begin anew: it would drop what a new job writes. `given` is looked at where there is something to delete:
        a repetition finishes what broke off.
        """
        async with self._decision():
            known = self._books.kbs.get(kb_id)
            if known is None:
                raise NotFound(f"there is no knowledge base {kb_id!r}", code="unknown-kb")
            if not known.deleted:
                given.check(kb_id, known, None)
            deleted = rules.delete(known, await self._jobs(kb_id), at=now(), by=by)
            await first()
            if not known.deleted:
                await self._write(deleted, rules.kb_audit(deleted, "delete", reason))
            self._dropping[kb_id] += 1
        try:
            await drop()
        finally:
            self._dropping[kb_id] -= 1

    async def start(
        self,
        kb_id: str,
        definition: Definition | None,
        *,
        by: str,
        reason: str | None,
        idempotency_key: str | None,
        given: Precondition = ALWAYS,
    ) -> JobCommand:
        """`definition` replaces the KB's, in the same transaction as the start.

        A repetition is answered before `given` is looked at: the first changed what it is of.
        """
        digest = request_digest(definition=definition, reason=reason)
        async with self._decision():
            if first := self._started_by(idempotency_key, kb_id, digest):
                return first
            self._check_dropped(kb_id)
            origin = Origin(now(), by, reason, idempotency_key, digest)
            known, audits = self._books.kbs.get(kb_id), []
            given.check(kb_id, known, definition)
            if definition is not None:
                new = known is None or known.deleted or known.definition != definition
                known = rules.define(kb_id, known, definition, at=origin.issued_at, by=by)
                audits = [rules.kb_audit(known, "define", reason)] if new else []
            return await self._begin(known or self.known(kb_id), origin, audits)

    async def reembed(
        self, kb_id: str, embedding: Embedding | None, *, by: str, reason: str | None, idempotency_key: str | None
    ) -> JobCommand:
        """Embeds the published generation's texts by another model; None: by the definition's."""
        digest = request_digest(embedding=embedding, reason=reason, reembed=True)
        async with self._decision():
            if first := self._started_by(idempotency_key, kb_id, digest):
                return first
            self._check_dropped(kb_id)
            origin = Origin(now(), by, reason, idempotency_key, digest)
            begin = functools.partial(reembedding.reembed, embedding=embedding)
            return await self._begin(self.known(kb_id), origin, [], begin)

    def would_reembed(self, kb_id: str, embedding: Embedding | None) -> ReembedRequest:
        """What `reembed` would go by, were no job active; writes nothing, and raises what that raises."""
        known, kbs = self.known(kb_id), self._books.kbs
        published = kbs.published(kb_id)
        command = reembedding.reembed(
            known,
            (),
            embedding,
            job_id=new_job_id(),
            partitions=self._partitions,
            published=published,
            published_by=self._books.commands.get(published.job_id) if published else None,
            openai_available=self._openai_available,
            origin=Origin(now(), "dry run", None),
        )[1]
        assert published is not None and command.reembeds is not None
        self._check_means(command.definition)
        return ReembedRequest(
            definition=command.definition,
            kb_id=kb_id,
            generation=command.reembeds,
            collection=published.collection,
            undone=tuple(state.generation for state in kbs.generations(kb_id) if state.state == "undone"),
        )

    async def change(
        self, kb_id: str, action: Action, *, by: str, reason: str | None, only: JobCommand | None = None
    ) -> JobCommand:
        """Pauses, resumes or cancels the KB's newest job. A repetition gives the command that stands.

        `only`: the command that it is to follow; another one that stands by now is left alone.
        """
        async with self._decision():
            job = await self._newest(kb_id)
            if only is not None and job.command != only:
                return job.command
            known = self._books.kbs.get(kb_id)
            changed = rules.change(
                job,
                action,
                definition=known.definition if known else None,
                openai_available=self._openai_available,
                origin=Origin(now(), by, reason),
            )
            if changed and action == "resume":
                rules.check_budget(changed[0].definition, self._prices)
            return await self._issue(changed) if changed else job.command

    async def approve(self, kb_id: str, digest: str | None, *, by: str, reason: str | None) -> JobCommand:
        """Lets the newest job's manifest under review be published. A repetition gives the command that stands."""
        async with self._decision():
            job = await self._newest(kb_id)
            changed = rules.approve(job, digest, origin=Origin(now(), by, reason))
            return await self._issue(changed) if changed else job.command

    async def rollback(self, kb_id: str, wanted: int | None, *, by: str, reason: str | None) -> JobCommand:
        """Undoes the newest published generation. `wanted` names it, so that a repetition undoes no second one."""
        async with self._decision():
            known = self.known(kb_id)
            published = self._books.kbs.published_all(kb_id)
            named = {wanted, *(state.generation for state in published[:1])}
            changed = rules.rollback(
                known,
                await self._jobs(kb_id, also=named),
                published=published,
                wanted=wanted,
                origin=Origin(now(), by, reason),
            )
            if isinstance(changed, JobCommand):
                return changed
            return await self._issue(changed, *self._switched_back(known, changed[0], published))

    async def vacuum(
        self, kb_id: str, *, keep: int, below: int | None, by: str, reason: str | None = None
    ) -> KbDefined:
        """Raises the KB's floor; the consumer deletes what only generations below it showed."""
        async with self._decision():
            known = self.known(kb_id)
            vacuumed = rules.vacuum(
                known,
                await self._jobs(kb_id),
                published=self._books.kbs.published_all(kb_id),
                keep=keep,
                below=below,
                at=now(),
                by=by,
            )
            if vacuumed.vacuumed_below == known.vacuumed_below:
                return known
            await self._write(vacuumed, rules.kb_audit(vacuumed, "vacuum", reason))
            return vacuumed

    def keeps(self, command: JobCommand, wanted: Definition) -> bool:
        """Whether the job keeps an embedding or chunking that `wanted` would change."""
        if command.reembeds is not None:
            return False  # the definition takes the job's, once it is published
        return not rules.builds_on(rules.resolved(wanted, openai_available=self._openai_available), command.definition)

    async def catch_up(self) -> None:
        """Definitions take the model of what was embedded anew, as before each decision."""
        async with self._decision():
            pass

    async def audit(self, changes: Sequence[TokenChanged]) -> None:
        async with self._decision():
            await self._write(*changes)

    async def report_refusals(self, reported: Callable[[Refused], bool]) -> None:
        """Writes what was refused on `commands` to `events`, once per place, and puts hidden commands back.

        Both stand in one transaction, so a refusal that is reported is one that was mended.
        """
        while self._books.refused:
            async with self._decision():
                refused = self._books.refused[0]
                if not reported(refused):
                    await self._report(refused)
                self._books.refused.pop(0)

    def _check_dropped(self, kb_id: str) -> None:
        """Raises Conflict while a deletion still removes the KB's objects."""
        if self._dropping[kb_id]:
            raise Conflict(f"{kb_id} is being deleted, and its objects are not gone yet; try again", code="kb-deleting")

    def _switched_back(
        self, known: KbDefined, undone: JobCommand, published: Sequence[GenerationState]
    ) -> tuple[Event, ...]:
        """A definition that took the model of what is rolled back takes that of what is searched again."""
        to = self._books.commands.get(published[1].job_id)
        named = same_vectors(known.definition.embedding, undone.definition.embedding)
        if to is None or undone.reembeds is None or not named:
            return ()
        return reembedding.switch(known, to, at=now())

    async def _report(self, refused: Refused) -> None:
        at = now()
        fact = CommandRefused(place=refused.place, record_key=refused.key, reason=refused.reason, refused_at=at)
        log.warning("commands %d/%d refused: %s", refused.place.partition, refused.place.offset, refused.reason)
        hidden = self._books.commands.get(refused.key)
        events: list[Event] = [fact]
        if hidden is not None and hidden.partition == refused.place.partition:
            events += rules.restore(hidden, origin=Origin(at, "control", f"hidden by {refused.reason}"))
        await self._write(*events, job_partition=partition_for(refused.key, self._partitions))
        REFUSED.inc()

    async def _newest(self, kb_id: str) -> Job:
        jobs = self._books.jobs(kb_id)
        known = self._books.kbs.get(kb_id)
        if known is None or (not jobs and known.deleted):
            self.known(kb_id)
        if not jobs:
            raise Conflict(f"{kb_id} has had no job yet; start one", code="no-job")
        return await self._job_of(jobs[0])

    async def _issue(self, issued: tuple[JobCommand, CommandIssued], *beside: Event) -> JobCommand:
        await self._write(*issued, *beside, job_partition=issued[0].partition)
        COMMANDS.labels(issued[1].action).inc()
        return issued[0]

    def _started_by(self, idempotency_key: str | None, kb_id: str, digest: str) -> JobCommand | None:
        first = self._books.by_idempotency_key(idempotency_key) if idempotency_key is not None else None
        if first is not None:
            rules.same_request(first, kb_id, digest)
        return first

    async def _begin(
        self, known: KbDefined, origin: Origin, audits: Sequence[KbChanged], begin: Begin = rules.start
    ) -> JobCommand:
        if known.deleted:
            self.known(known.kb_id)
        used = max(known.last_generation, self._books.used(known.kb_id))
        known = msgspec.structs.replace(known, last_generation=used)
        published = self._books.kbs.published(known.kb_id)
        of = self._books.commands.get(published.job_id) if published else None
        events = begin(
            known,
            await self._jobs(known.kb_id),
            job_id=rules.job_id_beside(await self._active(), self._partitions),
            partitions=self._partitions,
            published=published,
            published_by=of,
            openai_available=self._openai_available,
            origin=origin,
        )
        self._check_means(events[1].definition)
        await self._write(*events, *audits, job_partition=events[1].partition)
        COMMANDS.labels("start").inc()
        return events[1]

    async def _active(self) -> list[JobCommand]:
        """Of all knowledge bases."""
        open_ones = []
        for kb in self._books.kbs.all():
            newest = next(iter(self._books.jobs(kb.kb_id)), None)
            state = self._books.kbs.generation(kb.kb_id, newest.generation) if newest else None
            if newest is not None and (state is None or state.state == "open"):
                open_ones.append(newest)
        return [job.command for job in [await self._job_of(command) for command in open_ones] if job.active]

    async def _jobs(self, kb_id: str, *, also: Container[int | None] = ()) -> list[Job]:
        """Those that can be active: the newest, since a start is refused while one is, and those rolled back.

        And those of the generations in `also`.
        """
        commands = self._books.jobs(kb_id)
        wanted = [c for c in commands if c is commands[0] or c.desired == "rolled_back" or c.generation in also]
        return [await self._job_of(command) for command in wanted]

    @contextlib.asynccontextmanager
    async def _decision(self) -> AsyncIterator[None]:
        """One at a time, and only on what all earlier commits left in the log."""
        async with self._deciding:
            self._unread = [*self._unread, *await self._writer.settled()]
            await self._books.applied(self._unread)
            self._unread = []
            self._books.announce(())
            for kb in self._books.kbs.all():
                if to := self._books.switching(kb.kb_id):
                    await self._write(*reembedding.switch(kb, to, at=now()))
            yield

    async def _write(self, *events: Event, job_partition: int | None = None) -> None:
        outgoing = [
            Outgoing(e, rules.partition_of(e, job_partition=job_partition, partitions=self._partitions)) for e in events
        ]
        self._books.announce(events)
        try:
            self._unread = await self._writer.commit(outgoing)
        except BaseException:  # it is not written, or will be known once it is read
            self._books.announce(())
            raise
        await self._books.applied(self._unread)
        self._books.announce(())
