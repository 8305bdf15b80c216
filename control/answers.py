"""What HTTP answers with. The OpenAPI document is made from these types."""

from typing import Any, Literal

import msgspec

from control.status import Phase, Status
from headrace.tokens import Role
from schemas.commands import Desired
from schemas.kb import Budget, Definition


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all; times are UTC, RFC 3339."""


class KbAnswer(Answer, frozen=True, kw_only=True):
    kb_id: str
    definition: Definition
    last_generation: int
    published_generation: int | None
    active_job_id: str | None
    updated_at: str


class KbList(Answer, frozen=True, kw_only=True):
    kbs: list[KbAnswer]


class Accepted(Answer, frozen=True, kw_only=True):
    """A command that stands in the log. `revision` goes into `?after=` of the status."""

    kb_id: str
    job_id: str
    generation: int
    desired: Desired
    revision: int
    note: str | None = None


class WhoAmI(Answer, frozen=True, kw_only=True):
    """`token` None: no token is asked for. `kbs`: ids and patterns; empty: all knowledge bases."""

    token: str | None
    role: Role
    kbs: list[str]
    expires_at: str | None = None


class LoggedOut(Answer, frozen=True, kw_only=True):
    logged_out: bool = True


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
    bytes_fetched: int = 0
    left_out: dict[str, int] = {}
    reason: str | None = None


class OffsetsAnswer(Answer, frozen=True, kw_only=True):
    """The job's partition of `chunks`, as `kafka-consumer-groups --describe` shows it; null: nothing committed."""

    partition: int
    committed: int | None
    end: int | None
    lag: int | None


class PartitionAnswer(OffsetsAnswer, frozen=True, kw_only=True):
    """`kbs`: those whose job is under way on it."""

    kbs: list[str]


class PartitionList(Answer, frozen=True, kw_only=True):
    """Of the topic of chunks; offsets as of when a running job or a request last had them read."""

    partitions: list[PartitionAnswer]


class Spending(Answer, frozen=True, kw_only=True):
    """What embedding cost. `calls`: requests that the provider answered; `tokens_embedded`: as it counted them.

    `usd` is null where the price of a call was not known; a local model costs nothing. unsettled_…: at most so much
    beside that, of calls that are under way or of which no end was told, as where a consumer was killed.
    """

    texts_embedded: int
    tokens_embedded: int
    calls: int
    usd: float | None
    unsettled_tokens: int
    unsettled_usd: float | None


class DayCost(Spending, frozen=True, kw_only=True):
    """Of one day in UTC."""

    day: str


class JobCost(Spending, frozen=True, kw_only=True):
    """`generation` is null where the job's command isn't known."""

    job_id: str
    generation: int | None


class KbCost(Spending, frozen=True, kw_only=True):
    """Of all jobs of a knowledge base and the questions of searches. `days`: the last 31 on which anything was
    embedded, the newest first. `searches`: what the questions cost, a few seconds late."""

    days: list[DayCost]
    searches: Spending


class Cost(Spending, frozen=True, kw_only=True):
    """Of one job. `budget`: what it may spend; null is no limit. `kb`: null where it is not the newest job."""

    budget: Budget
    kb: KbCost | None


class CostAnswer(Spending, frozen=True, kw_only=True):
    """Of all jobs of a knowledge base and the questions of searches; the newest days and jobs first."""

    kb_id: str
    days: list[DayCost]
    jobs: list[JobCost]
    searches: Spending


class KbSpending(Spending, frozen=True, kw_only=True):
    """Of one knowledge base: all jobs, and the questions of searches."""

    kb_id: str


class WholeCost(Spending, frozen=True, kw_only=True):
    """Of all knowledge bases, deleted ones too. `days`: the newest first."""

    days: list[DayCost]
    kbs: list[KbSpending]


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
    """Records of the job were gone from the log before they were indexed; their pages are fetched again."""

    records: int
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


class JobAnswer(Answer, frozen=True, kw_only=True):
    """`definition` has every default filled in, as the services use it."""

    status: StatusAnswer
    definition: Definition


class JobList(Answer, frozen=True, kw_only=True):
    """Newest first."""

    jobs: list[StatusAnswer]


class PageAnswer(Answer, frozen=True, kw_only=True):
    """`attempt` counts the fetches, 0 for a page that was not asked for. `bytes` as received; `duration_ms` of the last
    request. `discovered_from`: the page or sitemap that named it first; null for a start URL."""

    url: str
    state: str
    status: int | None
    reason: str | None
    attempt: int
    discovered_from: str | None
    title: str
    language: str | None
    canonical_url: str | None
    description: str | None
    published_on: str | None
    depth: int
    chunks: int
    bytes: int
    duration_ms: int
    fetched_at: str


class HostAnswer(Answer, frozen=True, kw_only=True):
    """What a job asked of one host. The outcomes add up to `requests`: succeeded (2xx), not_modified (304), redirected
    (other 3xx), refused (429 and 503), client_errors (other 4xx), server_errors (other 5xx), unusable (an error).

    mean_ms, p95_ms: of answered requests. waited_ms: in all, for places, delays and back-off. From `robots` on as told
    last: robots is found, none or unreachable, or null where robots.txt was not asked for.
    """

    host: str
    requests: int
    succeeded: int
    not_modified: int
    redirected: int
    refused: int
    client_errors: int
    server_errors: int
    unusable: int
    first_at: str
    last_at: str
    bytes: int
    mean_ms: float | None
    p95_ms: float | None
    waited_ms: int
    robots: str | None
    crawl_delay_s: float | None
    concurrency: int
    closed_until: str | None


class HostList(Answer, frozen=True, kw_only=True):
    """The busiest first."""

    hosts: list[HostAnswer]


class RequestAnswer(Answer, frozen=True, kw_only=True):
    """`status` is null where no answer came. `error` says why it did not, or why it was of no use."""

    at: str
    method: str
    url: str
    purpose: str
    status: int | None
    error: str | None
    bytes: int
    duration_ms: int
    waited_ms: int
    attempt: int


class RequestList(Answer, frozen=True, kw_only=True):
    """In the order in which they were told. `next_after` is the `?after=` of the next ones, or null at the end."""

    requests: list[RequestAnswer]
    next_after: str | None


class PageList(Answer, frozen=True, kw_only=True):
    """`next_after` is the `?after=` of the next pages, or null at the end."""

    pages: list[PageAnswer]
    next_after: str | None


class StateCount(Answer, frozen=True, kw_only=True):
    state: str
    pages: int
    chunks: int
    bytes: int


class ReasonCount(Answer, frozen=True, kw_only=True):
    """`reason`: with … for what differs from page to page."""

    state: str
    reason: str
    pages: int


class PageSummary(Answer, frozen=True, kw_only=True):
    """The most frequent first; of reasons, the 50 most frequent."""

    states: list[StateCount]
    reasons: list[ReasonCount]


class Moment(Answer, frozen=True, kw_only=True):
    """What had happened by `at_s` (seconds since 1970): pages read, chunks found on them, chunks dealt with."""

    at_s: float
    pages: int
    chunks_found: int
    chunks_processed: int


class History(Answer, frozen=True, kw_only=True):
    """In the order of time; moments at which nothing had changed are left out."""

    moments: list[Moment]


class EventAnswer(Answer, frozen=True, kw_only=True):
    partition: int
    offset: int
    type: str
    at: str
    value: Any


class EventList(Answer, frozen=True, kw_only=True):
    events: list[EventAnswer]
    next_after: int | None


class GenerationAnswer(Answer, frozen=True, kw_only=True):
    generation: int
    job_id: str
    state: Literal["open", "published", "undone"]
    base: int | None
    collection: str
    changed_at: str
    reason: str | None
    searched: bool
    searchable: bool


class VacuumState(Answer, frozen=True, kw_only=True):
    """Generations below `below` can't be searched. `vacuumed_at` is null until their chunks are deleted."""

    below: int
    objects_deleted: int
    vacuumed_at: str | None


class GenerationList(Answer, frozen=True, kw_only=True):
    vacuum: VacuumState | None
    generations: list[GenerationAnswer]


class ChangeTotals(Answer, frozen=True, kw_only=True):
    pages_added: int
    pages_changed: int
    pages_removed: int
    pages_unchanged: int
    chunks_added: int
    chunks_removed: int
    chunks_kept: int


class ChangedPage(Answer, frozen=True, kw_only=True):
    """`state`, `status` and `reason` are what the later generation knows of the page; null where it knows nothing."""

    url: str
    change: Literal["added", "changed", "removed", "unchanged"]
    chunks_added: int
    chunks_removed: int
    chunks_kept: int
    title: str
    state: str | None
    status: int | None
    reason: str | None


class ChangesAnswer(Answer, frozen=True, kw_only=True):
    """`provisional`: one of the two is still open, and may change yet. `next_after`: as of a PageList."""

    from_generation: int
    to_generation: int
    provisional: bool
    totals: ChangeTotals
    pages: list[ChangedPage]
    next_after: str | None


class VacuumAnswer(Answer, frozen=True, kw_only=True):
    """Generations below `vacuumed_below` can't be searched any more; the consumer deletes what only they showed."""

    kb_id: str
    vacuumed_below: int


class Deleted(Answer, frozen=True, kw_only=True):
    kb_id: str
    deleted: bool


class PlaceAnswer(Answer, frozen=True, kw_only=True):
    partition: int
    offset: int


class DeadLetterAnswer(Answer, frozen=True, kw_only=True):
    """`place` is where it stands on `dead-letters`, `origin` where its record was first written on `chunks`.

    waiting: nothing was tried since. retried: a copy stands on the log again. healed: its chunk was indexed since.
    void: its job failed, or was cancelled or rolled back.
    """

    place: PlaceAnswer
    origin: PlaceAnswer
    kb_id: str | None
    job_id: str | None
    chunk_id: str | None
    stage: str
    reason: str
    state: Literal["waiting", "retried", "healed", "void"]
    dead_lettered_at: str
    retried_at: str | None


class DeadLetterList(Answer, frozen=True, kw_only=True):
    """`next_after` is the `?after=` of the next ones, or null at the end."""

    dead_letters: list[DeadLetterAnswer]
    next_after: str | None


class DeadLetterRecord(Answer, frozen=True, kw_only=True):
    """The record as it came. `reason` holds the headers that say why, as Kafka Connect names them.

    `value` is the decoded JSON; where it is none, `value_base64` holds the bytes.
    """

    place: PlaceAnswer
    key: str | None
    reason: dict[str, str]
    headers: dict[str, str]
    value: Any
    value_base64: str | None
    at: str


class NotRetriedAnswer(Answer, frozen=True, kw_only=True):
    """refused: its job is over. not_retryable: it can't be read, or is no chunk. unknown: no such dead letter."""

    place: PlaceAnswer
    code: Literal["refused", "not_retryable", "already_retried", "unknown"]
    reason: str


class RetryAnswer(Answer, frozen=True, kw_only=True):
    """`passed_over` counts those that were not retried; `not_retried` says why, of a thousand of them at most."""

    retried: int
    passed_over: int
    job_ids: list[str]
    not_retried: list[NotRetriedAnswer]


class Health(Answer, frozen=True, kw_only=True):
    status: Literal["ok"]


class Ready(Answer, frozen=True, kw_only=True):
    ready: bool
    reason: str | None = None
