"""What a search answers with."""

from typing import Literal

import msgspec

from control.answers.base import Answer


class Part(Answer, frozen=True, kw_only=True):
    """A part of a passage. `match`: a word of the query, give or take an English ending."""

    text: str
    match: bool = False


class Duplicate(Answer, frozen=True, kw_only=True):
    """Where else a hit's text stands."""

    chunk_id: str
    url: str
    title: str
    heading_path: list[str]


class Neighbour(Answer, frozen=True, kw_only=True):
    """What stands before or after a hit on its page."""

    chunk_id: str
    heading_path: list[str]
    text: str


class Hit(Answer, frozen=True, kw_only=True):
    """Higher scores are better; they compare within one answer only.

    `highlights`: passages of `text` that hold words of the query, each in parts which joined give it as it stands.
    `duplicates`: other hits with this text, or on another page nearly this text, for which this one stands.
    `before` and `after`: its neighbours on the page, from top to bottom; chunks may overlap by a few sentences.
    """

    chunk_id: str
    url: str
    title: str
    heading_path: list[str]
    text: str
    score: float
    highlights: list[list[Part]] = msgspec.field(default_factory=list)
    duplicates: list[Duplicate] = msgspec.field(default_factory=list)
    before: list[Neighbour] = msgspec.field(default_factory=list)
    after: list[Neighbour] = msgspec.field(default_factory=list)


class SearchAnswer(Answer, frozen=True, kw_only=True):
    """`provisional`: nothing is published yet, and an open generation was searched."""

    generation: int | None
    provisional: bool
    mode: Literal["hybrid", "vector", "keyword"]
    hits: list[Hit]
    note: str | None = None
