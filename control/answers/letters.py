"""Dead letters, and what became of a retry."""

from typing import Any, Literal

from control.answers.base import Answer


class PlaceAnswer(Answer, frozen=True, kw_only=True):
    partition: int
    offset: int


class DeadLetterAnswer(Answer, frozen=True, kw_only=True):
    """`place` is where it stands on `dead-letters`, `origin` where its record was first written on `chunks`.

    waiting: nothing was tried since. retried: a copy stands on the log again. healed: its chunk was indexed since.
    void: its job failed, or was cancelled or rolled back.
    """

    place: PlaceAnswer
    origin: PlaceAnswer
    kb_id: str | None
    job_id: str | None
    chunk_id: str | None
    stage: str
    reason: str
    state: Literal["waiting", "retried", "healed", "void"]
    dead_lettered_at: str
    retried_at: str | None


class DeadLetterList(Answer, frozen=True, kw_only=True):
    """`next_after` is the `?after=` of the next ones, or null at the end."""

    dead_letters: list[DeadLetterAnswer]
    next_after: str | None


class DeadLetterRecord(Answer, frozen=True, kw_only=True):
    """The record as it came. `reason` holds the headers that say why, as Kafka Connect names them.

    `value` is the decoded JSON; where it is none, `value_base64` holds the bytes.
    """

    place: PlaceAnswer
    key: str | None
    reason: dict[str, str]
    headers: dict[str, str]
    value: Any
    value_base64: str | None
    at: str


class NotRetriedAnswer(Answer, frozen=True, kw_only=True):
    """refused: its job is over. not_retryable: it can't be read, or is no chunk. unknown: no such dead letter."""

    place: PlaceAnswer
    code: Literal["refused", "not_retryable", "already_retried", "unknown"]
    reason: str


class RetryAnswer(Answer, frozen=True, kw_only=True):
    """`passed_over` counts those that were not retried; `not_retried` says why, of a thousand of them at most."""

    retried: int
    passed_over: int
    job_ids: list[str]
    not_retried: list[NotRetriedAnswer]
