"""What a job asked of its hosts."""

from control.answers.base import Answer


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
