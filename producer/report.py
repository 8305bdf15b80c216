"""The producer's word on a job, on `events`."""

from typing import Literal

from headrace.kafka.publisher import Publisher
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.facts import CrawlCounts, CrawlReport, Stall

State = Literal["crawling", "holding", "finished", "failed"]


class Reports:
    """Publishes a job's reports; each call returns once the report is on the log."""

    def __init__(self, publisher: Publisher, owner: str) -> None:
        self._publisher, self.owner = publisher, owner

    async def report(
        self, command: JobCommand, state: State, *, epoch: int, counts: CrawlCounts, reason: str | None = None
    ) -> None:
        event = CrawlReport(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            state=state,
            revision=command.revision,
            epoch=epoch,
            counts=counts,
            reason=reason,
            owner=self.owner,
            reported_at=now(),
        )
        await self._publisher.send(event, partition=command.partition)

    async def stall(self, command: JobCommand, *, dependency: str, reason: str, since: str | None = None) -> None:
        """It is over with the job's next report, by whomever. `since` defaults to now."""
        event = Stall(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            service="producer",
            dependency=dependency,
            reason=reason,
            since=since or now(),
        )
        await self._publisher.send(event, partition=command.partition)
