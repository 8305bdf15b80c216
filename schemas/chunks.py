"""The job's stream: `crawl_begin`, then `chunk` and `page_end` per page, then `crawl_end`; later perhaps `repair_end`.

`epoch` is the offset of the writer's `crawl_begin` in the job's partition, so a later owner's epoch is higher
without asking anyone. Readers drop records of lower epochs. `crawl_begin` itself can't carry it: a reader takes
its (original) offset.
"""

from typing import ClassVar

from schemas.events import Event, Int64, Place


class _JobRecord(Event, frozen=True, kw_only=True):
    """`origin` is where a copy's original stands; `retry_of` is the dead letter that a copy tries again."""

    TOPIC: ClassVar[str] = "chunks"

    job_id: str
    kb_id: str
    generation: Int64
    origin: Place | None = None
    retry_of: Place | None = None

    def key(self) -> str:
        return self.job_id


class CrawlBegin(_JobRecord, frozen=True, kw_only=True):
    """A producer became the job's owner. Its offset is the epoch of all it writes from here on."""

    TYPE: ClassVar[str] = "crawl_begin"

    base: Int64 | None
    owner: str
    began_at: str


class Chunk(_JobRecord, frozen=True, kw_only=True):
    """A piece of a page, embedded as one vector. `tokens` counts the embedding input, in cl100k tokens."""

    TYPE: ClassVar[str] = "chunk"

    epoch: Int64
    attempt: Int64
    chunk_id: str
    doc_hash: str
    text_hash: str
    url: str
    title: str
    heading_path: tuple[str, ...]
    ordinal: Int64
    occurrence: Int64
    text: str
    tokens: Int64
    language: str | None = None
    fetched_at: str


class PageEnd(_JobRecord, frozen=True, kw_only=True):
    """All chunks of this attempt at a page stand before it in the log."""

    TYPE: ClassVar[str] = "page_end"

    epoch: Int64
    attempt: Int64
    url: str
    chunk_ids: tuple[str, ...]


class CrawlEnd(_JobRecord, frozen=True, kw_only=True):
    """The manifest is complete: `pages` records up to `pages_end_offset` of `pages_partition`.

    `digest` is `identity.manifest_digest` of all their chunk ids. `failure` says why nothing can be published.
    `scope_revision` is that of the command it was crawled under. `proof_round` counts how often missing chunks
    were requeued before this copy.
    """

    TYPE: ClassVar[str] = "crawl_end"

    epoch: Int64
    pages: Int64
    pages_partition: Int64
    pages_end_offset: Int64
    digest: str
    frontier_emptied: bool
    errors: Int64
    scope_revision: Int64 = 1
    proof_round: Int64 = 0
    failure: str | None = None
    ended_at: str


class RepairEnd(_JobRecord, frozen=True, kw_only=True):
    """Behind the retried copies of a job's dead letters: a published generation is proven again here."""

    TYPE: ClassVar[str] = "repair_end"

    requested_at: str
