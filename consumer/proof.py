"""What a generation's manifest names, held against what Weaviate holds: sets of chunk ids, never counts."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from consumer.embed import place_of
from consumer.generations import Generations
from consumer.item import item_of
from consumer.manifest import Manifest
from consumer.stalls import Stalls
from headrace.errors import Outgrown
from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from headrace.state.manifest import BREATH, fold_pages
from headrace.vectors import VectorStore, live_ids
from schemas.chunks import CrawlBegin
from schemas.codec import UndecodableRecord, decode
from schemas.commands import JobCommand
from schemas.facts import DeadLettered
from schemas.identity import manifest_digest

log = logging.getLogger(__name__)

Row = tuple[str, int, int]
"""Of an object: chunk id, born, retired."""


@dataclass(frozen=True)
class Difference:
    """Between a manifest and what Weaviate holds, as sets of chunk ids; `digest` is that of the named ones.

    missing: named and neither visible at the generation nor dead-lettered; whether stored and retired, or not at all.
    dead: named, dead-lettered, and not visible. extra: written by the generation and not named. retired: of an older
    generation, visible, and not named.
    """

    named: frozenset[str]
    digest: str
    visible: frozenset[str]
    extra: frozenset[str]
    missing: frozenset[str]
    dead: frozenset[str]
    retired: frozenset[str]

    @property
    def not_indexed(self) -> frozenset[str]:
        return self.missing | self.dead

    def and_then(self, later: "Difference") -> "Difference":
        """`later` is what a repair of this one left to do."""
        return dataclasses.replace(later, extra=self.extra | later.extra, retired=self.retired | later.retired)


class Prover:
    """Reads; changes nothing. A proof of 100,000 chunks lets other tasks run."""

    def __init__(self, settings: Settings, store: VectorStore, stalls: Stalls, generations: Generations) -> None:
        self._settings, self._store, self._stalls, self._generations = settings, store, stalls, generations

    async def manifests(self, command: JobCommand, end: int | None = None) -> tuple[Manifest, Manifest | None]:
        """The generation's, and that of the published one if it is another, up to offset `end` of their partition.

        Raises Outgrown where they hold records of a newer writer: they would look like pages that are missing.
        """
        published = self._generations.published(command.kb_id)
        mine = Manifest(command.generation)
        before = Manifest(published.generation) if published and published.generation != mine.generation else None
        partition = self._generations.partition(command.kb_id)
        if end is None:
            end = await self._end("pages", partition)
        folds = [mine] if before is None else [mine, before]
        await fold_pages(self._settings, command.kb_id, partition, end, folds)
        if newer := {unknown for fold in folds for unknown in fold.newer.values()}:
            raise Outgrown("consumer", newer)
        return mine, before

    async def difference(self, command: JobCommand, manifest: Manifest) -> Difference:
        dead = await self._dead_lettered(command)
        place = place_of(command)
        rows = await self._stalls.retry(lambda: self._store.rows(place), [command])
        undone = self._generations.undone(command.kb_id)
        return await asyncio.to_thread(_difference, manifest, rows, dead, undone)

    async def rewritten(self, command: JobCommand, epoch: int, offset: int) -> bool:
        """Whether a newer epoch has recorded pages at `offset` of their partition or behind it."""
        partition, since = self._generations.partition(command.kb_id), Manifest(command.generation)
        end = await self._end("pages", partition)
        await fold_pages(self._settings, command.kb_id, partition, end, [since], first=offset)
        return any(page.epoch > epoch for page in since.records())

    async def begun_anew(self, command: JobCommand, epoch: int, offset: int) -> bool:
        """Whether a newer epoch is known of, or stands on the log behind `offset`, up to which it is read."""
        state = self._generations.state(command)
        if state is not None and state.epoch > epoch:
            return True
        key = command.job_id.encode()
        async for record in self._breathing("chunks", command.partition, offset + 1):
            found = item_of(record) if record.key == key else None
            if found and isinstance(found.event, CrawlBegin) and found.epoch > epoch:
                return True
        return False

    async def _dead_lettered(self, command: JobCommand) -> frozenset[str]:
        """Chunk ids of the job's dead letters."""
        found: set[str] = set()
        key = command.job_id.encode()
        async for record in self._breathing("events", command.partition):
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

    async def _breathing(self, topic: str, partition: int, first: int = 0) -> AsyncIterator[RawRecord]:
        """What stands there now."""
        end, read = await self._end(topic, partition), 0
        async for record in stream_span(
            self._settings.bootstrap_servers, topic, partition, first, end, prefix=self._settings.topic_prefix
        ):
            read += 1
            if read % BREATH == 0:
                await asyncio.sleep(0)
            yield record

    async def _end(self, topic: str, partition: int) -> int:
        return await end_offset(self._settings.bootstrap_servers, topic, partition, prefix=self._settings.topic_prefix)


def _difference(manifest: Manifest, rows: list[Row], dead: frozenset[str], undone: frozenset[int]) -> Difference:
    named, generation = manifest.named(), manifest.generation
    written = {chunk_id for chunk_id, born, _ in rows if born == generation}
    kept = live_ids((row for row in rows if row[1] < generation), generation, undone)
    visible = named & (kept | written)
    return Difference(
        named=named,
        digest=manifest_digest(named),
        visible=frozenset(visible),
        extra=frozenset(written - named),
        missing=named - visible - dead,
        dead=(dead & named) - visible,
        retired=frozenset(kept - named),
    )
