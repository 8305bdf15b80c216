"""What a search may ask for."""

from typing import Annotated, Literal

import msgspec

from control.filters import Filters, Narrowing
from control.highlights import MAX_PASSAGES
from control.neighbours import MAX_NEIGHBOURS
from control.problems import Invalid

Mode = Literal["hybrid", "vector", "keyword"]

MAX_HITS = 100
MAX_QUERY_CHARS = 8_000
"""Well inside what the embedding models read."""


def _from_to(low: int, high: int) -> msgspec.Meta:
    """For the OpenAPI document; `check` words the error."""
    return msgspec.Meta(extra_json_schema={"minimum": low, "maximum": high})


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`generation` null means the published one; where none is, the open one.

    `alpha`, of a hybrid search: 0 goes by words alone, 1 by meaning alone; null is the measured default. `highlights`:
    at most so many passages per hit. `fold`: hits that say the same are one hit, which lists the others.
    `neighbours`: so many chunks before and after each hit on its page.
    """

    query: str
    k: Annotated[int, _from_to(1, MAX_HITS)] = 5
    mode: Mode = "hybrid"
    generation: int | None = None
    filters: Filters | None = None
    alpha: Annotated[float, _from_to(0, 1)] | None = None
    highlights: Annotated[int, _from_to(0, MAX_PASSAGES)] = 2
    fold: bool = True
    neighbours: Annotated[int, _from_to(0, MAX_NEIGHBOURS)] = 0


def check(request: SearchRequest) -> None:
    """Raises Invalid."""
    if not request.query.strip():
        raise Invalid("query is empty", code="invalid-query")
    if len(request.query) > MAX_QUERY_CHARS:
        raise Invalid(f"query has {len(request.query)} characters; at most {MAX_QUERY_CHARS}", code="invalid-query")
    _check_between("k", request.k, 1, MAX_HITS)
    _check_between("highlights", request.highlights, 0, MAX_PASSAGES)
    _check_between("neighbours", request.neighbours, 0, MAX_NEIGHBOURS)
    if request.alpha is not None:
        _check_between("alpha", request.alpha, 0, 1)
        if request.mode != "hybrid":
            raise Invalid(f"alpha is of a hybrid search; mode is {request.mode}", code="invalid-query")
    if request.filters:
        Narrowing(request.filters)


def _check_between(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Invalid(f"{name} is {value}; it must lie between {low} and {high}", code="invalid-query")
