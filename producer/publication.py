"""Publishing a page, so that a `pages` record stands for chunks that are on the log.

1. The page's new chunks go to `chunks`, in the job's partition; those that base has already are named only.
2. `page_end` goes behind them and names all the page's ids.
3. Every delivery report of 1 and 2 has come: the broker has them, on all replicas in sync.
4. The page's record goes to `pages`.
5. Its delivery report has come: the page counts as visited.
A crash before 4 is on the log leaves a page without a record: the next owner fetches it again, under its own epoch.
Its content may differ by then; ids that its `page_end` and record don't name are extras, which the proof deletes. A
crash between 4 and 5 changes nothing: the next owner reads the record. Being cut off (a pause, a lost partition) is
like a crash, save that records may still be on their way: `settle` waits for those before the log is read again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException

from headrace.kafka.publisher import Publisher, wait_all
from producer.chunker import ChunkText
from producer.frontier import Entry
from producer.visit import Visit
from producer.work import PageOutput
from schemas import identity
from schemas.chunks import Chunk, PageEnd
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.pages import ChunkRef, PageRecord, PageState

log = logging.getLogger(__name__)

MAX_CHUNKS: Final = 10_000
"""Chunks of one page: its record names each in 60 bytes, and a record has room for 1 MB."""
MAX_LINK_BYTES: Final = 300_000
"""Links in one page's record, so that the two together fit: about 4,000 of them."""
MAX_NOFOLLOW_BYTES: Final = 30_000
"""Of links that nobody follows and only people look at."""


@dataclass(frozen=True)
class Plan:
    """What a page's content means for the log: chunks to write, and the refs of all, kept ones included."""

    new: tuple[Chunk, ...]
    refs: tuple[ChunkRef, ...]


class Publication:
    """Writes the pages of one epoch. Used from one event loop, for many pages at once."""

    def __init__(self, command: JobCommand, epoch: int, publisher: Publisher, pages_partition: int) -> None:
        self._command, self.epoch = command, epoch
        self._publisher, self._pages_partition = publisher, pages_partition
        self._out: set[asyncio.Future[Place]] = set()

    async def publish(self, visit: Visit, base: PageRecord | None, stored: PageRecord | None) -> PageRecord:
        """Steps 1 to 5. Waits for as long as Kafka is away. `stored` is base with those chunks alone that are there."""
        fetched_at = now()
        try:
            return await self._publish(visit, base, stored, fetched_at)
        except UnicodeEncodeError:
            # A fault of ours that this page brings out, which must not end every epoch of the crawl.
            log.exception("what %s holds can't be written", visit.entry.url)
            visit = msgspec.structs.replace(visit, result=None)
            visit, plan = self._refused(visit, base, "it holds text that is no Unicode", "failed")
            return await self.record(self._record(visit, plan, base, fetched_at))

    async def _publish(
        self, visit: Visit, base: PageRecord | None, stored: PageRecord | None, fetched_at: str
    ) -> PageRecord:
        plan = self._plan(visit, base, stored, fetched_at)
        if plan is None:
            visit, plan = self._refused(visit, base, _too_many(visit))
        try:
            end = None
            if visit.content is not None:
                end = await self._publish_chunks(visit.entry.url, visit.attempt, plan)
            page = self._record(visit, plan, base, fetched_at)
            return await self.record(msgspec.structs.replace(page, page_end_offset=end.offset if end else None))
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            # This page is bad: a piece of it that no cut made small enough.
            visit, plan = self._refused(visit, base, "a chunk is too large")
            return await self.record(self._record(visit, plan, base, fetched_at))

    async def record(self, page: PageRecord) -> PageRecord:
        """Steps 4 and 5 alone, for a page that has nothing to say on `chunks`."""
        await self._hand_over((page,), self._pages_partition)
        return page

    async def copy(self, page: PageRecord, chunks: tuple[Chunk, ...]) -> PageRecord:
        """Steps 1 to 5 for a page of another generation: `page` is its record in this one, which names `chunks`."""
        end = await self._publish_chunks(page.url, page.attempt, Plan(chunks, page.chunks)) if chunks else None
        return await self.record(msgspec.structs.replace(page, page_end_offset=end.offset if end else None))

    async def leave_out(self, entry: Entry, reason: str) -> PageRecord:
        """Records a page that is out of scope and was not asked for."""
        visit = Visit(entry=entry, attempt=0, state="out_of_scope", reason=reason)
        return await self.record(self._record(visit, Plan((), ()), None, now()))

    async def settle(self) -> None:
        """Waits until nothing of this epoch is on its way any more."""
        await wait_all(self._out)

    async def _publish_chunks(self, url: str, attempt: int, plan: Plan) -> Place:
        """Steps 1 to 3; the place of `page_end`."""
        partition = self._command.partition
        end = PageEnd(
            job_id=self._command.job_id,
            kb_id=self._command.kb_id,
            generation=self._command.generation,
            epoch=self.epoch,
            attempt=attempt,
            url=url,
            chunk_ids=tuple(ref.id for ref in plan.refs),
        )
        return await self._hand_over((*plan.new, end), partition)

    async def _hand_over(self, events: Iterable[Event], partition: int) -> Place:
        """The place of the last, once all have their reports. A caller that is cancelled leaves them on their way."""
        sent: list[asyncio.Future[Place]] = []
        try:
            for event in events:
                sent.append(await self._publisher.publish(event, partition=partition))
                self._out.add(sent[-1])
            await wait_all(sent)
        finally:
            self._out.difference_update(future for future in sent if future.done())
        return sent[-1].result()

    def _plan(self, visit: Visit, base: PageRecord | None, stored: PageRecord | None, fetched_at: str) -> Plan | None:
        """None for a page with more chunks than its record can name."""
        if visit.content is None:
            kept = base.chunks if base is not None and visit.state in ("unchanged", "kept") else ()
            return Plan((), kept)
        if len(visit.content.chunks) > MAX_CHUNKS:
            return None
        return plan_chunks(self._command, self.epoch, visit, visit.content, stored, fetched_at)

    def _refused(
        self, visit: Visit, base: PageRecord | None, reason: str, state: PageState = "skipped"
    ) -> tuple[Visit, Plan]:
        """A page that we can't take, behind a limit of ours or by a fault: what base has of it stays."""
        visit = msgspec.structs.replace(visit, reason=reason, content=None)
        if base is None:
            return msgspec.structs.replace(visit, state=state), Plan((), ())
        links = tuple(dict.fromkeys((*visit.links, *base.links)))
        return msgspec.structs.replace(visit, state="kept", links=links), Plan((), base.chunks)

    def _record(self, visit: Visit, plan: Plan, base: PageRecord | None, fetched_at: str) -> PageRecord:
        content, result = visit.content, visit.result
        links, truncated = _within(visit.links, MAX_LINK_BYTES)
        known = base if content is None and visit.state in ("unchanged", "kept") else None
        source = content or known
        return PageRecord(
            kb_id=self._command.kb_id,
            generation=self._command.generation,
            job_id=self._command.job_id,
            epoch=self.epoch,
            attempt=visit.attempt,
            url=visit.entry.url,
            state=self._state(visit, plan, base),
            status=visit.status,
            reason=visit.reason,
            depth=visit.entry.depth,
            discovered_from=visit.entry.discovered_from,
            title=source.title if source else "",
            language=source.language if source else None,
            canonical_url=source.canonical_url if source else None,
            description=source.description if source else None,
            published_on=source.published_on if source else None,
            content_type=known.content_type if known else result.content_type if result else None,
            etag=known.etag if known else result.etag if result else None,
            last_modified=known.last_modified if known else result.last_modified if result else None,
            content_hash=content.content_hash if content else known.content_hash if known else visit.content_hash,
            template=known.template if known else visit.template,
            bytes=visit.received,
            duration_ms=round(visit.duration_ms),
            chunks=plan.refs,
            instead=visit.instead,
            links=links,
            nofollow_links=_within(visit.nofollow_links, MAX_NOFOLLOW_BYTES)[0],
            links_truncated=truncated or (known is not None and known.links_truncated),
            scope_revision=self._command.scope_revision,
            fetched_at=fetched_at,
        )

    def _state(self, visit: Visit, plan: Plan, base: PageRecord | None) -> PageState:
        """Unchanged is told of what an older generation has."""
        content = visit.content
        if content is None or base is None or plan.new or base.generation == self._command.generation:
            return visit.state
        same = content.content_hash == base.content_hash and {*plan.refs} == {*base.chunks}
        return "unchanged" if same else visit.state


def plan_chunks(
    command: JobCommand, epoch: int, visit: Visit, content: PageOutput, base: PageRecord | None, fetched_at: str
) -> Plan:
    """Pure. A chunk that base's record of the page names keeps its id and its `born`, and is not written again."""
    kept = {ref.id: ref for ref in base.chunks} if base is not None else {}
    births = {ref.born for ref in kept.values()}
    times: Counter[tuple[str, tuple[str, ...]]] = Counter()
    new: list[Chunk] = []
    refs: list[ChunkRef] = []
    for piece in content.chunks:
        occurrence = times[piece.text, piece.heading_path]
        times[piece.text, piece.heading_path] += 1
        doc_hash = identity.doc_hash(
            piece.text, url=content.url, heading_path=piece.heading_path, occurrence=occurrence
        )
        older = (identity.chunk_id(command.kb_id, born, doc_hash) for born in births)
        ref = next((kept[chunk_id] for chunk_id in older if chunk_id in kept), None)
        if ref is None:
            chunk = _chunk(command, epoch, visit, content, piece, doc_hash, occurrence, fetched_at)
            ref = ChunkRef(chunk.chunk_id, command.generation)
            new.append(chunk)
        refs.append(ref)
    return Plan(tuple(new), tuple(refs))


def _chunk(
    command: JobCommand,
    epoch: int,
    visit: Visit,
    content: PageOutput,
    piece: ChunkText,
    doc_hash: str,
    occurrence: int,
    fetched_at: str,
) -> Chunk:
    return Chunk(
        job_id=command.job_id,
        kb_id=command.kb_id,
        generation=command.generation,
        epoch=epoch,
        attempt=visit.attempt,
        chunk_id=identity.chunk_id(command.kb_id, command.generation, doc_hash),
        doc_hash=doc_hash,
        text_hash=identity.text_hash(identity.embedding_input(piece.title, piece.heading_path, piece.text)),
        url=content.url,
        title=piece.title,
        heading_path=piece.heading_path,
        ordinal=piece.ordinal,
        occurrence=occurrence,
        text=piece.text,
        tokens=piece.tokens,
        language=content.language,
        fetched_at=fetched_at,
    )


def _too_many(visit: Visit) -> str:
    count = len(visit.content.chunks) if visit.content else 0
    return f"too long: {count} chunks, a page may have {MAX_CHUNKS}"


def _within(links: Iterable[str], max_bytes: int) -> tuple[tuple[str, ...], bool]:
    """As many links, from the first on, as fit; and whether any did not."""
    fitting: list[str] = []
    size = 0
    for link in links:
        size += len(link.encode()) + 3
        if size > max_bytes:
            return tuple(fitting), True
        fitting.append(link)
    return tuple(fitting), False
