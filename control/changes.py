"""What changed between two generations: their manifests, compared page by page."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from duckdb import DuckDBPyConnection

from control.problems import Conflict, Invalid
from control.questions import dicts
from control.standing import Standing
from schemas.commands import JobCommand
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


@dataclass(frozen=True)
class Compared:
    """Jobs whose manifests tell the changes. `anew`: the later one only embeds the earlier one's texts anew: its chunks
    stand for the same texts under other ids."""

    before: str
    after: str
    anew: bool = False


def compared(
    standing: Standing, jobs: Iterable[JobCommand], before: GenerationState, after: GenerationState
) -> Compared:
    """Where texts were embedded anew between the two, the manifests next to each other in what they say."""
    sources = {job.generation: job.reembeds for job in jobs}
    published = sorted(state.generation for state in standing.published())
    states = {state.generation: state for state in standing.states}
    first, last = before.generation, after.generation
    for generation in published:
        if first < generation < last and sources.get(generation) == first:
            first = generation
    while (source := sources.get(last)) is not None and first < source and source in states:
        last = source
    return Compared(states[first].job_id, states[last].job_id, anew=sources.get(last) == first)


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
differing AS (
    SELECT url, count(*) FILTER (NOT was) AS added, count(*) FILTER (NOT stays) AS removed,
        count(*) FILTER (was AND stays) AS kept
    FROM chunk GROUP BY url),
counted AS (
    SELECT url, CASE WHEN $anew THEN 0 ELSE added END AS chunks_added,
        CASE WHEN $anew THEN greatest(removed - added, 0) ELSE removed END AS chunks_removed,
        CASE WHEN $anew THEN least(removed, added) ELSE kept END AS chunks_kept
    FROM differing),
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


def totals(cursor: DuckDBPyConnection, jobs: Compared) -> dict[str, int]:
    """Pages and chunks by what became of them."""
    return dicts(cursor, _COMPARED + _TOTALS, asdict(jobs))[0]


def pages(
    cursor: DuckDBPyConnection, jobs: Compared, *, change: str | None, url: str | None, limit: int
) -> list[dict[str, Any]]:
    """Page by page in the order of their URLs, from behind `url`; unchanged ones only where `change` asks for them.

    `state`, `status` and `reason` are what the later one knows of the page: why one is gone.
    """
    values = {**asdict(jobs), "change": change, "url": url, "limit": limit}
    return dicts(cursor, _COMPARED + _PAGES, values)
