"""What `python -m producer.estimate` takes and gives, as JSON: a job's size and price before it is started."""

from typing import Literal

import msgspec

from schemas.kb import Definition

SAMPLE = 30
"""Pages: two standard errors of a mean are then a third of what pages commonly differ by."""
MAX_SAMPLE = 1_000


class EstimateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`definition`: with every default filled in. `sample`: pages that are read at most."""

    definition: Definition
    sample: int = SAMPLE


class Range(msgspec.Struct, frozen=True, kw_only=True):
    low: float
    expected: float
    high: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """`problem`: why there is none; then there is no range.

    sampled: URLs that were asked for; `with_content`: those that have some. known: URLs in scope that start URLs, links
    and sitemaps name; `of_sitemaps` of them. whole: the sample was all there is. left_out: URLs by kind of trap.
    no_content: why sampled URLs have none, and how many of them.
    pages: with content. usd: null where the price of the model is not known. minutes: crawl and embedding go on
    beside each other; bound_by: which of them takes longer. What a knowledge base holds already, and would not be
    embedded again, is not taken off.
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
    usd: Range | None = None
    minutes: Range | None = None
    bound_by: Literal["crawl", "embedding"] | None = None
    max_pages: int = 0
    model: str = ""
    usd_per_mtok: float | None = None
    prices_as_of: str | None = None
