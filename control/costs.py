"""What embedding cost, by job, knowledge base and day: sums over the consumer's ledger of calls, and over what control
told of the questions of searches."""

from dataclasses import dataclass

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
    """One sum for each day, each job, and for all. What is of no job is of searches."""
    query = f"""
        SELECT CASE WHEN grouping(day) = 0 THEN 'day' WHEN grouping(job_id) = 0 THEN 'job' ELSE 'whole' END,
            coalesce(day, job_id), {_SUMS}
        FROM spent WHERE kb_id = $kb
        GROUP BY GROUPING SETS ((day), (job_id), ()) ORDER BY day DESC, job_id DESC"""
    sums = {row[:2]: _spent(row[2:]) for row in cursor.execute(query, {"kb": kb_id}).fetchall()}
    return KbSpent(
        whole=sums.get(("whole", None), Spent()),
        days={name: spent for (kind, name), spent in sums.items() if kind == "day"},
        jobs={name: spent for (kind, name), spent in sums.items() if kind == "job" and name is not None},
        searches=sums.get(("job", None), Spent()),
    )


def of_all(cursor: DuckDBPyConnection) -> AllSpent:
    query = f"""
        SELECT CASE WHEN grouping(day) = 0 THEN 'day' WHEN grouping(kb_id) = 0 THEN 'kb' ELSE 'whole' END,
            coalesce(day, kb_id), {_SUMS}
        FROM spent GROUP BY GROUPING SETS ((day), (kb_id), ()) ORDER BY day DESC, kb_id"""
    sums = {row[:2]: _spent(row[2:]) for row in cursor.execute(query).fetchall()}
    return AllSpent(
        whole=sums.get(("whole", None), Spent()),
        days={name: spent for (kind, name), spent in sums.items() if kind == "day"},
        kbs={name: spent for (kind, name), spent in sums.items() if kind == "kb"},
    )


def _spent(row: tuple[int | None, ...]) -> Spent:
    return Spent(**dict(zip(Spent.__dataclass_fields__, row, strict=True)))  # type: ignore[arg-type]
