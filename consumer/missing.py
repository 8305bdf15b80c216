"""Chunks that a manifest names and Weaviate does not hold: copied again, or fetched again.

Where the log still holds a chunk's original, it is copied to the end of the log, with a copy of `crawl_end` behind it
that counts the rounds. Where it does not, its page is sent back to the producer: the log's start has moved; or the
chunk is one of base, which an unchanged page names, and Weaviate's data is lost.

1. `chunks_missing` stands on `events`; nothing of 1 to 3 where the newest state says that another owner has dealt with
   this `crawl_end` meanwhile. Crash after: the `crawl_end` comes again, and tells the same of the same epoch.
2. Tombstones of the pages that name such chunks are delivered on `pages`. Crash after: the `crawl_end` comes again; it
   names an end before the tombstones, so the same pages are found.
3. The generation's state asks for a crawl that begins behind the end of the job's partition, read after 2, and names
   the missing chunks of base: a crawl that believed in those would be told "not modified", and record them again. An
   epoch that began before may have recorded those pages already, and its `crawl_end` names an end before the
   tombstones: it begins anew too. One that begins between the two may be told "not modified" all the same: then the
   next proof sends those pages back once more. Crash after: the `crawl_end` comes again, and is superseded by that
   state.
4. The `crawl_end` is superseded. The producer begins a new epoch, in which pages without a record are fetched.
Both at most `ROUNDS` times: the rounds are counted in `crawl_end`'s copies, the crawls in the state. A page of base
that such a crawl can't read, or doesn't come to, is kept with all that it names, and is not sent back again: what is
missing of it is told at the job's end.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from consumer.generations import Generations
from consumer.item import Item, item_of
from consumer.judge import Judge
from consumer.manifest import Manifest
from consumer.parking import Parking
from consumer.reports import Reports
from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.publisher import Publisher, wait_all
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.chunks import Chunk, CrawlEnd
from schemas.commands import JobCommand
from schemas.facts import Result
from schemas.identity import page_key

log = logging.getLogger(__name__)

ROUNDS = 3
"""Times that missing chunks are copied, and fetched, again before the job ends with errors."""


COPIES_AT_ONCE = 500
"""Copies whose delivery is waited for together: 1.5 MB of usual chunks."""


class Missing:
    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        parking: Parking,
        generations: Generations,
        judge: Judge,
        reports: Reports,
    ) -> None:
        self._settings, self._publisher, self._parking = settings, publisher, parking
        self._generations, self._judge, self._reports = generations, judge, reports

    async def again(
        self, command: JobCommand, item: Item, manifest: Manifest, missing: frozenset[str]
    ) -> Result | None:
        """What became of the `crawl_end`, or None where nothing more can be done for what is missing."""
        end = item.event
        assert isinstance(end, CrawlEnd)
        if not missing or end.proof_round >= ROUNDS:
            return None
        own, of_base = missing & manifest.own(), missing & manifest.of_base()
        copied = await self._copy(command, item, own) if own else frozenset[str]()
        lost = of_base | (own - copied)
        if lost and self._crawls(command) < ROUNDS:
            await self._judge.refresh()
            if not self._judge.over(item) and not self._judge.ended(command):
                urls = manifest.naming(lost)
                await self._reports.missing(command, item.epoch, chunks=len(lost), pages=len(urls))
                await self._send_back(command, urls, of_base)
            return "superseded"
        if copied:
            await self._parking.copy(item.raw, end, proof_round=end.proof_round + 1)
            return "requeued"
        return None

    async def _copy(self, command: JobCommand, end: Item, missing: frozenset[str]) -> frozenset[str]:
        """Copies every original of the missing chunks (an owner that slept may have written one that is stale)."""
        copied: set[str] = set()
        waiting: list[tuple[RawRecord, Chunk]] = []
        async for record, chunk in self._originals(command, end.raw.offset, missing):
            copied.add(chunk.chunk_id)
            waiting.append((record, chunk))
            if len(waiting) == COPIES_AT_ONCE:
                await asyncio.gather(*(self._parking.copy(*each) for each in waiting))
                waiting.clear()
        await asyncio.gather(*(self._parking.copy(*each) for each in waiting))
        log.warning("job %s: %d chunks are not stored; %d are copied", command.job_id, len(missing), len(copied))
        return frozenset(copied)

    async def _originals(
        self, command: JobCommand, end: int, missing: frozenset[str]
    ) -> AsyncIterator[tuple[RawRecord, Chunk]]:
        key, bootstrap = command.job_id.encode(), self._settings.bootstrap_servers
        async for record in stream_span(
            bootstrap, "chunks", command.partition, 0, end, prefix=self._settings.topic_prefix
        ):
            event = item_of(record).event if record.key == key else None
            if isinstance(event, Chunk) and event.chunk_id in missing and event.origin is None:
                yield record, event

    def _crawls(self, command: JobCommand) -> int:
        state = self._generations.state(command)
        return state.recrawls if state else 0

    async def _send_back(self, command: JobCommand, urls: list[str], of_base: frozenset[str]) -> None:
        """2 and 3."""
        log.warning("job %s: chunks of %d pages are lost; they are fetched again", command.job_id, len(urls))
        partition = self._generations.partition(command.kb_id)
        keys = [page_key(command.kb_id, command.generation, url) for url in urls]
        await wait_all([await self._publisher.tombstone("pages", key, partition=partition) for key in keys])
        bootstrap, prefix = self._settings.bootstrap_servers, self._settings.topic_prefix
        end = await end_offset(bootstrap, "chunks", command.partition, prefix=prefix)
        await self._generations.recrawl(command, end - 1, of_base)
