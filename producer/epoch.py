"""One epoch of one job, whatever it takes its pages from: its beginning, its manifest, its end.

A job that crawls (`crawl`) and one that embeds the stored texts of another generation anew (`reembed`) are alike in all
that the log sees of them, and so in all that consumer and control do with them.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from producer.checkpoint import Checkpoint, Manifest
from producer.publication import Publication
from producer.tally import Tally
from producer.tools import Tools
from schemas.chunks import CrawlBegin, CrawlEnd
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.facts import CrawlCounts
from schemas.identity import partition_for
from schemas.pages import PageRecord

log = logging.getLogger(__name__)

REPORT_S: Final = 1.0


@dataclass(frozen=True)
class Ending:
    """The crawl is over and `crawl_end` is on the log; `failure` as it stands there."""

    epoch: int
    counts: CrawlCounts
    failure: str | None


class Epoch(ABC):
    """`run` once; `halt` makes it stop at the next page border."""

    def __init__(self, command: JobCommand, tools: Tools) -> None:
        self._command, self._tools = command, tools
        self._pages_partition = partition_for(command.kb_id, tools.pages_partitions)
        self._checkpoint = Checkpoint(tools.settings, command.kb_id, self._pages_partition)
        self._tally = Tally(command.generation, command.reembeds is not None)
        self._publication: Publication | None = None
        self._read_to = 0
        self._last_epoch = 0
        self._newest = 0
        self._halting = False
        self._recorded = 0
        self.cut_off = False
        """Whether pages were given up while they were being published: they may be on the log and not in `counts`."""

    @abstractmethod
    async def run(self) -> Ending | None:
        """None when halted, or when another epoch must begin."""

    @abstractmethod
    async def look(self) -> None:
        """Instead of `run`: makes `counts` and `epoch` those of the log, for a job that is not to go on now."""

    @property
    @abstractmethod
    def counts(self) -> CrawlCounts: ...

    @property
    def epoch(self) -> int:
        """Before `crawl_begin` is on the log, the last one that recorded a page; 0 if none did."""
        return self._last_epoch if self._begun is None else self._begun

    def outlived_by(self, epoch: int) -> bool:
        """Whether `epoch`, which readers have seen, or one that this has seen, makes them drop what this one writes."""
        return self._begun is not None and max(epoch, self._newest) > self._begun

    def lost(self, recrawl: int) -> bool:
        """Whether records that this epoch may count on were lost; see `GenerationState.recrawl`."""
        return self._begun is not None and self._begun <= recrawl

    @property
    def progressed(self) -> bool:
        """Whether it recorded a page."""
        return self._recorded > 0

    def halt(self) -> None:
        """No further page is begun; `run` returns None when those under way are recorded. Cancel it to be quicker."""
        self._halting = True

    async def settle(self) -> None:
        """After `run`, however it ended: waits until nothing of it is on its way to the log."""
        if self._publication is not None:
            await self._publication.settle()

    @property
    def _stalled(self) -> bool:
        """A stall was told, which the next report would end."""
        return False

    @property
    def _begun(self) -> int | None:
        return self._publication.epoch if self._publication else None

    async def _begin(self) -> Publication:
        command = self._command
        event = CrawlBegin(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            base=command.base,
            owner=self._tools.reports.owner,
            began_at=now(),
        )
        place = await self._tools.publisher.send(event, partition=command.partition)
        self._publication = Publication(command, place.offset, self._tools.publisher, self._pages_partition)
        return self._publication

    def _note(self, page: PageRecord) -> None:
        self._tally.add(page)
        self._tools.metrics.recorded(page)
        self._recorded += 1

    def _overtaken(self, manifest: Manifest) -> bool:
        """Whether a newer owner has recorded pages."""
        self._newest = max(manifest.epochs, default=0)
        return self._newest > self.epoch

    async def _end(
        self,
        publication: Publication,
        manifest: Manifest,
        failure: str | None,
        *,
        frontier_emptied: bool,
        counts: CrawlCounts,
    ) -> Ending:
        command = self._command
        event = CrawlEnd(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            epoch=publication.epoch,
            pages=len(manifest.pages),
            pages_partition=self._pages_partition,
            pages_end_offset=manifest.end,
            digest=await asyncio.to_thread(manifest.digest),
            frontier_emptied=frontier_emptied,
            errors=manifest.errors,
            scope_revision=command.scope_revision,
            failure=failure,
            ended_at=now(),
        )
        await self._tools.publisher.send(event, partition=command.partition)
        log.info("job %s: %d pages, %s", command.job_id, event.pages, failure or f"{event.errors} errors")
        return Ending(publication.epoch, counts, failure)

    async def _report_progress(self) -> None:
        """Waits for each report's delivery, so that none pile up while Kafka is away."""
        while True:
            if not self._stalled:
                await self._tools.reports.report(self._command, "crawling", epoch=self.epoch, counts=self.counts)
            await asyncio.sleep(REPORT_S)


async def cancelled(*tasks: "asyncio.Task[None]") -> None:
    """Returns once they are."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
