"""The end of a crawl: done means proven.

1. The manifest is read up to the offset that `crawl_end` names and held against its count and digest.
2. Objects that the generation wrote but the manifest doesn't name are deleted; named ones that are missing (and not
   dead-lettered) are copied to the end of the log with a copy of `crawl_end` behind them, a bounded number of rounds.
3. What was visible at the published generation and is not in the manifest is retired.
4. The generation's state becomes `published`: one record, and a search sees all of it or nothing.
5. `job_finished` stands on `events`.
A crash between any two: `crawl_end` is not acked, so it comes again, and each step finds its work done. A `crawl_end`
whose generation is published already changes nothing of it any more, and tells 5 again.

A crawl that failed, or whose manifest is not the one it names: the generation is undone, its objects are deleted, 5 is
told. A crash in between: the state is undone and the job was not cancelled, so the `crawl_end` does the rest.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from consumer.embed import place_of
from consumer.generations import Generations
from consumer.item import Item, item_of
from consumer.judge import Judge
from consumer.parking import Parking
from consumer.reports import Reports
from consumer.stalls import Stalls
from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from headrace.state.parked import Parked
from headrace.vectors import Tenancy, VectorStore, live_ids
from schemas.chunks import Chunk, CrawlEnd
from schemas.codec import UndecodableRecord, decode, now
from schemas.commands import JobCommand
from schemas.facts import DeadLettered, JobFinished, Result
from schemas.identity import manifest_digest, page_key
from schemas.pages import PageRecord

log = logging.getLogger(__name__)

ROUNDS = 3
"""Times that missing chunks are requeued before the job ends with errors."""


@dataclass(frozen=True)
class Difference:
    """Between a manifest and what Weaviate holds, as sets of chunk ids.

    missing: named and neither visible at the generation nor dead-lettered; whether stored and retired, or not at all.
    """

    named: frozenset[str]
    visible: frozenset[str]
    extra: frozenset[str]
    missing: frozenset[str]
    retired: frozenset[str]


class Completion:
    def __init__(
        self,
        settings: Settings,
        store: VectorStore,
        stalls: Stalls,
        generations: Generations,
        parking: Parking,
        parked: Parked,
        reports: Reports,
        judge: Judge,
    ) -> None:
        self._judge = judge
        self._settings, self._store, self._stalls = settings, store, stalls
        self._generations, self._parking, self._parked = generations, parking, parked
        self._reports = reports
        self._rounds: Counter[str] = Counter()

    async def begin(self, command: JobCommand, epoch: int) -> None:
        await self._generations.open(command, epoch)

    async def end(self, command: JobCommand, item: Item) -> Result:
        """Publishes the generation, or says what is in the way: parked when it must wait, requeued when it moved."""
        assert isinstance(item.event, CrawlEnd)
        state = self._generations.state(command)
        if state is not None and state.state == "undone":
            return await self._fail(command, state.reason or "its generation is undone")
        if state is None or state.state == "open":
            if self._parked.of(command.job_id):
                await self._parking.park_span(command, item.raw.partition, item.raw.offset, item.raw.offset)
                return "parked"
            if item.raw.offset < self._parked.requeued_through(command.job_id):
                await self._parking.copy(item.raw, item.event)
                return "requeued"
            await self._generations.open(command, item.epoch)
            if item.event.failure:
                return await self._fail(command, item.event.failure)
        return await self._complete(command, item, item.event)

    async def _complete(self, command: JobCommand, item: Item, end: CrawlEnd) -> Result:
        manifest = await self._manifest(command, end)
        ids = frozenset(ref for page in manifest.values() for ref in page)
        dead = await self._dead_lettered(command)
        difference = await self._compare(command, ids, dead)
        state = self._generations.state(command)
        if state is None or state.state == "open":
            if len(manifest) != end.pages or manifest_digest(ids) != end.digest:
                return await self._fail(command, _mismatch(len(manifest), end))
            if difference.missing and await self._another_round(command, item, difference.missing):
                return "requeued"
            await self._repair(command, difference)
        if not await self._generations.publish(command):
            return "superseded"  # cancelled meanwhile: the keeper waits to delete what was written
        await self._finished(command, end, difference, len((dead & difference.named) - difference.visible))
        self._rounds.pop(command.job_id, None)
        return "done"

    async def _another_round(self, command: JobCommand, item: Item, missing: frozenset[str]) -> bool:
        """Whether missing chunks were requeued; a chunk that base wrote is not in this job's log."""
        if self._rounds[command.job_id] >= ROUNDS:
            return False
        self._rounds[command.job_id] += 1
        return await self._requeue(command, item, missing)

    async def _manifest(self, command: JobCommand, end: CrawlEnd) -> dict[str, list[str]]:
        """Page URL to chunk ids, by the newest record of the highest epoch."""
        pages: dict[str, PageRecord] = {}
        if end.pages_partition != self._generations.partition(command.kb_id):
            return {}  # there are no pages of this knowledge base
        prefix = page_key(command.kb_id, command.generation, "").encode()
        async for record in stream_span(
            self._settings.bootstrap_servers,
            "pages",
            end.pages_partition,
            0,
            end.pages_end_offset,
            prefix=self._settings.topic_prefix,
        ):
            if record.value is None or not (record.key or b"").startswith(prefix):
                continue
            try:
                page = decode("pages", record.headers, record.value)
            except UndecodableRecord as exc:
                log.warning("pages %d/%d is passed over: %s", record.partition, record.offset, exc)
                continue
            assert isinstance(page, PageRecord)
            if page.url not in pages or page.epoch >= pages[page.url].epoch:
                pages[page.url] = page
        return {url: [ref.id for ref in page.chunks] for url, page in pages.items()}

    async def _compare(self, command: JobCommand, named: frozenset[str], dead: frozenset[str]) -> Difference:
        place = place_of(command)
        rows = await self._stalls.retry(lambda: self._rows(place), [command])
        undone = self._generations.undone(command.kb_id)
        written = {chunk_id for chunk_id, born, _ in rows if born == command.generation}
        older = [row for row in rows if row[1] < command.generation]
        kept = live_ids(older, command.generation, undone)
        visible = named & (kept | written)
        return Difference(
            named=named,
            visible=frozenset(visible),
            extra=frozenset(written - named),
            missing=named - visible - dead,
            retired=frozenset(kept - named),
        )

    async def _rows(self, place: Tenancy) -> list[tuple[str, int, int]]:
        return [row async for row in self._store.ids(place)]

    async def _repair(self, command: JobCommand, difference: Difference) -> None:
        place = place_of(command)
        await self._stalls.retry(lambda: self._store.delete_ids(place, sorted(difference.extra)), [command])
        await self._stalls.retry(
            lambda: self._store.retire(place, sorted(difference.retired), command.generation), [command]
        )

    async def _dead_lettered(self, command: JobCommand) -> frozenset[str]:
        """Chunk ids of the job's dead letters."""
        found: set[str] = set()
        key = command.job_id.encode()
        async for record in self._until_now("events", command.partition):
            if record.key != key or not record.value or b'"dead_letter"' not in record.value:
                continue
            try:
                event = decode("events", record.headers, record.value)
            except UndecodableRecord as exc:
                log.warning("events %d/%d is passed over: %s", record.partition, record.offset, exc)
                continue
            if isinstance(event, DeadLettered) and event.chunk_id:
                found.add(event.chunk_id)
        return frozenset(found)

    async def _requeue(self, command: JobCommand, end: Item, missing: frozenset[str]) -> bool:
        """Copies every original of the missing chunks (an owner that slept may have written one that is stale)."""
        key, copied = command.job_id.encode(), 0
        async for record in stream_span(
            self._settings.bootstrap_servers,
            "chunks",
            command.partition,
            0,
            end.raw.offset,
            prefix=self._settings.topic_prefix,
        ):
            event = item_of(record).event if record.key == key else None
            if isinstance(event, Chunk) and event.chunk_id in missing and event.origin is None:
                copied += 1
                await self._parking.copy(record, event)
        log.warning("job %s: %d chunks are not stored; requeued %d copies", command.job_id, len(missing), copied)
        assert isinstance(end.event, CrawlEnd)
        if copied:
            await self._parking.copy(end.raw, end.event)
        return bool(copied)

    async def _until_now(self, topic: str, partition: int) -> AsyncIterator[RawRecord]:
        bootstrap, prefix = self._settings.bootstrap_servers, self._settings.topic_prefix
        end = await end_offset(bootstrap, topic, partition, prefix=prefix)
        async for record in stream_span(bootstrap, topic, partition, 0, end, prefix=prefix):
            yield record

    async def _fail(self, command: JobCommand, reason: str) -> Result:
        """Nothing of the generation can be published: it is undone, and the job failed."""
        if self._judge.cancelled(command.job_id):
            return "superseded"  # the keeper undoes it, and tells so
        log.warning("job %s failed: %s", command.job_id, reason)
        await self._generations.undo(command, reason)
        place = place_of(command)
        await self._stalls.retry(lambda: self._store.undo(place, command.generation), [command])
        event = JobFinished(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            outcome="failed",
            reason=reason,
            finished_at=now(),
        )
        await self._reports.publish(event, command.partition)
        return "done"

    async def _finished(self, command: JobCommand, end: CrawlEnd, difference: Difference, dead: int) -> None:
        flawed = bool(end.errors or difference.missing or dead)
        event = JobFinished(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            outcome="completed_with_errors" if flawed else "completed",
            pages=end.pages,
            chunks_named=len(difference.named),
            chunks_visible=len(difference.visible),
            chunks_missing=len(difference.missing) + dead,
            extras_deleted=len(difference.extra),
            chunks_retired=len(difference.retired),
            digest=end.digest,
            reason=_flaws(end, difference, dead) if flawed else None,
            finished_at=now(),
        )
        await self._reports.publish(event, command.partition)
        log.info("job %s %s: %d chunks of %d pages", command.job_id, event.outcome, event.chunks_visible, event.pages)


def _mismatch(pages: int, end: CrawlEnd) -> str:
    return f"the manifest ({pages} pages) is not the one that crawl_end names ({end.pages} pages, {end.digest[:12]}…)"


def _flaws(end: CrawlEnd, difference: Difference, dead: int) -> str:
    flaws = {"pages with errors": end.errors, "chunks missing": len(difference.missing), "chunks dead-lettered": dead}
    return ", ".join(f"{count} {what}" for what, count in flaws.items() if count)
