"""The topic `events`: lifecycle, audit and outcomes. History is told from here alone."""

from typing import ClassVar, Literal

import msgspec

from schemas.commands import Desired
from schemas.events import Event, Int64, Place
from schemas.kb import Budget


class _JobFact(Event, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "events"

    job_id: str
    kb_id: str
    generation: Int64

    def key(self) -> str:
        return self.job_id


class CommandIssued(_JobFact, frozen=True, kw_only=True):
    """Audit of one command; written in the command's own transaction."""

    TYPE: ClassVar[str] = "command_issued"

    action: Literal["start", "pause", "resume", "cancel", "approve", "rollback", "restore"]
    desired: Desired
    revision: Int64
    issued_at: str
    issued_by: str
    reason: str | None = None
    idempotency_key: str | None = None


class KbChanged(Event, frozen=True, kw_only=True):
    """Audit of what control did to a knowledge base itself; written in the transaction of its record on `kbs`.

    `below`: the floor that a vacuum raised.
    """

    TYPE: ClassVar[str] = "kb_changed"
    TOPIC: ClassVar[str] = "events"

    kb_id: str
    action: Literal["define", "delete", "vacuum"]
    below: Int64 | None = None
    changed_at: str
    changed_by: str
    reason: str | None = None

    def key(self) -> str:
        return self.kb_id


class TokenChanged(Event, frozen=True, kw_only=True):
    """Audit of an API token: how it stands in control's file since it was told last. Nothing of its secret.

    changed: by hand, as is all that is done by `file`; removed: it has gone from there. rotated_at: when it got the
    secret that it has, None: with the token. former_until: until when the one before is taken too. changed_by: who ran
    the command, as the operating system names them.
    """

    TYPE: ClassVar[str] = "token_changed"
    TOPIC: ClassVar[str] = "events"

    token_id: str
    name: str
    action: Literal["created", "rotated", "changed", "revoked", "removed"]
    role: Literal["read", "operate", "admin"]
    kbs: tuple[str, ...] = ()
    expires_at: str | None = None
    rotated_at: str | None = None
    former_until: str | None = None
    changed_at: str
    changed_by: str

    def key(self) -> str:
        return self.token_id


class CommandRefused(Event, frozen=True, kw_only=True):
    """A record on `commands` that is no valid successor; it has no effect."""

    TYPE: ClassVar[str] = "command_refused"
    TOPIC: ClassVar[str] = "events"

    place: Place
    record_key: str
    reason: str
    refused_at: str

    def key(self) -> str:
        return self.record_key


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """URLs that were linked and are not visited, of one kind of trap."""

    kind: str
    urls: Int64


class CrawlCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Pages by what became of them in this generation so far, over all its epochs.

    pages_crawled: content was read (fetched or unchanged); where stored texts are embedded anew, these were handed on.
    pages_failed: an error, with or without a base to keep. pages_gone: there is no such page, or no longer.
    chunks_published: chunks of recorded pages that this generation wrote, not those kept from base.
    left_out: as this epoch has found so far.
    """

    pages_crawled: Int64 = 0
    pages_queued: Int64 = 0
    pages_failed: Int64 = 0
    pages_skipped: Int64 = 0
    pages_unchanged: Int64 = 0
    pages_gone: Int64 = 0
    chunks_published: Int64 = 0
    bytes_fetched: Int64 = 0
    left_out: tuple[LeftOut, ...] = ()


class CrawlReport(_JobFact, frozen=True, kw_only=True):
    """The producer's word on a job: on every change of state, and once a second while it crawls.

    `holding` answers the command `revision`: nothing more of this job is fetched or published under it.
    """

    TYPE: ClassVar[str] = "crawl_report"

    state: Literal["crawling", "holding", "finished", "failed"]
    revision: Int64
    epoch: Int64
    counts: CrawlCounts
    reason: str | None = None
    owner: str
    reported_at: str


Purpose = Literal["page", "robots", "sitemap"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a web site, at the time it was made; each retry and each hop of a redirect is one of its own.

    status: of the answer, None where none came. error: why the answer was of no use, or did not come; `cut_off` where
    the job was told to halt. bytes: of the body on the wire. waited_ms: for a place, a delay or a back-off to pass.
    attempt: at this URL, from 1; a connection that drops and is replaced at once makes two requests of one attempt.
    """

    at: str
    method: Literal["GET"] = "GET"
    url: str
    purpose: Purpose
    status: Int64 | None = None
    error: str | None = None
    bytes: Int64 = 0
    duration_ms: Int64 = 0
    waited_ms: Int64 = 0
    attempt: Int64 = 1


class HostRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests to one `host[:port]`, and how it was treated when they were told.

    robots: whether its robots.txt was found, None where it was not asked for. crawl_delay_s: what that asks of us.
    concurrency: requests at once now. closed_until: nothing is asked of it before then.
    """

    host: str
    robots: Literal["found", "none", "unreachable"] | None = None
    crawl_delay_s: float | None = None
    concurrency: Int64
    closed_until: str | None = None
    requests: tuple[Request, ...] = ()


class RequestsMade(_JobFact, frozen=True, kw_only=True):
    """The producer's ledger: what it asked of which host, told once a second, or every 200 requests.

    Each request stands in one record. Those of the last second before a crash may stand in none.
    """

    TYPE: ClassVar[str] = "requests_made"

    epoch: Int64
    owner: str
    hosts: tuple[HostRequests, ...]
    reported_at: str


Result = Literal["indexed", "duplicate", "dead_lettered", "parked", "requeued", "superseded", "done"]
"""indexed: in Weaviate. duplicate: it was there already. superseded: its generation or epoch is over.
parked: set aside. requeued: a copy stands behind. done: a record that is no chunk has taken effect."""

FINAL: frozenset[Result] = frozenset({"indexed", "duplicate", "dead_lettered", "superseded", "done"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one record of `chunks`; `origin` is its original place where it is a requeued copy."""

    offset: Int64
    type: str
    result: Result
    chunk_id: str | None = None
    origin: Place | None = None
    reused: bool = False
    reason: str | None = None


class Outcomes(_JobFact, frozen=True, kw_only=True):
    """The outcomes of one acked batch's records of one job, in offset order.

    `texts_embedded`, `tokens_embedded` and `calls` say what this batch paid for, in records from before each call was
    told by itself (CallSettled); 0 since.
    """

    TYPE: ClassVar[str] = "outcomes"

    partition: Int64
    group_generation: Int64
    worker: str
    entries: tuple[Outcome, ...]
    texts_embedded: Int64 = 0
    tokens_embedded: Int64 = 0
    calls: Int64 = 0
    decided_at: str


class CallReserved(_JobFact, frozen=True, kw_only=True):
    """The consumer's ledger: a call of the embedding provider is about to be made, for this much at most.

    Without a CallSettled of the same `call_id` it counts as spent: it is under way, or whoever made it died, or no
    answer said what it cost. `max_pico_usd`: trillionths of a dollar; None where the model's price is not known.
    """

    TYPE: ClassVar[str] = "call_reserved"

    call_id: str
    provider: Literal["openai", "local"]
    model: str
    texts: Int64
    max_tokens: Int64
    max_pico_usd: Int64 | None
    group_generation: Int64
    worker: str
    reserved_at: str


class CallSettled(_JobFact, frozen=True, kw_only=True):
    """What a call cost: `tokens` as the provider counted them, or the chunks' records where it doesn't say, dollars
    (trillionths) at the price in force then.

    texts: those that have a vector now. requests: of the provider's API that were answered with vectors; none where
    the call failed before it could cost anything, or was not made after all.
    """

    TYPE: ClassVar[str] = "call_settled"

    call_id: str
    provider: Literal["openai", "local"]
    model: str
    texts: Int64
    requests: Int64
    tokens: Int64
    pico_usd: Int64 | None
    worker: str
    settled_at: str


class QuestionsEmbedded(Event, frozen=True, kw_only=True):
    """What embedding the questions of searches cost since the time that was told last, a few seconds ago.

    requests: of the provider's API that were answered, a question each. tokens as the provider counted them, dollars
    (trillionths) at the price in force then. Of a control that was killed, the last seconds are missing.
    """

    TYPE: ClassVar[str] = "questions_embedded"
    TOPIC: ClassVar[str] = "events"

    kb_id: str
    provider: Literal["openai", "local"]
    model: str
    requests: Int64
    tokens: Int64
    pico_usd: Int64 | None
    worker: str
    since: str
    told_at: str

    def key(self) -> str:
        return self.kb_id


class BudgetReached(_JobFact, frozen=True, kw_only=True):
    """The next call could pass the job's budget, so it was not made: control pauses the job if `revision` is current.

    spent_…: settled calls, and others at their upper bound. next_…: that of the call which was not made. pico_usd:
    trillionths of a dollar, None where the price is not known.
    """

    TYPE: ClassVar[str] = "budget_reached"

    revision: Int64
    spent_tokens: Int64
    spent_pico_usd: Int64 | None
    next_tokens: Int64
    next_pico_usd: Int64 | None
    budget: Budget
    reason: str
    worker: str
    reported_at: str


class IndexReport(_JobFact, frozen=True, kw_only=True):
    """The consumer's word on a job, answering the command `revision` as owner in `group_generation`.

    holding: no further embedding call for it is made. undone: no object of its generation is left.
    """

    TYPE: ClassVar[str] = "index_report"

    state: Literal["running", "holding", "undone"]
    revision: Int64
    group_generation: Int64
    worker: str
    objects_deleted: Int64 = 0
    reported_at: str


class Stall(_JobFact, frozen=True, kw_only=True):
    """A dependency is unwell and this job waits for it; `ended` once it goes on."""

    TYPE: ClassVar[str] = "stall"

    service: Literal["producer", "consumer"]
    dependency: str
    reason: str
    since: str
    ended: bool = False


class ReviewNeeded(_JobFact, frozen=True, kw_only=True):
    """The consumer's proof found that publishing would lose much: a person approves the manifest `digest`, or cancels.

    pages_before: pages with content in the published generation. pages_vanished: those without any in this one.
    `revision` is the command that it answers.
    """

    TYPE: ClassVar[str] = "review_needed"

    revision: Int64
    digest: str
    pages_before: Int64
    pages_vanished: Int64
    pages_failed: Int64
    max_vanished_share: float
    reason: str
    reported_at: str


class RecordsLost(_JobFact, frozen=True, kw_only=True):
    """The log of `chunks` starts beyond records that were still needed: `first` up to `end` (excluded) are gone.

    unread: the group had not read them. parked: they were set aside. Their pages are fetched again.
    """

    TYPE: ClassVar[str] = "records_lost"

    partition: Int64
    first: Int64
    end: Int64
    needed: Literal["unread", "parked"]
    worker: str
    reported_at: str


class ChunksMissing(_JobFact, frozen=True, kw_only=True):
    """Weaviate lacks `chunks` that pages of the crawl of `epoch` name, and the job's log has no copy of them.

    Those `pages` are read anew, within the job.
    """

    TYPE: ClassVar[str] = "chunks_missing"

    epoch: Int64
    chunks: Int64
    pages: Int64
    worker: str
    reported_at: str


class DeadLetterRetried(_JobFact, frozen=True, kw_only=True):
    """A copy of the dead letter's record stands on `chunks` again, at `copy`."""

    TYPE: ClassVar[str] = "dead_letter_retried"

    dead_letter: Place
    place: Place
    copy: Place
    retried_at: str
    retried_by: str


class Vacuumed(Event, frozen=True, kw_only=True):
    """Chunks that only generations below `below` showed are deleted."""

    TYPE: ClassVar[str] = "vacuumed"
    TOPIC: ClassVar[str] = "events"

    kb_id: str
    below: Int64
    objects_deleted: Int64
    worker: str
    vacuumed_at: str

    def key(self) -> str:
        return self.kb_id


class DeadLettered(Event, frozen=True, kw_only=True):
    """A record failed by itself; `dead_letter` is where its untouched copy stands."""

    TYPE: ClassVar[str] = "dead_lettered"
    TOPIC: ClassVar[str] = "events"

    job_id: str | None
    chunk_id: str | None = None
    record_key: str
    topic: str
    place: Place
    dead_letter: Place
    stage: str
    reason: str
    dead_lettered_at: str

    def key(self) -> str:
        return self.record_key


class JobFinished(_JobFact, frozen=True, kw_only=True):
    """The job is over: its generation is published, or undone where it failed."""

    TYPE: ClassVar[str] = "job_finished"

    outcome: Literal["completed", "completed_with_errors", "failed"]
    pages: Int64 = 0
    chunks_named: Int64 = 0
    chunks_visible: Int64 = 0
    chunks_missing: Int64 = 0
    extras_deleted: Int64 = 0
    chunks_retired: Int64 = 0
    digest: str | None = None
    reason: str | None = None
    finished_at: str
