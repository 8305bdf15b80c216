"""Writing a generation's durable state on `kbs`: open, then published or undone."""

from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.state.kbs import KnowledgeBases
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.identity import partition_for
from schemas.kb import GenerationState, collection_name


class Generations:
    """The consumer's pen for generation states. Each change returns once it stands on the log and is known here."""

    def __init__(self, publisher: Publisher, follower: Follower, kbs: KnowledgeBases, partitions: int) -> None:
        self._publisher, self._follower, self._kbs = publisher, follower, kbs
        self._partitions = partitions

    def state(self, command: JobCommand) -> GenerationState | None:
        return self._kbs.generation(command.kb_id, command.generation)

    def undone(self, kb_id: str) -> frozenset[int]:
        return self._kbs.undone(kb_id)

    def published(self, kb_id: str) -> GenerationState | None:
        return self._kbs.published(kb_id)

    async def open(self, command: JobCommand, epoch: int) -> None:
        """Opens the generation, or notes that a newer owner (`epoch`) crawls it. An ended one is left as it is."""
        known = self.state(command)
        if known is None or (known.state == "open" and known.epoch < epoch):
            await self._write(command, "open", epoch, None)

    async def publish(self, command: JobCommand) -> None:
        known = self.state(command)
        await self._write(command, "published", known.epoch if known else 0, None)

    async def undo(self, command: JobCommand, reason: str) -> None:
        known = self.state(command)
        if known is None or known.state != "undone":
            await self._write(command, "undone", known.epoch if known else 0, reason)

    async def _write(self, command: JobCommand, state: str, epoch: int, reason: str | None) -> None:
        event = GenerationState(
            kb_id=command.kb_id,
            generation=command.generation,
            job_id=command.job_id,
            state=state,  # type: ignore[arg-type]
            base=command.base,
            collection=collection_name(command.definition.embedding),
            epoch=epoch,
            changed_at=now(),
            reason=reason,
        )
        place = await self._publisher.send(event, partition=partition_for(command.kb_id, self._partitions))
        await self._follower.reached("kbs", place)
