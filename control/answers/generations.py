"""Generations, what changed between them, and what was cleared away."""

from typing import Literal

from control.answers.base import Answer


class GenerationAnswer(Answer, frozen=True, kw_only=True):
    generation: int
    job_id: str
    state: Literal["open", "published", "undone"]
    base: int | None
    collection: str
    changed_at: str
    reason: str | None
    searched: bool
    searchable: bool


class VacuumState(Answer, frozen=True, kw_only=True):
    """Generations below `below` can't be searched. `vacuumed_at` is null until their chunks are deleted."""

    below: int
    objects_deleted: int
    vacuumed_at: str | None


class GenerationList(Answer, frozen=True, kw_only=True):
    vacuum: VacuumState | None
    generations: list[GenerationAnswer]


class ChangeTotals(Answer, frozen=True, kw_only=True):
    pages_added: int
    pages_changed: int
    pages_removed: int
    pages_unchanged: int
    chunks_added: int
    chunks_removed: int
    chunks_kept: int


class ChangedPage(Answer, frozen=True, kw_only=True):
    """`state`, `status` and `reason` are what the later generation knows of the page; null where it knows nothing."""

    url: str
    change: Literal["added", "changed", "removed", "unchanged"]
    chunks_added: int
    chunks_removed: int
    chunks_kept: int
    title: str
    state: str | None
    status: int | None
    reason: str | None


class ChangesAnswer(Answer, frozen=True, kw_only=True):
    """`provisional`: one of the two is still open, and may change yet. `next_after`: as of a PageList."""

    from_generation: int
    to_generation: int
    provisional: bool
    totals: ChangeTotals
    pages: list[ChangedPage]
    next_after: str | None


class VacuumAnswer(Answer, frozen=True, kw_only=True):
    """Generations below `vacuumed_below` can't be searched any more; the consumer deletes what only they showed."""

    kb_id: str
    vacuumed_below: int
