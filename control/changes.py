"""What changed between two generations: their manifests, compared page by page."""

from typing import Any, Literal, get_args

from duckdb import DuckDBPyConnection

from control.problems import Conflict, Invalid
from control.questions import dicts
from control.standing import Standing
from schemas.kb import GenerationState

Change = Literal["added", "changed", "removed", "unchanged"]
"""Of a page with text before, after, or both; unchanged where the same chunks stand for it."""
CHANGES: tuple[Change, ...] = get_args(Change)


def ends(
    standing: Standing, first: int | None, last: int | None, *, in_review: int | None
) -> tuple[GenerationState, GenerationState]:
    """The generations that are compared: those that are named, and for those that are not:

    where a generation waits for a review, what is published and that one, so that a person sees what publishing does;
    else the newest published one and the one published before it.
    Raises Conflict where there is none, else as `Standing.named`.
    """
    published = standing.published()
    if last is None:
        last = in_review if in_review is not None else _newest(published, standing.kb_id)
    if first is None:
        first = _newest([state for state in published if state.generation < last], standing.kb_id)
    if first == last:
        raise Invalid(f"from and to are both {first}: nothing to compare", code="invalid-parameter")
    return standing.named(first), standing.named(last)


def _newest(published: list[GenerationState], kb_id: str) -> int:
    if not published:
        raise Conflict(f"{kb_id} has no two generations to compare yet", code="nothing-to-compare")
    return published[0].generation


_COMPARED = """
WITH page AS MATERIALIZED (
    SELECT job_id, url, title, state, status, reason, "partition", position FROM newest_pages
    WHERE job_id IN ($before, $after)),
chunk AS (
    SELECT p.url, c.chunk_id, bool_or(p.job_id = $before) AS was, bool_or(p.job_id = $after) AS stays
    FROM page p JOIN page_chunks c USING ("partition", position)
    WHERE c.job_id IN ($before, $after) GROUP BY ALL),
counted AS (
    SELECT url, count(*) FILTER (NOT was) AS chunks_added, count(*) FILTER (NOT stays) AS chunks_removed,
        count(*) FILTER (was AND stays) AS chunks_kept
    FROM chunk GROUP BY url),
compared AS (
    SELECT *, CASE
        WHEN chunks_removed + chunks_kept = 0 THEN 'added' WHEN chunks_added + chunks_kept = 0 THEN 'removed'
        WHEN chunks_added + chunks_removed = 0 THEN 'unchanged' ELSE 'changed' END AS change
    FROM counted)
"""

_TOTALS = """
SELECT count(*) FILTER (change = 'added') AS pages_added, count(*) FILTER (change = 'changed') AS pages_changed,
    count(*) FILTER (change = 'removed') AS pages_removed, count(*) FILTER (change = 'unchanged') AS pages_unchanged,
    coalesce(sum(chunks_added), 0)::BIGINT AS chunks_added, coalesce(sum(chunks_removed), 0)::BIGINT AS chunks_removed,
    coalesce(sum(chunks_kept), 0)::BIGINT AS chunks_kept
FROM compared"""

_PAGES = """
SELECT c.url, c.change, c.chunks_added, c.chunks_removed, c.chunks_kept, coalesce(a.title, b.title) AS title,
    a.state, a.status, a.reason
FROM compared c LEFT JOIN page a ON a.url = c.url AND a.job_id = $after
    LEFT JOIN page b ON b.url = c.url AND b.job_id = $before
WHERE ($url IS NULL OR c.url > $url) AND CASE WHEN $change IS NULL THEN change <> 'unchanged' ELSE change = $change END
ORDER BY c.url LIMIT $limit"""


def totals(cursor: DuckDBPyConnection, before: str, after: str) -> dict[str, int]:
    """Pages and chunks by what became of them from the job `before` to the job `after`."""
    return dicts(cursor, _COMPARED + _TOTALS, {"before": before, "after": after})[0]


def pages(
    cursor: DuckDBPyConnection, before: str, after: str, *, change: str | None, url: str | None, limit: int
) -> list[dict[str, Any]]:
    """Page by page in the order of their URLs, from behind `url`; unchanged ones only where `change` asks for them.

    `state`, `status` and `reason` are what `after` knows of the page: why one is gone.
    """
    values = {"before": before, "after": after, "change": change, "url": url, "limit": limit}
    return dicts(cursor, _COMPARED + _PAGES, values)
