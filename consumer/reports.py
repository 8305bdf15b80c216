"""What the consumer tells on `events`."""

from typing import Literal

from consumer.guard import Loss
from headrace.kafka.publisher import Publisher
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.events import Event
from schemas.facts import ChunksMissing, IndexReport, RecordsLost, ReviewNeeded, Stall, Vacuumed


class Reports:
    """Facts about jobs, published to their partition; each call returns once the fact is on the log."""

    def __init__(self, publisher: Publisher, worker: str) -> None:
        self._publisher, self.worker = publisher, worker
        self.group_generation = 0

    async def publish(self, event: Event, partition: int) -> None:
        await self._publisher.send(event, partition=partition)

    async def hand_over(self, event: Event, partition: int) -> None:
        """Returns before it is on the log; what is published to the partition after stands behind it."""
        await self._publisher.publish(event, partition=partition)

    async def running(self, command: JobCommand) -> None:
        await self._index(command, "running", 0)

    async def holding(self, command: JobCommand) -> None:
        await self._index(command, "holding", 0)

    async def undone(self, command: JobCommand, objects_deleted: int) -> None:
        await self._index(command, "undone", objects_deleted)

    async def stall(self, command: JobCommand, *, dependency: str, reason: str, since: str, ended: bool) -> None:
        event = Stall(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            service="consumer",
            dependency=dependency,
            reason=reason,
            since=since,
            ended=ended,
        )
        await self.publish(event, command.partition)

    async def review(self, command: JobCommand, lost: Loss, *, digest: str, max_share: float, reason: str) -> None:
        event = ReviewNeeded(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            revision=command.revision,
            digest=digest,
            pages_before=lost.before,
            pages_vanished=lost.vanished,
            pages_failed=lost.failed,
            max_vanished_share=max_share,
            reason=reason,
            reported_at=now(),
        )
        await self.publish(event, command.partition)

    async def lost(self, command: JobCommand, needed: Literal["unread", "parked"], first: int, end: int) -> None:
        event = RecordsLost(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            partition=command.partition,
            first=first,
            end=end,
            needed=needed,
            worker=self.worker,
            reported_at=now(),
        )
        await self.publish(event, command.partition)

    async def missing(self, command: JobCommand, epoch: int, *, chunks: int, pages: int) -> None:
        event = ChunksMissing(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            epoch=epoch,
            chunks=chunks,
            pages=pages,
            worker=self.worker,
            reported_at=now(),
        )
        await self.publish(event, command.partition)

    async def vacuumed(self, kb_id: str, below: int, deleted: int, partition: int) -> None:
        event = Vacuumed(kb_id=kb_id, below=below, objects_deleted=deleted, worker=self.worker, vacuumed_at=now())
        await self.publish(event, partition)

    async def _index(self, command: JobCommand, state: str, objects_deleted: int) -> None:
        event = IndexReport(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            state=state,  # type: ignore[arg-type]
            revision=command.revision,
            group_generation=self.group_generation,
            worker=self.worker,
            objects_deleted=objects_deleted,
            reported_at=now(),
        )
        await self.publish(event, command.partition)
