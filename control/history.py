"""How a job went over time: pages read, chunks found and chunks dealt with, counted up to each of some moments."""

from typing import Any

from duckdb import DuckDBPyConnection

from control.questions import READ

_HISTORY = f"""
WITH page AS MATERIALIZED (
    SELECT epoch_ms(TRY_CAST(fetched_at AS TIMESTAMPTZ)) AS ms, {READ}::INT AS pages, chunks
    FROM newest_pages WHERE job_id = $job),
dealt AS MATERIALIZED (
    SELECT min(epoch_ms(TRY_CAST(b.decided_at AS TIMESTAMPTZ))) AS ms
    FROM outcomes o JOIN batches b ON b."partition" = o."partition" AND b.position = o.position
    WHERE o.job_id = $job AND b.job_id = $job AND o.result IN ('indexed', 'duplicate', 'dead_lettered')
        AND o.chunk_id IS NOT NULL
    GROUP BY o.chunk_id),
happened AS (
    SELECT * FROM (SELECT ms, pages, chunks, 0 AS dealt FROM page UNION ALL SELECT ms, 0, 0, 1 FROM dealt)
    WHERE ms IS NOT NULL),
span AS (SELECT min(ms) AS first, greatest(max(ms) - min(ms), 1) AS length FROM happened),
bucket AS (
    SELECT least($points - 1, (ms - first) * $points // length) AS number,
        sum(pages) AS pages, sum(chunks) AS chunks, sum(dealt) AS dealt
    FROM happened, span GROUP BY number)
SELECT ((first + (number + 1) * length / $points) / 1000)::DOUBLE, sum(pages) OVER up_to, sum(chunks) OVER up_to,
    sum(dealt) OVER up_to
FROM bucket, span WINDOW up_to AS (ORDER BY number) ORDER BY number"""


def history(cursor: DuckDBPyConnection, job_id: str, points: int, *, anew: bool = False) -> list[dict[str, Any]]:
    """At most `points` moments, evenly apart, the first at which something had happened first; `at_s` since 1970.

    A chunk is dealt with when the first good or bad end of it was told, however often it was delivered.
    `anew`: see READ.
    """
    rows = cursor.execute(_HISTORY, {"job": job_id, "points": points, "anew": anew}).fetchall()
    return [
        {"at_s": at_s, "pages": int(pages), "chunks_found": int(chunks), "chunks_processed": int(dealt)}
        for at_s, pages, chunks, dealt in rows
    ]
