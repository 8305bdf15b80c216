"""One epoch of a job that embeds the stored texts of a published generation anew: no page is fetched.

1. `crawl_begin` is on the log, as for a crawl.
2. The KB's partition of `pages` is read to its end: the manifest whose texts are embedded anew, and the pages of this
   generation with a record, which are done.
3. The texts of each page that is left are read from Weaviate, and published like a crawl's (`publication`): the same
   text, URL, headings and `doc_hash`, under an id of this generation. The page's record is copied with them, links and
   validators too, so that a refresh of this generation asks for what changed and no more.
4. All records have their delivery report. The partition is read once more: pages that another owner has recorded after
   2, or whose chunks it wrote after 1, are done again. The epoch ends without a `crawl_end` where a page has no record
   any more, or a newer owner has recorded pages.
5. `crawl_end`, once.
A crash after 1, or between two steps up to 5: the next owner's epoch begins, and the records say what is left to do.
What it publishes twice has the same ids. After 5: the next owner finds nothing left and sends a `crawl_end` of its own.

A text that is not stored (it could not be indexed then) is left out, and its page's record loses hash and validators:
the next refresh reads the page, and sends what is missing. Pages that were gone or out of scope are not copied.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from headrace.errors import DependencyUnwell
from producer.base import WITH_CONTENT
from producer.checkpoint import Manifest
from producer.epoch import Ending, Epoch, cancelled
from producer.publication import Publication
from producer.stored import PagesView
from producer.tokens import Tokens, tokens_for
from producer.tools import Tools
from schemas import identity
from schemas.chunks import Chunk
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.facts import CrawlCounts
from schemas.kb import GenerationState, tokenizer_of
from schemas.pages import ChunkRef, PageRecord

if TYPE_CHECKING:
    from headrace.vectors import StoredChunk

log = logging.getLogger(__name__)

TEXTS_AT_ONCE: Final = 500
"""Read from Weaviate in one go: some 2 MB. A page is never parted, so the last of its texts may be more."""
TEXTS_AT_FIRST: Final = 64
"""In the first portions, so that the consumer, which takes longest, begins at once."""
PORTIONS_AT_ONCE: Final = 3
"""One is read, one counted, one on its way to the log: 10 MB."""
BACK_OFF_S: Final = 5.0
"""Between two tries while Weaviate is unwell."""
EMBEDDED_ANEW: Final = "its stored texts are embedded anew"


class Reembedding(Epoch):
    """`source` tells of the generation whose texts the command names, or None where it is not published."""

    def __init__(
        self, command: JobCommand, tools: Tools, source: Callable[[], Awaitable[GenerationState | None]]
    ) -> None:
        super().__init__(command, tools)
        self._source = source
        self._pages = PagesView({}, frozenset())
        self._left: dict[str, None] = {}
        """URLs, in the order of the manifest."""
        self._stalled_since: str | None = None
        self._halted = asyncio.Event()

    @property
    def counts(self) -> CrawlCounts:
        return self._tally.counts(len(self._left), {})

    def halt(self) -> None:
        super().halt()
        self._halted.set()

    async def run(self) -> Ending | None:
        """Steps 1 to 5."""
        loop = asyncio.get_running_loop()
        loaded = loop.run_in_executor(None, lambda: self._tools.store)  # its import takes most of a second
        publication = await self._begin()
        source = await self._source()
        if source is None:
            (manifest,) = await self._checkpoint.read(self._command.generation)
            return await self._ended(publication, manifest, f"{self._name} is not published: it has no texts to embed")
        await self._restore()
        await loaded
        log.info("job %s: epoch %d, %d pages left", self._command.job_id, publication.epoch, len(self._left))
        reporter = asyncio.create_task(self._report_progress())
        try:
            complete = await self._copy_all(publication, source)
        finally:
            await cancelled(reporter)
        if complete is None:
            return None
        failure = None if complete.named() else f"no text of {self._name} is stored: start a crawl instead"
        return await self._ended(publication, complete, failure)

    async def look(self) -> None:
        await self._restore()

    @property
    def _name(self) -> str:
        return f"generation {self._command.reembeds}"

    async def _restore(self) -> None:
        """Step 2."""
        assert self._command.reembeds is not None
        own, source = await self._checkpoint.read(self._command.generation, self._command.reembeds, whole=True)
        self._read_to, self._last_epoch = own.end, max(own.epochs, default=0)
        urls = [page.url for page in source.records() if page.state not in ("gone", "out_of_scope")]
        self._pages = PagesView(source.whole, frozenset(urls))
        stale = own.stale(self._begun or 0)
        done = {page.url: page for page in own.records() if page.url not in stale}
        for page in done.values():
            self._tally.add(page)
        self._left = dict.fromkeys(url for url in urls if url not in done)

    async def _copy_all(self, publication: Publication, source: GenerationState) -> Manifest | None:
        """Steps 3 and 4."""
        while True:
            await self._copy_left(publication, source)
            if self._halting:
                return None
            await publication.settle()
            (manifest,) = await self._checkpoint.read(self._command.generation)
            if self._overtaken(manifest) or not self._pages.keys() <= manifest.pages.keys():
                log.warning("job %s: pages have no record, or a newer owner's; beginning anew", self._command.job_id)
                return None
            late = manifest.late(publication.epoch, self._read_to)
            if not late:
                return manifest
            log.warning("job %s: an earlier owner recorded %d pages late", self._command.job_id, len(late))
            self._read_to = manifest.end
            for page in late:
                if page.url in self._pages:
                    self._left[page.url] = None
                else:  # of a producer that crawled, since it is too old to know better
                    await publication.record(_gone(self._command, publication.epoch, page))

    async def _copy_left(self, publication: Publication, source: GenerationState) -> None:
        """Step 3."""
        portions = _portions(self._pages[url] for url in list(self._left))
        copying = [
            asyncio.create_task(self._copy_portions(portions, publication, source)) for _ in range(PORTIONS_AT_ONCE)
        ]
        self.cut_off = True
        try:
            await asyncio.gather(*copying)
        finally:
            await cancelled(*copying)
        self.cut_off = False

    async def _copy_portions(
        self, portions: Iterator[list[PageRecord]], publication: Publication, source: GenerationState
    ) -> None:
        """One after the other, beside others that take theirs from the same."""
        for some in portions:
            stored = await self._stored(source, [ref.id for page in some for ref in page.chunks])
            if stored is None:
                return
            copies = await asyncio.to_thread(self._copies, publication.epoch, some, stored)
            for page in await asyncio.gather(*(publication.copy(page, chunks) for page, chunks in copies)):
                self._left.pop(page.url, None)
                self._note(page)

    def _copies(
        self, epoch: int, pages: list[PageRecord], stored: Mapping[str, "StoredChunk"]
    ) -> list[tuple[PageRecord, tuple[Chunk, ...]]]:
        tokens = tokens_for(tokenizer_of(self._command.definition.embedding.model))
        return [copied(self._command, epoch, page, stored, tokens) for page in pages]

    async def _stored(self, source: GenerationState, ids: list[str]) -> "dict[str, StoredChunk] | None":
        """None when halted. While Weaviate is unwell the status says so."""
        from headrace.vectors import Tenancy

        while not self._halting:
            try:
                found = await self._tools.store.stored(Tenancy(source.collection, source.kb_id), ids)
            except DependencyUnwell as exc:
                await self._stall(exc)
            else:
                self._stalled_since = None
                return found
        return None

    async def _stall(self, exc: DependencyUnwell) -> None:
        log.warning("job %s: %s", self._command.job_id, exc)
        self._stalled_since = self._stalled_since or now()
        await self._tools.reports.stall(
            self._command, dependency=exc.dependency, reason=exc.reason, since=self._stalled_since
        )
        try:
            async with asyncio.timeout(BACK_OFF_S):
                await self._halted.wait()
        except TimeoutError:
            return

    @property
    def _stalled(self) -> bool:
        return self._stalled_since is not None

    async def _ended(self, publication: Publication, manifest: Manifest, failure: str | None) -> Ending:
        """Step 5."""
        return await self._end(publication, manifest, failure, frontier_emptied=True, counts=self._tally.counts(0, {}))


def copied(
    command: JobCommand, epoch: int, page: PageRecord, stored: Mapping[str, "StoredChunk"], tokens: Tokens
) -> tuple[PageRecord, tuple[Chunk, ...]]:
    """Pure: the page's record in the command's generation, and its chunks. `tokens` counts as the new model does."""
    times: Counter[tuple[str, tuple[str, ...]]] = Counter()
    made: list[Chunk] = []
    for known in (stored[ref.id] for ref in page.chunks if ref.id in stored):
        repeated = known.text, known.heading_path
        occurrence = _occurrence(page, known, times[repeated])
        if occurrence is None or not _fits(known):
            log.warning("job %s: what is stored as %s does not fit its hashes", command.job_id, known.chunk_id)
            continue
        times[repeated] = occurrence + 1
        made.append(_chunk(command, epoch, page, known, (len(made), occurrence), tokens))
    chunks = tuple(made)
    record = msgspec.structs.replace(
        page,
        generation=command.generation,
        job_id=command.job_id,
        epoch=epoch,
        attempt=0,
        chunks=tuple(ChunkRef(chunk.chunk_id, command.generation) for chunk in chunks),
        page_end_offset=None,
        scope_revision=command.scope_revision,
        bytes=0,
        duration_ms=0,
    )
    if page.state in WITH_CONTENT:
        record = msgspec.structs.replace(record, state="kept", status=None, reason=EMBEDDED_ANEW)
    if lacking := len(page.chunks) - len(chunks):
        reason = f"{lacking} of {len(page.chunks)} texts are not stored: a refresh reads the page again"
        record = msgspec.structs.replace(record, content_hash=None, etag=None, last_modified=None, reason=reason)
    return record, chunks


def _fits(stored: "StoredChunk") -> bool:
    """Else it could not be indexed: a vector is reused for every text with the same hash."""
    return identity.text_hash(_embedded(stored)) == stored.text_hash


def _embedded(stored: "StoredChunk") -> str:
    return identity.embedding_input(stored.title, stored.heading_path, stored.text)


def _occurrence(page: PageRecord, stored: "StoredChunk", first: int) -> int | None:
    """Its number among equal texts of the page, `first` or higher, which only the `doc_hash` tells."""
    for occurrence in range(first, len(page.chunks)):
        hashed = identity.doc_hash(stored.text, url=stored.url, heading_path=stored.heading_path, occurrence=occurrence)
        if hashed == stored.doc_hash:
            return occurrence
    return None


def _chunk(
    command: JobCommand, epoch: int, page: PageRecord, stored: "StoredChunk", place: tuple[int, int], tokens: Tokens
) -> Chunk:
    """`place`: ordinal and occurrence. What is stored has the ordinal of the generation that wrote it."""
    ordinal, occurrence = place
    return Chunk(
        job_id=command.job_id,
        kb_id=command.kb_id,
        generation=command.generation,
        epoch=epoch,
        attempt=0,
        chunk_id=identity.chunk_id(command.kb_id, command.generation, stored.doc_hash),
        doc_hash=stored.doc_hash,
        text_hash=stored.text_hash,
        url=stored.url,
        title=stored.title,
        heading_path=stored.heading_path,
        ordinal=ordinal,
        occurrence=occurrence,
        text=stored.text,
        tokens=tokens.count(_embedded(stored)),
        language=page.language,
        fetched_at=page.fetched_at,
    )


def _gone(command: JobCommand, epoch: int, page: PageRecord) -> PageRecord:
    reason = f"no page of generation {command.reembeds}, whose texts are embedded anew"
    return msgspec.structs.replace(
        page, epoch=epoch, attempt=0, state="gone", reason=reason, chunks=(), links=(), page_end_offset=None
    )


def _portions(pages: Iterator[PageRecord]) -> Iterator[list[PageRecord]]:
    """Whole pages, of so many texts together that they are read in one go; pages without text count as one."""
    some: list[PageRecord] = []
    size = given = 0
    for page in pages:
        some.append(page)
        size += max(1, len(page.chunks))
        if size >= (TEXTS_AT_FIRST if given < PORTIONS_AT_ONCE else TEXTS_AT_ONCE):
            yield some
            some, size, given = [], 0, given + 1
    if some:
        yield some
