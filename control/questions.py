"""What is asked of the projection: each function takes a cursor and gives plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from duckdb import DuckDBPyConnection

from schemas import facts
from schemas.events import Place


@dataclass(frozen=True, kw_only=True)
class Told:
    """The newest facts of a job. `started_at` is the time of its start command.

    `ended_at`: the offset of the first `crawl_end` that took effect; a second one reopens nothing. The end of a job is
    told before that record is acked.
    """

    crawl: facts.CrawlReport | None = None
    crawl_over: bool = False
    index: facts.IndexReport | None = None
    finished: facts.JobFinished | None = None
    stalls: tuple[facts.Stall, ...] = ()
    review: facts.ReviewNeeded | None = None
    lost: "Lost | None" = None
    started_at: str | None = None
    ended_at: int | None = None

    def over(self, committed: int | None) -> bool:
        """Whether the job's end is told and the group has committed (None: unknown) past the record that brought it."""
        return bool(self.finished) and self.ended_at is not None and (committed is None or committed > self.ended_at)


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Records that the log no longer had when they were needed, chunks that Weaviate no longer had, and the pages that
    are fetched again for them."""

    records: int
    chunks: int
    pages: int
    since: str


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Distinct chunks that the job's pages name and that it wrote itself, by what became of them.

    indexed, duplicate and failed add up to processed: each chunk counts once, under the best that became of it.
    """

    documents: int = 0
    documents_processed: int = 0
    chunks: int = 0
    processed: int = 0
    indexed: int = 0
    duplicate: int = 0
    failed: int = 0
    parked: int = 0
    reused: int = 0
    batches: int = 0


_Fact = tuple[str, str, int]
"""Type, value, and offset in the job's partition of `events`."""

_TOLD = """
    SELECT type, value, position FROM newest_facts WHERE job_id = $job
    ORDER BY type, revision DESC, rank DESC, position DESC"""

READ = "(state IN ('fetched', 'unchanged') OR ($anew AND state = 'kept'))"
"""Of newest_pages: those that CrawlCounts.pages_crawled counts. `anew`: the job embeds stored texts anew."""

_TALLY = f"""
WITH page AS MATERIALIZED (
    SELECT url, state, "partition", position FROM newest_pages WHERE job_id = $job),
named AS (
    SELECT p.url, c.chunk_id FROM page_chunks c JOIN page p USING ("partition", position)
    WHERE c.job_id = $job AND c.born = $generation),
decided AS (
    SELECT chunk_id,
        bool_or(result = 'indexed' AND passed) AS indexed,
        bool_or(result = 'duplicate' AND passed) AS duplicate,
        bool_or(result = 'dead_lettered' AND passed) AS failed,
        bool_or(reused AND passed) AS reused,
        bool_or(result IN ('indexed', 'duplicate', 'dead_lettered')) AS final,
        arg_max(result, (position, record_offset)) AS newest
    FROM (SELECT *, $committed IS NULL OR record_offset < $committed AS passed FROM outcomes WHERE job_id = $job)
    WHERE chunk_id IS NOT NULL GROUP BY chunk_id),
chunk AS (
    SELECT n.url, n.chunk_id, coalesce(indexed, false) AS indexed, coalesce(duplicate, false) AS duplicate,
        coalesce(failed, false) AS failed, coalesce(reused, false) AS reused,
        coalesce(NOT final AND newest = 'parked', false) AS parked
    FROM named n LEFT JOIN decided d USING (chunk_id)),
document AS (
    SELECT p.url, bool_and(c.chunk_id IS NULL OR c.indexed OR c.duplicate OR c.failed) AS processed
    FROM page p LEFT JOIN chunk c ON c.url = p.url WHERE {READ} GROUP BY p.url)
SELECT documents.*, chunks.* FROM
    (SELECT count(*), count(*) FILTER (processed) FROM document) documents,
    (SELECT
        count(*),
        count(*) FILTER (indexed OR duplicate OR failed),
        count(*) FILTER (indexed),
        count(*) FILTER (duplicate AND NOT indexed),
        count(*) FILTER (failed AND NOT indexed AND NOT duplicate),
        count(*) FILTER (parked),
        count(*) FILTER (reused)
    FROM (SELECT DISTINCT * EXCLUDE (url) FROM chunk)) chunks"""


def told(cursor: DuckDBPyConnection, job_id: str) -> Told:
    rows = cursor.execute(_TOLD, {"job": job_id}).fetchall()
    crawls = [msgspec.json.decode(value, type=facts.CrawlReport) for kind, value, _ in rows if kind == "crawl_report"]
    start = cursor.execute(
        "SELECT min(told_at) FROM facts WHERE job_id = $job AND type = 'command_issued' AND state = 'start'",
        {"job": job_id},
    ).fetchone()
    ended = cursor.execute(
        "SELECT min(record_offset) FROM outcomes WHERE job_id = $job AND type = 'crawl_end' AND result = 'done'",
        {"job": job_id},
    ).fetchone()
    index = _first(rows, "index_report", facts.IndexReport)
    return Told(
        crawl=crawls[0] if crawls else None,
        crawl_over=_crawl_over(crawls),
        index=index,
        finished=_first(rows, "job_finished", facts.JobFinished),
        stalls=_open_stalls(rows),
        review=_first(rows, "review_needed", facts.ReviewNeeded),
        lost=_lost(cursor, rows),
        started_at=start[0] if start else None,
        ended_at=ended[0] if ended else None,
    )


def _lost(cursor: DuckDBPyConnection, rows: Sequence[_Fact]) -> Lost | None:
    records = [msgspec.json.decode(value, type=facts.RecordsLost) for kind, value, _ in rows if kind == "records_lost"]
    missing = [
        msgspec.json.decode(value, type=facts.ChunksMissing) for kind, value, _ in rows if kind == "chunks_missing"
    ]
    told: list[facts.RecordsLost | facts.ChunksMissing] = [*records, *missing]
    if not told:
        return None
    of = {"kb": told[0].kb_id, "generation": told[0].generation}
    pages = cursor.execute(
        "SELECT count(DISTINCT url) FROM forgotten WHERE kb_id = $kb AND generation = $generation", of
    ).fetchone()
    return Lost(
        records=sum(each.end - each.first for each in records),
        chunks=sum(each.chunks for each in missing),
        pages=pages[0] if pages else 0,
        since=min(each.reported_at for each in told),
    )


def _crawl_over(newest: Sequence[facts.CrawlReport]) -> bool:
    """`newest`: of reports that say it is over, and of others. Where records were lost, an epoch behind it begins."""
    over = [report.epoch for report in newest if report.state in ("finished", "failed")]
    return bool(over) and max(over) >= max(report.epoch for report in newest)


def _open_stalls(rows: Sequence[_Fact]) -> tuple[facts.Stall, ...]:
    """A service that reports on a job tells anew, behind that, what the job still waits for."""
    reports = {"consumer": "index_report", "producer": "crawl_report"}
    reported = {
        service: max((place for kind, _, place in rows if kind == report), default=-1)
        for service, report in reports.items()
    }
    told = [(msgspec.json.decode(value, type=facts.Stall), place) for kind, value, place in rows if kind == "stall"]
    return tuple(stall for stall, place in told if not stall.ended and place > reported[stall.service])


def tally(
    cursor: DuckDBPyConnection, job_id: str, generation: int, committed: int | None, *, anew: bool = False
) -> Tally:
    """`committed` is the group's offset on the job's partition: outcomes beyond it are not processed yet.

    None counts every outcome: a job that is finished has been proven whole. `anew`: see READ.
    """
    given = {"job": job_id, "generation": generation, "committed": committed, "anew": anew}
    counted = cursor.execute(_TALLY, given).fetchone()
    batches = cursor.execute("SELECT count(*) FROM batches WHERE job_id = $job", {"job": job_id}).fetchone()
    return Tally(**dict(zip(Tally.__dataclass_fields__, (*(counted or ()), *(batches or ())), strict=True)))


def budget_reached(cursor: DuckDBPyConnection, job_ids: Sequence[str]) -> list[facts.BudgetReached]:
    """The newest request for a pause of each of these jobs that ever made one."""
    query = """
        SELECT value FROM newest_facts
        WHERE type = 'budget_reached' AND job_id IN (SELECT unnest($jobs::VARCHAR[]))"""
    rows = cursor.execute(query, {"jobs": list(job_ids)}).fetchall()
    return [msgspec.json.decode(value, type=facts.BudgetReached) for (value,) in rows]


def refused_places(cursor: DuckDBPyConnection) -> set[Place]:
    rows = cursor.execute("SELECT value FROM facts WHERE type = 'command_refused'").fetchall()
    return {msgspec.json.decode(value, type=facts.CommandRefused).place for (value,) in rows}


def started_jobs(cursor: DuckDBPyConnection) -> set[str]:
    """Jobs that control told the start of."""
    query = "SELECT DISTINCT job_id FROM facts WHERE type = 'command_issued' AND state = 'start'"
    return {job_id for (job_id,) in cursor.execute(query).fetchall()}


def vacuumed(cursor: DuckDBPyConnection, kb_id: str, below: int) -> dict[str, Any]:
    """What was deleted for the floor `below`, and when last."""
    query = "SELECT value FROM facts WHERE type = 'vacuumed' AND kb_id = $kb AND rank = $below"
    rows = cursor.execute(query, {"kb": kb_id, "below": below}).fetchall()
    told = [msgspec.json.decode(value, type=facts.Vacuumed) for (value,) in rows]
    return {
        "objects_deleted": sum(each.objects_deleted for each in told),
        "vacuumed_at": max((each.vacuumed_at for each in told), default=None),
    }


def trail(
    cursor: DuckDBPyConnection, job_id: str, *, after: int | None, limit: int, reports: Literal["all", "changes"]
) -> list[dict[str, Any]]:
    """The job's events in the order of their offsets; `changes` leaves out reports that repeat the state before."""
    query = """
        SELECT position AS "offset", "partition", type, told_at AS "at", value FROM facts
        WHERE job_id = $job AND ($after IS NULL OR position > $after)
        QUALIFY $all OR type <> 'crawl_report' OR state || revision IS DISTINCT FROM
            lag(state || revision) OVER (PARTITION BY type ORDER BY position)
        ORDER BY position LIMIT $limit"""
    rows = dicts(cursor, query, {"job": job_id, "after": after, "limit": limit, "all": reports == "all"})
    return [{**row, "value": msgspec.Raw(row["value"].encode())} for row in rows]


def kb_trail(cursor: DuckDBPyConnection, kb_id: str, *, after: int | None, limit: int) -> list[dict[str, Any]]:
    """What was done to the knowledge base itself."""
    where = "kb_id = $kb AND type IN ('kb_changed', 'vacuumed')"
    return _of_one_partition(cursor, where, {"kb": kb_id, "after": after, "limit": limit})


def token_trail(cursor: DuckDBPyConnection, *, after: int | None, limit: int) -> list[dict[str, Any]]:
    """What was done to API tokens."""
    return _of_one_partition(cursor, "type = 'token_changed'", {"after": after, "limit": limit})


def tokens_told(cursor: DuckDBPyConnection) -> list[facts.TokenChanged]:
    """What the log says last of each API token."""
    rows = cursor.execute("""
        SELECT value FROM facts WHERE type = 'token_changed'
        QUALIFY row_number() OVER (PARTITION BY value->>'$.token_id' ORDER BY position DESC) = 1""").fetchall()
    return [msgspec.json.decode(value, type=facts.TokenChanged) for (value,) in rows]


def _of_one_partition(cursor: DuckDBPyConnection, where: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Events that all stand in one partition, in the order of their offsets."""
    query = f"""
        SELECT position AS "offset", "partition", type, told_at AS "at", value FROM facts
        WHERE {where} AND ($after IS NULL OR position > $after)
        ORDER BY position LIMIT $limit"""
    return [{**row, "value": msgspec.Raw(row["value"].encode())} for row in dicts(cursor, query, values)]


_HOSTS = """
WITH asked AS (
    SELECT host, count(*) AS requests,
        count(*) FILTER (error IS NULL AND status BETWEEN 200 AND 299) AS succeeded,
        count(*) FILTER (error IS NULL AND status = 304) AS not_modified,
        count(*) FILTER (error IS NULL AND status BETWEEN 300 AND 399 AND status <> 304) AS redirected,
        count(*) FILTER (error IS NULL AND status IN (429, 503)) AS refused,
        count(*) FILTER (error IS NULL AND status BETWEEN 400 AND 499 AND status <> 429) AS client_errors,
        count(*) FILTER (error IS NULL AND status >= 500 AND status <> 503) AS server_errors,
        count(*) FILTER (error IS NOT NULL) AS unusable,
        min("at") AS first_at, max("at") AS last_at, sum(bytes)::BIGINT AS bytes,
        round(avg(duration_ms) FILTER (status IS NOT NULL), 1) AS mean_ms,
        round(quantile_cont(duration_ms, 0.95) FILTER (status IS NOT NULL), 1) AS p95_ms,
        sum(waited_ms)::BIGINT AS waited_ms
    FROM requests WHERE job_id = $job GROUP BY host),
standing AS (
    SELECT host, robots, crawl_delay_s, concurrency, closed_until FROM standings WHERE job_id = $job
    QUALIFY row_number() OVER (PARTITION BY host ORDER BY position DESC) = 1)
SELECT * FROM asked JOIN standing USING (host) ORDER BY requests DESC, host"""


def hosts(cursor: DuckDBPyConnection, job_id: str) -> list[dict[str, Any]]:
    """What the job asked of each host, the busiest first, and how the host was treated when that was told last."""
    return dicts(cursor, _HOSTS, {"job": job_id})


def host_requests(
    cursor: DuckDBPyConnection, job_id: str, host: str, *, after: tuple[int, int], limit: int
) -> list[dict[str, Any]]:
    """The job's requests to `host` in the order in which they were told, from behind the place `after` (offset and
    number in the record)."""
    query = """
        SELECT position, number, "at", method, url, purpose, status, error, bytes, duration_ms, waited_ms, attempt
        FROM requests
        WHERE job_id = $job AND host = $host AND (position > $offset OR (position = $offset AND number > $number))
        ORDER BY position, number LIMIT $limit"""
    values = {"job": job_id, "host": host, "offset": after[0], "number": after[1], "limit": limit}
    return dicts(cursor, query, values)


def _first(rows: Sequence[_Fact], kind: str, event: type[Any]) -> Any:
    return next((msgspec.json.decode(value, type=event) for each, value, _ in rows if each == kind), None)


def dicts(cursor: DuckDBPyConnection, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    cursor.execute(query, values)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
