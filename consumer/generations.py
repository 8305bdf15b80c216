"""Writing a generation's durable state on `kbs`: open, then published or undone."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.state.kbs import KnowledgeBases
from schemas.codec import now
from schemas.commands import JobCommand, collection_of
from schemas.identity import partition_for
from schemas.kb import GenerationState

Change = Callable[[GenerationState], GenerationState]

MAX_NOT_INDEXED = 20_000
"""Ids that a state carries: 39 bytes each, and a record stays below 1 MB."""


class Generations:
    """The consumer's pen for generation states. Each change returns once it stands on the log and is known here.

    A job that names another job's generation changes nothing of it: whoever opened it has it.

    One change at a time, decided on what is known then: `published` written after `undone` would have no effect on
    those who read both, but compaction keeps the later one alone. A change whose caller is cancelled is finished all
    the same, before the next is decided on. A worker that slept may write an earlier state after a later one:
    `restate` writes the later one again.
    """

    def __init__(self, publisher: Publisher, follower: Follower, kbs: KnowledgeBases, partitions: int) -> None:
        self._publisher, self._follower, self._kbs = publisher, follower, kbs
        self._partitions = partitions
        self._writing = asyncio.Lock()
        self._changes: set[asyncio.Task[GenerationState]] = set()

    def partition(self, kb_id: str) -> int:
        """Of a knowledge base's records in `kbs` and `pages`."""
        return partition_for(kb_id, self._partitions)

    def state(self, command: JobCommand) -> GenerationState | None:
        return self._kbs.generation(command.kb_id, command.generation)

    def undone(self, kb_id: str) -> frozenset[int]:
        return self._kbs.undone(kb_id)

    def published(self, kb_id: str) -> GenerationState | None:
        return self._kbs.published(kb_id)

    async def open(self, command: JobCommand, epoch: int) -> None:
        """Opens the generation, or notes that a newer owner (`epoch`) crawls it. An ended one is left as it is."""
        await self._change(command, lambda known: _opened(known, epoch))

    async def recrawl(self, command: JobCommand, epoch: int, missing: Iterable[str] = ()) -> None:
        """Records were lost: a crawl whose epoch is not above `epoch` begins anew. An ended one is left as it is.

        `missing`: chunks of base that are not stored, which that crawl is to send as its own.
        """
        ids = frozenset(missing)
        await self._change(command, lambda known: _recrawled(known, epoch, ids))

    async def publish(self, command: JobCommand, not_indexed: Iterable[str] = ()) -> bool:
        """False where the generation was undone before. One that is published already is left as it is."""
        ids = frozenset(not_indexed)
        return (await self._change(command, lambda known: _published(known, ids))).state == "published"

    async def prove_again(self, command: JobCommand, not_indexed: Iterable[str]) -> bool:
        """Of a published one, what could not be indexed may be less by now. False where it is not published."""
        ids = frozenset(not_indexed)
        return (await self._change(command, lambda known: _repaired(known, ids))).state == "published"

    async def undo(self, command: JobCommand, reason: str) -> bool:
        """False where it was published before, and stays so: only a rollback takes back what a job may build on."""
        rollback = command.desired == "rolled_back"
        return (await self._change(command, lambda known: _undone(known, reason, rollback=rollback))).state == "undone"

    async def note_told(self, command: JobCommand) -> None:
        """That `undone` was told under the command's revision: nothing is left to do."""
        await self._change(command, lambda known: _told(known, command.revision))

    async def restate(self, kb_id: str, generation: int) -> None:
        """Writes again what a later record hides."""
        async with self._writing:
            for state in self._kbs.hidden():
                if (state.kb_id, state.generation) == (kb_id, generation):
                    await self._write(state)

    async def _change(self, command: JobCommand, change: Change) -> GenerationState:
        deciding = asyncio.create_task(self._decide(command, change), name=f"change {command.job_id}")
        self._changes.add(deciding)
        deciding.add_done_callback(self._changes.discard)
        return await asyncio.shield(deciding)

    async def _decide(self, command: JobCommand, change: Change) -> GenerationState:
        """Writes the change if it is one; what the generation is after that: a newer owner may have a say."""
        async with self._writing:
            known = self.state(command)
            if known is not None and known.job_id != command.job_id:
                return known
            wanted = change(known or _fresh(command))
            if wanted != known:
                await self._write(wanted)
            return self.state(command) or wanted

    async def _write(self, state: GenerationState) -> None:
        event = msgspec.structs.replace(state, changed_at=now())
        place = await self._publisher.send(event, partition=self.partition(state.kb_id))
        await self._follower.reached("kbs", place)


def _fresh(command: JobCommand) -> GenerationState:
    return GenerationState(
        kb_id=command.kb_id,
        generation=command.generation,
        job_id=command.job_id,
        state="open",
        base=command.base,
        collection=collection_of(command),
        changed_at=now(),
    )


def _opened(known: GenerationState, epoch: int) -> GenerationState:
    if known.state != "open":
        return known
    return msgspec.structs.replace(known, epoch=max(epoch, known.epoch))


def _recrawled(known: GenerationState, epoch: int, missing: frozenset[str]) -> GenerationState:
    """What was missing before is so still: its pages may not have been read since."""
    if known.state != "open" or known.recrawl >= epoch:
        return known
    anew = _lacking(known, missing.union(known.not_indexed))
    cut = anew.not_indexed_cut or known.not_indexed_cut
    return msgspec.structs.replace(anew, recrawl=epoch, recrawls=known.recrawls + 1, not_indexed_cut=cut)


def _published(known: GenerationState, not_indexed: frozenset[str]) -> GenerationState:
    if known.state != "open":
        return known
    return _lacking(msgspec.structs.replace(known, state="published"), not_indexed)


def _repaired(known: GenerationState, not_indexed: frozenset[str]) -> GenerationState:
    return _lacking(known, not_indexed) if known.state == "published" else known


def _undone(known: GenerationState, reason: str, *, rollback: bool) -> GenerationState:
    if known.state == "undone" or (known.state == "published" and not rollback):
        return known
    return _lacking(msgspec.structs.replace(known, state="undone", reason=reason), frozenset())


def _told(known: GenerationState, revision: int) -> GenerationState:
    return msgspec.structs.replace(known, told_revision=revision) if known.state == "undone" else known


def _lacking(known: GenerationState, ids: frozenset[str]) -> GenerationState:
    first = tuple(sorted(ids)[:MAX_NOT_INDEXED])
    return msgspec.structs.replace(known, not_indexed=first, not_indexed_cut=len(first) < len(ids))
