"""The concurrent half of a batch: judge, look up what is stored already, embed the rest."""

import asyncio
import logging
import time
from collections.abc import Callable

from consumer.calls import Calls, Text
from consumer.item import Batch, Item, Newer
from consumer.judge import Judge
from consumer.shares import Shares
from consumer.stalls import GaveUp, Stalls
from consumer.vector_cache import VectorCache
from headrace import tracing
from headrace.errors import Outgrown
from headrace.vectors import Tenancy, VectorStore
from schemas.chunks import Chunk
from schemas.commands import JobCommand, collection_of
from schemas.identity import embedding_input

log = logging.getLogger(__name__)


class EmbedStage:
    """`prepare` leaves every chunk of a batch with a vector, or with a result that needs none."""

    def __init__(
        self,
        judge: Judge,
        shares: Shares,
        stalls: Stalls,
        store: VectorStore,
        calls: Calls,
        cache: VectorCache,
        step_aside: Callable[[JobCommand, str], None],
    ) -> None:
        self._judge, self._shares, self._stalls, self._store, self._calls = judge, shares, stalls, store, calls
        self._cache, self._step_aside = cache, step_aside

    async def prepare(self, batch: Batch) -> None:
        began_ns = time.time_ns()
        await self._prepare(batch)
        if tracing.on():
            batch.prepared_ns = began_ns, time.time_ns()

    async def _prepare(self, batch: Batch) -> None:
        for item in batch.items:
            await self._judge.judge(item)
            if isinstance(item.event, Newer) and item.result == "parked":
                await self._outgrown(item, item.event)
        for items in batch.jobs().values():
            self._shares.set_aside(items)
        jobs = [items for items in batch.jobs().values() if any(_wanted(item) for item in items)]
        await asyncio.gather(*(self._prepare_job([i for i in items if _wanted(i)]) for items in jobs))

    async def _outgrown(self, item: Item, event: Newer) -> None:
        """Of a job that is over only a repair waits, and no status says so."""
        assert item.command is not None
        if not self._judge.ended(item.command):
            await self._stalls.tell([item.command], Outgrown("consumer", {event.written_as}))

    async def _prepare_job(self, items: list[Item]) -> None:
        command = items[0].command
        assert command is not None
        place = place_of(command)
        try:
            await self._reuse(command, place, items)
            await self._embed(command, place, items)
        except GaveUp as exc:
            if exc.cause.dependency not in ("Weaviate", "job") and self._judge.may_embed(command.job_id):
                self._step_aside(command, exc.cause.dependency)
            for item in items:
                if _wanted(item):
                    item.result = "parked"

    async def _reuse(self, command: JobCommand, place: Tenancy, items: list[Item]) -> None:
        """What this knowledge base holds already is not paid for again."""
        chunks = [_chunk(item) for item in items]
        found = await self._stalls.retry(
            lambda: self._store.lookup(place, [c.chunk_id for c in chunks], [c.text_hash for c in chunks]),
            [command],
            lambda cause, waited_s: self._judge.may_embed(command.job_id),
            server="Weaviate",
        )
        for item, chunk in zip(items, chunks, strict=True):
            if chunk.chunk_id in found.ids:
                item.result = "duplicate"
            elif chunk.text_hash in found.vectors:
                item.vector, item.reused = found.vectors[chunk.text_hash], True

    async def _embed(self, command: JobCommand, place: Tenancy, items: list[Item]) -> None:
        """Each distinct text once, over all batches under way; another batch's vector is waited for.

        Raises GaveUp; what was paid for until then has its vectors, and is written rather than parked. Of a job that
        gives way the rest is set aside, but for copies: their text may have been another item's to embed.
        """
        while items := self._left(items):
            claimed, awaited = self._cache.claim(place, [_chunk(item).text_hash for item in items])
            try:
                mine = {_chunk(i).text_hash: i for i in items if _chunk(i).text_hash in claimed}
                await self._embed_texts(command, place, list(mine.values()))
            finally:
                self._cache.release(place, claimed)
                self._hand_out(place, items, mine)
            await asyncio.gather(*awaited, return_exceptions=True)

    def _left(self, items: list[Item]) -> list[Item]:
        """What is wanted still; nothing of a job that gives way by now."""
        self._shares.set_aside(items)
        return [item for item in items if _wanted(item)]

    def _hand_out(self, place: Tenancy, items: list[Item], mine: dict[str, Item]) -> None:
        for item in items:
            vector = self._cache.get(place, _chunk(item).text_hash)
            if vector is not None and item.result is None:
                item.vector, item.reused = vector, mine.get(_chunk(item).text_hash) is not item

    async def _embed_texts(self, command: JobCommand, place: Tenancy, items: list[Item]) -> None:
        texts = [_text(item) for item in items]
        try:
            await self._calls.embed(command, texts)
        finally:
            for item, text in zip(items, texts, strict=True):
                if text.vector is not None:
                    self._cache.put(place, _chunk(item).text_hash, text.vector)
                elif text.refused is not None:
                    item.refuse("embed", text.refused)


def place_of(command: JobCommand) -> Tenancy:
    return Tenancy(collection_of(command), command.kb_id)


def _wanted(item: Item) -> bool:
    return isinstance(item.event, Chunk) and item.result is None and item.vector is None


def _chunk(item: Item) -> Chunk:
    assert isinstance(item.event, Chunk)
    return item.event


def _text(item: Item) -> Text:
    """A record that counts no tokens, written by hand, has no more than bytes."""
    chunk = _chunk(item)
    text = embedding_input(chunk.title, chunk.heading_path, chunk.text)
    tokens = chunk.tokens if chunk.tokens > 0 else len(text.encode())
    traceparent = tracing.parent_of(item.raw.headers or ()) if tracing.on() else None
    return Text(text, tokens, may_wait=chunk.origin is None, traceparent=traceparent)
