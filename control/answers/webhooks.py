"""What the endpoints of webhooks answer with."""

from typing import Literal

from control.answers.base import Answer


class WebhookAnswer(Answer, frozen=True, kw_only=True):
    """`url` without path and query, which may hold a secret. `kbs`, `on`: empty: all. new: not taken up yet, which
    takes a second; disabled: the receiver wanted no more."""

    name: str
    url: str
    kbs: list[str]
    on: list[str]
    created_at: str
    state: Literal["new", "active", "disabled"]
    waiting: int
    last_answer: str | None
    last_answer_at: str | None


class WebhookList(Answer, frozen=True, kw_only=True):
    webhooks: list[WebhookAnswer]


class WebhookTest(Answer, frozen=True, kw_only=True):
    """What came back of the message that was sent for a try."""

    name: str
    delivered: bool
    answer: str
