"""Jobs, and what happened to them."""

from typing import Any

from control.answers.base import Answer
from control.answers.status import StatusAnswer
from schemas.kb import Definition


class JobAnswer(Answer, frozen=True, kw_only=True):
    """`definition` has every default filled in, as the services use it."""

    status: StatusAnswer
    definition: Definition


class JobList(Answer, frozen=True, kw_only=True):
    """Newest first."""

    jobs: list[StatusAnswer]


class Moment(Answer, frozen=True, kw_only=True):
    """What had happened by `at_s` (seconds since 1970): pages read, chunks found on them, chunks dealt with."""

    at_s: float
    pages: int
    chunks_found: int
    chunks_processed: int


class History(Answer, frozen=True, kw_only=True):
    """In the order of time; moments at which nothing had changed are left out."""

    moments: list[Moment]


class EventAnswer(Answer, frozen=True, kw_only=True):
    partition: int
    offset: int
    type: str
    at: str
    value: Any


class EventList(Answer, frozen=True, kw_only=True):
    events: list[EventAnswer]
    next_after: int | None
