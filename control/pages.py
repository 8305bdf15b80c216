"""Pages of a job as the projection knows them: what became of each."""

from dataclasses import asdict, dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from control.questions import dicts

MAX_REASONS = 50


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which pages: those that fit every condition that is given. `reason` and `contains` are a part of the reason and
    of the URL, in any case; `url` is the whole one, canonical."""

    state: str | None = None
    reason: str | None = None
    url: str | None = None
    contains: str | None = None


ALL = Wanted()

_CHOSEN = """
    FROM newest_pages
    WHERE job_id = $job AND ($url IS NULL OR url = $url) AND ($state IS NULL OR state = $state)
        AND ($reason IS NULL OR contains(lower(reason), lower($reason)))
        AND ($contains IS NULL OR contains(lower(url), lower($contains)))"""

_ROWS = f"""
    SELECT url, state, status, reason, attempt, depth, discovered_from, title, language, canonical_url, description,
        published_on, chunks, bytes, duration_ms, fetched_at {_CHOSEN} AND ($after IS NULL OR url > $after)
    ORDER BY url LIMIT $limit"""

_TOTALS = f"""
    SELECT state, count(*) AS pages, sum(chunks)::BIGINT AS chunks, sum(bytes)::BIGINT AS bytes {_CHOSEN}
    GROUP BY state ORDER BY pages DESC, state"""

# What a reason says of one page alone makes no kind of it: other pages' URLs, how many links there are.
_REASONS = f"""
    SELECT state,
        regexp_replace(regexp_replace(reason, 'https?://[^\\s,]+', '…', 'g'), '[\\d,]+ links?', '… links') AS reason,
        count(*) AS pages {_CHOSEN} AND reason IS NOT NULL
    GROUP BY ALL ORDER BY pages DESC, state, reason LIMIT {MAX_REASONS}"""


def rows(
    cursor: DuckDBPyConnection, job_id: str, wanted: Wanted = ALL, *, after: str | None = None, limit: int
) -> list[dict[str, Any]]:
    """In the order of their URLs, from behind `after`."""
    return dicts(cursor, _ROWS, {"job": job_id, "after": after, "limit": limit, **asdict(wanted)})


def summary(cursor: DuckDBPyConnection, job_id: str, wanted: Wanted = ALL) -> dict[str, list[dict[str, Any]]]:
    """How many there are of each state, and of each kind of reason, the most frequent first."""
    given = {"job": job_id, **asdict(wanted)}
    return {"states": dicts(cursor, _TOTALS, given), "reasons": dicts(cursor, _REASONS, given)}
