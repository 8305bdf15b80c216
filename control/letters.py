"""Dead letters as the projection knows them: each record that failed by itself, and what became of it since.

A record's newest dead letter stands for it. One row of `facts` has the record's original place as its subject and the
dead letter's offset as its rank; all of it stands in the record's own partition, on every topic.
"""

from dataclasses import dataclass
from typing import Any, Literal

from duckdb import DuckDBPyConnection

from schemas.events import Place

State = Literal["waiting", "retried", "healed", "void"]
"""retried: a copy stands on the log again. healed: the chunk was indexed since. A copy that fails is a new letter.
void: its job failed, or was cancelled or rolled back."""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """`place` is the dead letter's, `origin` where its record was first written. `job_id` as far as it can be read."""

    place: Place
    origin: Place
    job_id: str | None
    chunk_id: str | None
    stage: str
    reason: str
    state: State
    dead_lettered_at: str
    retried_at: str | None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which letters: those that fit every condition that is given. `reason` is a part of it, in any case.

    `untold`: those that no retry has told of. A copy may be indexed all the same, by a retry that broke off.
    """

    jobs: list[str] | None = None
    state: State | None = None
    untold: bool = False
    reason: str | None = None
    places: list[Place] | None = None


# What became of a letter costs most to find: where it is not asked for, `first` letters are chosen before.
_LETTERS = """
WITH letters AS MATERIALIZED (
    SELECT "partition", rank AS place, subject, position FROM facts WHERE type = 'dead_lettered'),
newest AS MATERIALIZED (
    SELECT * FROM letters n ANTI JOIN letters m ON m."partition" = n."partition" AND m.subject = n.subject
        AND (m.place > n.place OR (m.place = n.place AND m.position > n.position))),
told AS (
    SELECT n."partition", n.place, n.subject, f.told_at, f.state AS stage, f.value->>'$.reason' AS reason,
        coalesce(f.job_id, f.value->>'$.record_key') AS job_id, f.value->>'$.chunk_id' AS chunk_id
    FROM newest n JOIN facts f USING ("partition", position) WHERE f.type = 'dead_lettered'),
chosen AS MATERIALIZED (
    SELECT * FROM told
    WHERE ($jobs IS NULL OR list_contains($jobs::VARCHAR[], job_id))
        AND ($reason IS NULL OR contains(lower(reason), lower($reason)))
        AND ($places IS NULL OR list_contains($places::VARCHAR[], "partition" || '/' || place))
        AND ($after IS NULL OR ("partition", place) > ($after_partition, $after_offset))
    ORDER BY "partition", place LIMIT $first),
retried AS (
    SELECT "partition", rank AS place, min(told_at) AS retried_at FROM facts
    WHERE type = 'dead_letter_retried' GROUP BY ALL),
healed AS (
    SELECT DISTINCT c."partition", c.place FROM chosen c JOIN outcomes o
        ON o.job_id = c.job_id AND o.chunk_id = coalesce(try_cast(c.chunk_id AS UUID), md5(c.chunk_id)::UUID)
    WHERE o.result IN ('indexed', 'duplicate')),
undone AS (
    SELECT DISTINCT job_id, true AS undone FROM facts
    WHERE (type, state) IN (('index_report', 'undone'), ('job_finished', 'failed'))),
letter AS (
    SELECT c.*, r.retried_at,
        CASE WHEN u.undone THEN 'void' WHEN h.place IS NOT NULL THEN 'healed' WHEN r.place IS NOT NULL THEN 'retried'
            ELSE 'waiting' END AS fate
    FROM chosen c LEFT JOIN retried r USING ("partition", place) LEFT JOIN healed h USING ("partition", place)
        LEFT JOIN undone u USING (job_id))
SELECT "partition", place, subject, job_id, chunk_id, stage, reason, fate, told_at, retried_at FROM letter
WHERE ($state IS NULL OR fate = $state) AND (NOT $untold OR retried_at IS NULL)
ORDER BY "partition", place LIMIT $limit"""


def letters(
    cursor: DuckDBPyConnection, wanted: Wanted, *, after: Place | None = None, limit: int | None = None
) -> list[Letter]:
    """In the order of their places, from behind `after`."""
    rows = cursor.execute(
        _LETTERS,
        {
            "jobs": wanted.jobs,
            "state": wanted.state,
            "untold": wanted.untold,
            "reason": wanted.reason,
            "places": None if wanted.places is None else [f"{p.partition}/{p.offset}" for p in wanted.places],
            "after": None if after is None else True,
            "after_partition": after.partition if after else 0,
            "after_offset": after.offset if after else 0,
            "limit": limit,
            "first": limit if wanted.state is None and not wanted.untold else None,
        },
    ).fetchall()
    return [_letter(row) for row in rows]


def _letter(row: tuple[Any, ...]) -> Letter:
    partition, place, subject, job_id, chunk_id, stage, reason, state, at, retried_at = row
    origin = Place(*map(int, subject.split()))
    return Letter(
        place=Place(partition, place),
        origin=origin,
        job_id=job_id,
        chunk_id=chunk_id,
        stage=stage,
        reason=reason,
        state=state,
        dead_lettered_at=at,
        retried_at=retried_at,
    )
