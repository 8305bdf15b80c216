"""Writing a generation's durable state on `kbs`: open, then published or undone."""

import asyncio
from typing import Literal

from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.state.kbs import KnowledgeBases
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.identity import partition_for
from schemas.kb import GenerationState, collection_name

State = Literal["open", "published", "undone"]


class Generations:
    """The consumer's pen for generation states. Each change returns once it stands on the log and is known here.

    One change at a time, decided on what is known then: `published` written after `undone` would have no effect on
    those who read both, but compaction keeps the later one alone. A change whose caller is cancelled is finished all
    the same, before the next is decided on.
    """

    def __init__(self, publisher: Publisher, follower: Follower, kbs: KnowledgeBases, partitions: int) -> None:
        self._publisher, self._follower, self._kbs = publisher, follower, kbs
        self._partitions = partitions
        self._writing = asyncio.Lock()
        self._changes: set[asyncio.Task[bool]] = set()

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
        await self._change(command, "open", epoch=epoch)

    async def publish(self, command: JobCommand) -> bool:
        """False where the generation was undone before."""
        return await self._change(command, "published")

    async def undo(self, command: JobCommand, reason: str) -> None:
        await self._change(command, "undone", reason=reason)

    async def _change(self, command: JobCommand, to: State, *, epoch: int = 0, reason: str | None = None) -> bool:
        change = asyncio.create_task(self._decide(command, to, epoch, reason), name=f"{to} {command.job_id}")
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        return await asyncio.shield(change)

    async def _decide(self, command: JobCommand, to: State, epoch: int, reason: str | None) -> bool:
        """Writes the change if it is one; whether the generation is `to` after that."""
        async with self._writing:
            known = self.state(command)
            if known is None or (known.state == "open" and (to != "open" or known.epoch < epoch)):
                await self._write(command, to, max(epoch, known.epoch if known else 0), reason)
            elif known.state == "published" and to == "undone":
                await self._write(command, to, known.epoch, reason)
            else:
                return known.state == to
        return True

    async def _write(self, command: JobCommand, state: State, epoch: int, reason: str | None) -> None:
        event = GenerationState(
            kb_id=command.kb_id,
            generation=command.generation,
            job_id=command.job_id,
            state=state,
            base=command.base,
            collection=collection_name(command.definition.embedding),
            epoch=epoch,
            changed_at=now(),
            reason=reason,
        )
        place = await self._publisher.send(event, partition=self.partition(command.kb_id))
        await self._follower.reached("kbs", place)
