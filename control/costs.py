"""What embedding cost, by job, knowledge base and day: sums over the consumer's ledger of calls, and over what control
told of the questions of searches."""

from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

DAYS = 31
"""Of a knowledge base, as many days with calls are told in its status."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Of settled calls. `unsettled_…`: upper bounds of calls that are under way, or whose end was never told.

    requests: of the provider's API, answered. pico_usd: trillionths of a dollar; None where a price was not known.
    """

    texts: int = 0
    requests: int = 0
    tokens: int = 0
    pico_usd: int | None = 0
    unsettled_tokens: int = 0
    unsettled_pico_usd: int | None = 0


@dataclass(frozen=True, kw_only=True)
class KbSpent:
    """Of a knowledge base: all jobs and searches; by day (UTC) and by job, the newest first; of searches alone."""

    whole: Spent
    days: dict[str, Spent]
    jobs: dict[str, Spent]
    searches: Spent


@dataclass(frozen=True, kw_only=True)
class AllSpent:
    """Of all knowledge bases, deleted ones too; by day (UTC), the newest first, and by knowledge base."""

    whole: Spent
    days: dict[str, Spent]
    kbs: dict[str, Spent]


_SUMS = """
    coalesce(sum(texts) FILTER (settled), 0)::BIGINT,
    coalesce(sum(requests) FILTER (settled), 0)::BIGINT,
    coalesce(sum(tokens) FILTER (settled), 0)::HUGEINT,
    CASE WHEN bool_or(settled AND pico_usd IS NULL) THEN NULL
        ELSE coalesce(sum(pico_usd) FILTER (settled), 0)::HUGEINT END,
    coalesce(sum(tokens) FILTER (NOT settled), 0)::HUGEINT,
    CASE WHEN bool_or(NOT settled AND pico_usd IS NULL) THEN NULL
        ELSE coalesce(sum(pico_usd) FILTER (NOT settled), 0)::HUGEINT END"""


def of_job(cursor: DuckDBPyConnection, job_id: str) -> Spent:
    (row,) = cursor.execute(f"SELECT {_SUMS} FROM spent WHERE job_id = $job", {"job": job_id}).fetchall()
    return _spent(row)


def of_kb(cursor: DuckDBPyConnection, kb_id: str) -> KbSpent:
    """What is of no job is of searches."""
    whole, days, jobs = _by_day_and(cursor, "job_id", "WHERE kb_id = $kb", {"kb": kb_id})
    searches = jobs.pop(None, Spent())
    return KbSpent(
        whole=whole,
        days=days,
        jobs={name: jobs[name] for name in sorted(filter(None, jobs), reverse=True)},
        searches=searches,
    )


def of_all(cursor: DuckDBPyConnection, only: list[str] | None = None) -> AllSpent:
    """`only`: of these knowledge bases."""
    where = "WHERE $kbs IS NULL OR list_contains($kbs::VARCHAR[], kb_id)"
    whole, days, kbs = _by_day_and(cursor, "kb_id", where, {"kbs": only})
    return AllSpent(whole=whole, days=days, kbs={name: kbs[name] for name in sorted(filter(None, kbs))})


def _by_day_and(
    cursor: DuckDBPyConnection, part: str, where: str = "", parameters: dict[str, Any] | None = None
) -> tuple[Spent, dict[str, Spent], dict[str | None, Spent]]:
    """For all, for each day, the newest first, and for each value of the column `part`."""
    query = f"""
        SELECT grouping(day, {part}), coalesce(day, {part}), {_SUMS} FROM spent {where}
        GROUP BY GROUPING SETS ((day), ({part}), ()) ORDER BY day DESC"""
    of_day, of_part, of_whole = 1, 2, 3  # bits: which of the two a sum is not by
    sums: dict[int, dict[str | None, Spent]] = {of_day: {}, of_part: {}, of_whole: {}}
    for kind, name, *row in cursor.execute(query, parameters or {}).fetchall():
        sums[kind][name] = _spent(tuple(row))
    days = {name: spent for name, spent in sums[of_day].items() if name is not None}
    return sums[of_whole].get(None, Spent()), days, sums[of_part]


def _spent(row: tuple[int | None, ...]) -> Spent:
    return Spent(**dict(zip(Spent.__dataclass_fields__, row, strict=True)))  # type: ignore[arg-type]
