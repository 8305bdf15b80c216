"""The one table of routes; HTTP and the OpenAPI document are both made from it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from control import (
    access_handlers,
    answers,
    event_handlers,
    handlers,
    letter_handlers,
    probe_handlers,
    requests,
    sql_handlers,
    webhook_handlers,
)
from control.engine import Engine
from control.search_request import SearchRequest
from control.sql import SqlAnswer, SqlRequest
from schemas.commands import MAX_REASON
from schemas.estimates import Estimate, ReembedEstimate
from schemas.kb import Definition
from schemas.previews import Preview

PREFIX = "/api/ingestion"

Handler = Callable[[Engine, web.Request], Awaitable[msgspec.Struct | web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """`query` is parameter name to meaning; `problems` are the statuses that the call itself answers with.

    `others`: answers of other types, by their status. `text`: the media type of an answer that is text; of a stream of
    events, `answer` is what they hold. `files`: media types of files that it may be instead. `conditional`: it takes
    If-Match and If-None-Match.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[msgspec.Struct] | type[str]
    status: int = 200
    body: type[msgspec.Struct] | None = None
    body_required: bool = False
    query: dict[str, str] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    idempotent_by_key: bool = False
    conditional: bool = False
    others: Mapping[int, type[msgspec.Struct]] = field(default_factory=dict)
    text: str | None = None
    files: tuple[str, ...] = ()

    def status_of(self, answer: msgspec.Struct) -> int:
        return next((status for status, kind in self.others.items() if isinstance(answer, kind)), self.status)


_LIMIT = {"limit": "how many at most"}
_PAGES = {
    "state": "only pages of this state",
    "reason": "only where the reason contains this",
    "url": "only this page, by its canonical URL",
    "contains": "only URLs that contain this",
}
_REASON = {"reason": f"why, in up to {MAX_REASON} characters; stands in the audit trail"}

ROUTES: tuple[Route, ...] = (
    Route("GET", f"{PREFIX}/kb", handlers.list_kbs, "List knowledge bases", answers.KbList),
    Route("PUT", f"{PREFIX}/kb/{{kb}}", handlers.put_kb, "Define a knowledge base", answers.KbAnswer,
          body=Definition, body_required=True, query=_REASON, problems=(400, 409, 422), conditional=True),
    Route("GET", f"{PREFIX}/kb/{{kb}}", handlers.get_kb, "Read a definition", answers.KbAnswer, problems=(404,)),
    Route("DELETE", f"{PREFIX}/kb/{{kb}}", handlers.delete_kb, "Drop a knowledge base and its objects",
          answers.Deleted, query=_REASON, problems=(404, 409, 422), conditional=True),
    Route("GET", f"{PREFIX}/kb/{{kb}}/events", handlers.kb_events,
          "The audit trail of the knowledge base itself: who defined, vacuumed, deleted it", answers.EventList,
          query={"after": "only offsets behind this one", **_LIMIT}, problems=(404,)),
    Route("POST", f"{PREFIX}/kb/{{kb}}/start", handlers.start,
          "Start a job; a body is the definition to start with. With `dry_run`, only estimate it", answers.Accepted,
          202, others={200: Estimate}, body=requests.Start, problems=(400, 404, 409, 422), idempotent_by_key=True,
          conditional=True),
    Route("POST", f"{PREFIX}/kb/{{kb}}/reembed", handlers.reembed,
          "Embed the stored texts by another model, without a crawl; until it is published, the old one is searched. "
          "With `dry_run`, only estimate it", answers.Accepted, 202, others={200: ReembedEstimate},
          body=requests.Reembed, problems=(400, 404, 409, 422, 503), idempotent_by_key=True),
    Route("POST", f"{PREFIX}/kb/{{kb}}/pause", handlers.pause, "Pause the running job", answers.Accepted, 202,
          body=requests.Change, problems=(404, 409)),
    Route("POST", f"{PREFIX}/kb/{{kb}}/resume", handlers.resume,
          "Resume the paused job, with the definition as it is now save embedding and chunking", answers.Accepted, 202,
          body=requests.Change, problems=(404, 409)),
    Route("POST", f"{PREFIX}/kb/{{kb}}/cancel", handlers.cancel, "Cancel the job and undo what it wrote",
          answers.Accepted, 202, body=requests.Change, problems=(404, 409)),
    Route("POST", f"{PREFIX}/kb/{{kb}}/approve", handlers.approve,
          "Publish a refresh that waits for a review", answers.Accepted, 202, body=requests.Approval,
          problems=(404, 409)),
    Route("POST", f"{PREFIX}/kb/{{kb}}/rollback", handlers.rollback,
          "Undo the newest published generation; the one before is searched again", answers.Accepted, 202,
          body=requests.Rollback, problems=(404, 409, 422)),
    Route("POST", f"{PREFIX}/kb/{{kb}}/vacuum", handlers.vacuum,
          "Delete what only old generations show; they can't be searched or gone back to after", answers.VacuumAnswer,
          202, body=requests.Vacuum, problems=(404, 409, 422)),
    Route("GET", f"{PREFIX}/kb/{{kb}}/status", handlers.status, "Status of the newest job", answers.StatusAnswer,
          query={"after": "wait until producer and consumer answer this command revision",
                 "wait_s": f"how long at most, up to {handlers.WAIT_S} seconds"}, problems=(404, 422)),
    Route("GET", f"{PREFIX}/partitions", handlers.partitions,
          "How far the consumers' group is on each partition of the topic of chunks", answers.PartitionList),
    Route("GET", f"{PREFIX}/cost", handlers.whole_cost,
          "What embedding cost in all, by day (UTC), the newest first, and by knowledge base", answers.WholeCost),
    Route("GET", f"{PREFIX}/kb/{{kb}}/cost", handlers.cost,
          "What embedding cost, by day (UTC) and by job, the newest first", answers.CostAnswer, problems=(404, 422)),
    Route("GET", f"{PREFIX}/kb/{{kb}}/jobs", handlers.jobs, "Jobs, newest first", answers.JobList,
          query=_LIMIT, problems=(404,)),
    Route("GET", f"{PREFIX}/kb/{{kb}}/generations", handlers.generations, "Generations, newest first",
          answers.GenerationList, problems=(404,)),
    Route("GET", f"{PREFIX}/kb/{{kb}}/changes", handlers.changes,
          "What changed between two generations, page by page", answers.ChangesAnswer,
          query={"from": "a generation; default: the published one before `to`",
                 "to": "a generation; default: the one that waits for a review, else the newest published one",
                 "change": "only added, changed, removed or unchanged pages; default: all but the last",
                 "after": "only URLs behind this one", **_LIMIT}, problems=(404, 409, 410, 422)),
    Route("POST", f"{PREFIX}/kb/{{kb}}/search", handlers.search, "Search", answers.SearchAnswer,
          body=SearchRequest, body_required=True, problems=(400, 404, 410, 422)),
    *(
        route
        for base in (f"{PREFIX}/jobs/{{job}}", f"{PREFIX}/kb/{{kb}}/jobs/{{job}}")
        for route in (
            Route("GET", base, handlers.job, "One job", answers.JobAnswer, problems=(404,)),
            Route("GET", f"{base}/pages", handlers.job_pages, "What became of each page, by URL", answers.PageList,
                  query={**_PAGES, "after": "only URLs behind this one", **_LIMIT}, problems=(404, 422)),
            Route("GET", f"{base}/pages/summary", handlers.page_summary,
                  "How many pages there are of each state and for each kind of reason", answers.PageSummary,
                  query=_PAGES, problems=(404, 422)),
            Route("GET", f"{base}/history", handlers.job_history,
                  "How the job went over time: pages, chunks found and dealt with, for curves", answers.History,
                  query={"points": "how many moments at most; default 120"}, problems=(404, 422)),
            Route("GET", f"{base}/hosts", handlers.job_hosts, "What was asked of each host, the busiest first",
                  answers.HostList, problems=(404,)),
            Route("GET", f"{base}/hosts/{{host}}/requests", handlers.host_requests,
                  "Each request to a host, in the order in which they were told", answers.RequestList,
                  query={"after": "only behind this place, offset/number", **_LIMIT}, problems=(404, 422)),
            Route("GET", f"{base}/events", handlers.job_events, "The audit trail", answers.EventList,
                  query={"after": "only offsets behind this one", "reports": "all or changes (default)", **_LIMIT},
                  problems=(404,)),
        )
    ),
    Route("GET", f"{PREFIX}/dead-letters", letter_handlers.dead_letters,
          "Records that failed by themselves, by place", answers.DeadLetterList,
          query={"kb": "only of this knowledge base", "job": "only of this job",
                 "state": "waiting, retried, healed or void", "reason": "only where the reason contains this",
                 "after": "only behind this place, partition/offset", **_LIMIT}, problems=(404, 422)),
    Route("GET", f"{PREFIX}/dead-letters/{{partition}}/{{offset}}", letter_handlers.dead_letter,
          "One dead letter: the record as it came, and why it failed", answers.DeadLetterRecord, problems=(404, 422)),
    Route("POST", f"{PREFIX}/dead-letters/retry", letter_handlers.retry_dead_letters,
          "Copy dead letters to the end of the log, to be indexed after all", answers.RetryAnswer, 202,
          body=requests.Retry, body_required=True, problems=(400, 404, 422)),
    Route("POST", f"{PREFIX}/preview", handlers.preview,
          "What a crawl would make of a definition's first start URL: its text and chunks. Nothing is stored", Preview,
          body=Definition, body_required=True, problems=(400, 422)),
    Route("GET", f"{PREFIX}/events", event_handlers.events,
          "Watch each change: `kb` (as GET /kb/{kb}), `status` (as its status), `deleted`; `reset` where what was sent "
          "before is void", answers.StatusAnswer, text="text/event-stream",
          query={"kb": "only this knowledge base; may be given several times",
                 "last_event_id": "as the header Last-Event-ID: only what changed since"}, problems=(422,)),
    Route("POST", f"{PREFIX}/sql", sql_handlers.sql, "Ask the history: one SELECT over the views of docs/views.md",
          SqlAnswer, body=SqlRequest, body_required=True, files=(sql_handlers.PARQUET,), problems=(400, 422)),
    Route("GET", f"{PREFIX}/webhooks", webhook_handlers.webhooks,
          "Who is told of the changes of jobs, and how that goes", answers.WebhookList),
    Route("POST", f"{PREFIX}/webhooks/{{name}}/test", webhook_handlers.test,
          "Send a webhook a message for a try, once", answers.WebhookTest, problems=(404,)),
    Route("GET", f"{PREFIX}/tokens/events", handlers.token_events, "What was done to API tokens, in its order",
          answers.EventList, query={"after": "only offsets behind this one", **_LIMIT}, problems=(422,)),
    Route("GET", f"{PREFIX}/whoami", access_handlers.whoami, "Whose token it is, and what it may do", answers.WhoAmI),
    Route("POST", f"{PREFIX}/login", access_handlers.login,
          "Log a browser in: the token in the header becomes a cookie", answers.WhoAmI),
    Route("POST", f"{PREFIX}/logout", access_handlers.logout, "End the login of the cookie", answers.LoggedOut),
    Route("GET", "/healthz", probe_handlers.healthz, "Whether the process lives", answers.Health),
    Route("GET", "/readyz", probe_handlers.readyz, "Whether requests are answered", answers.Ready),
    Route("GET", "/metrics", probe_handlers.metrics, "Control's own metrics, for Prometheus", str, text="text/plain"),
)  # fmt: skip
