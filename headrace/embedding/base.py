"""What every embedder offers."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headrace.embedding.limits import Rates
from headrace.errors import DependencyUnwell

Vectors = npt.NDArray[np.float32]

HARMLESS = "headrace"
"""A text that no server has a reason to refuse."""


@dataclass(frozen=True)
class Embedded:
    """`vectors`: float32[n, dim], in the order of the texts. `tokens`: as the provider counts them, in `requests`; 0
    where it doesn't say."""

    vectors: Vectors
    tokens: int
    rates: Rates = Rates()
    requests: int = 1


class Embedder(Protocol):
    """One embedding profile. `embed` is one call: its errors are `TextsRefused` and `DependencyUnwell`."""

    server: str
    """The dependency, as a status names it, where a call that takes long may mean that it is gone; else empty."""
    shares: Hashable
    """Embedders that are equal in this share one allowance."""
    usual_texts: int
    """Texts in a call, where nothing asks for more: as many as are about as fast per text as more would be."""
    max_texts: int
    max_tokens: int
    max_text_tokens: int
    """Most that one call may have, and one text of it. A text that has more goes alone, and is refused alone."""
    parallel: int
    """Most calls ever worth having under way at once."""

    @property
    def most_requests(self) -> int:
        """As many as the next call may make, and have paid for."""

    async def embed(self, texts: Sequence[str]) -> Embedded: ...

    async def stop(self) -> None: ...


class TextsRefused(Exception):
    """The provider doesn't take the texts of a call as they are: one of them, or so many at once. None was embedded.

    `too_many`: the status names the size of the request.
    """

    def __init__(self, reason: str, *, too_many: bool = False) -> None:
        super().__init__(reason)
        self.too_many = too_many


class RateLimited(DependencyUnwell):
    """429, and what its headers say."""

    def __init__(self, dependency: str, reason: str, rates: Rates) -> None:
        super().__init__(dependency, reason, retry_after_s=rates.retry_after_s)
        self.rates = rates


def refuses_all(server: str, refusal: TextsRefused) -> DependencyUnwell:
    """Refusing all there is is no fault of the texts: a wrong parameter or server does the same."""
    return DependencyUnwell(server, f"refuses every text: {refusal}", lasting=True)


async def embed_harmless(embedder: Embedder) -> Embedded:
    """Raises DependencyUnwell where not even a harmless text is embedded."""
    try:
        return await embedder.embed([HARMLESS])
    except TextsRefused as exc:
        raise refuses_all(embedder.server, exc) from exc
