"""Pages of a job, and how many there are of each kind."""

from control.answers.base import Answer


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
