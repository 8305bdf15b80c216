"""The status of a job, and its parts."""

from typing import Literal

import msgspec

from control.answers.base import Answer
from control.answers.costs import Cost
from control.answers.partitions import OffsetsAnswer
from control.status import Phase, Status
from schemas.commands import Desired


class Metrics(Answer, frozen=True, kw_only=True):
    """Distinct documents and chunks, not records; chunks_processed = indexed + duplicate + failed."""

    documents_total: int
    documents_processed: int
    chunks_total: int
    chunks_processed: int
    chunks_indexed: int
    chunks_duplicate: int
    chunks_failed: int
    chunks_parked: int
    chunks_reused: int
    batches_processed: int
    texts_embedded: int
    tokens_embedded: int


class CrawlAnswer(Answer, frozen=True, kw_only=True):
    state: Literal["waiting", "crawling", "holding", "finished", "failed"]
    pages_crawled: int = 0
    pages_queued: int = 0
    pages_failed: int = 0
    pages_skipped: int = 0
    pages_unchanged: int = 0
    pages_gone: int = 0
    bytes_fetched: int = 0
    left_out: dict[str, int] = msgspec.field(default_factory=dict)
    reason: str | None = None


class Reflected(Answer, frozen=True, kw_only=True):
    """The command revision that each service has answered last."""

    producer: int | None
    consumer: int | None


class StallAnswer(Answer, frozen=True, kw_only=True):
    service: str
    dependency: str
    reason: str
    since: str


class LostAnswer(Answer, frozen=True, kw_only=True):
    """Records of the job were gone from the log before they were indexed, or chunks that its pages name from Weaviate;
    those pages are fetched again."""

    records: int
    chunks: int
    pages: int
    since: str


class ReviewAnswer(Answer, frozen=True, kw_only=True):
    """Publishing would lose pages: approve, or cancel. `digest` names the manifest that is meant."""

    pages_before: int
    pages_vanished: int
    pages_failed: int
    max_vanished_share: float
    reason: str
    digest: str
    since: str


class StatusAnswer(Answer, frozen=True, kw_only=True):
    """`progress` is in percent, and 100 only when the job is completed. `reembeds` is the generation whose texts are
    embedded anew, in place of a crawl."""

    kb_id: str
    job_id: str
    generation: int
    base: int | None
    reembeds: int | None
    published_generation: int | None
    status: Status
    phase: Phase
    progress: float
    reason: str | None
    desired: Desired
    revision: int
    reflected: Reflected
    metrics: Metrics
    crawl: CrawlAnswer
    offsets: OffsetsAnswer
    cost: Cost
    rate_chunks_per_s: float | None
    eta_s: float | None
    stalls: list[StallAnswer]
    review: ReviewAnswer | None
    lost: LostAnswer | None
    started_at: str | None
    finished_at: str | None
    commanded_at: str
    commanded_by: str
