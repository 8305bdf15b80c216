"""What `python -m producer.estimate` and `producer.estimate_reembed` take and give, as JSON: a job's size and price
before it is started."""

from typing import Literal

import msgspec

from schemas.kb import Definition

SAMPLE = 30
"""Pages: two standard errors of a mean are then a third of what pages commonly differ by."""
MAX_SAMPLE = 1_000


class EstimateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`definition`: with every default filled in. `sample`: pages that are read at most. `kb_id`: the knowledge base
    whose stored texts are taken off; None where it has none."""

    definition: Definition
    sample: int = SAMPLE
    kb_id: str | None = None


class Range(msgspec.Struct, frozen=True, kw_only=True):
    low: float
    expected: float
    high: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """`problem`: why there is none; then there is no range.

    sampled: URLs that were asked for; `with_content`: those that have some. known: URLs in scope that start URLs, links
    and sitemaps name; `of_sitemaps` of them. whole: the sample was all there is. left_out: URLs by kind of trap.
    no_content: why sampled URLs have none, and how many of them.
    pages: with content. tokens: of all chunks; new_tokens: of texts that would be embedded; reused_tokens: of those
    that are met again, or that the knowledge base holds under this model (not_looked_up: why that is not known).
    usd: of new tokens; null where the price of the model is not known. minutes: crawl and embedding go on beside each
    other; bound_by: which of them takes longer.
    """

    problem: str | None = None
    sampled: int = 0
    with_content: int = 0
    known: int = 0
    of_sitemaps: int = 0
    whole: bool = False
    left_out: dict[str, int] = {}
    no_content: dict[str, int] = {}
    took_s: float = 0.0
    pages: Range | None = None
    chunks: Range | None = None
    tokens: Range | None = None
    new_tokens: Range | None = None
    reused_tokens: Range | None = None
    not_looked_up: str | None = None
    usd: Range | None = None
    minutes: Range | None = None
    bound_by: Literal["crawl", "embedding"] | None = None
    max_pages: int = 0
    model: str = ""
    usd_per_mtok: float | None = None
    prices_as_of: str | None = None


class ReembedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`definition`: with every default filled in, and the model that embeds. `collection`: where the texts of
    `generation` lie. undone: generations that are looked through."""

    definition: Definition
    kb_id: str
    generation: int
    collection: str
    undone: tuple[int, ...] = ()


class ReembedEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Of what is stored, so chunks and texts are exact. `problem`: why there is no estimate.

    texts: distinct ones, of which `reused` are embedded by this model already, as after a rollback, and cost nothing.
    tokens: of the others; from `counted` of them, drawn at random, where these are not all. usd: null where the price
    of the model is not known. No page is fetched.
    """

    problem: str | None = None
    generation: int = 0
    chunks: int = 0
    texts: int = 0
    reused: int = 0
    counted: int = 0
    took_s: float = 0.0
    tokens: Range | None = None
    usd: Range | None = None
    minutes: Range | None = None
    model: str = ""
    usd_per_mtok: float | None = None
    prices_as_of: str | None = None
