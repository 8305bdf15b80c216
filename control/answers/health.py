"""Whether control runs, and serves."""

from typing import Literal

from control.answers.base import Answer


class Health(Answer, frozen=True, kw_only=True):
    status: Literal["ok"]


class Ready(Answer, frozen=True, kw_only=True):
    ready: bool
    reason: str | None = None
