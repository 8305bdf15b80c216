"""What every embedder offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """`vectors`: float32[n, dim], in the order of the texts. `tokens`: as the provider counts them. `calls` made."""

    vectors: Vectors
    tokens: int
    calls: int


class Embedder(Protocol):
    """One embedding profile. Errors are `DependencyUnwell` or, for a text that fails by itself, `TextsRefused`."""

    max_texts: int
    """Most texts worth handing over in one call."""
    max_bytes: int
    """Most UTF-8 bytes that one call answers as a whole: what a failure throws away, and pays for again."""
    parallel: int
    """Calls worth having under way at once."""

    async def embed(self, texts: Sequence[str]) -> Embedded: ...

    async def stop(self) -> None: ...


class TextsRefused(Exception):
    """The provider refuses these texts as they are: index in the call to reason. `others` holds the rest, embedded."""

    def __init__(self, reasons: dict[int, str], others: Embedded) -> None:
        super().__init__("; ".join(sorted(set(reasons.values()))))
        self.reasons, self.others = reasons, others
