"""Vectors of texts under way or just embedded, so that one text is not paid for twice at the same time."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from headrace.embedding.base import Vectors
from headrace.vectors import Tenancy

WINDOWS = 2
"""Windows whose vectors are kept: the one under way, and one that was paid for and set aside unwritten. By default
6,656 vectors, 41 MB at 1,536 dimensions. Older ones are found in Weaviate."""

Key = tuple[Tenancy, str]


class VectorCache:
    """Keyed by tenant and text_hash. `claim`, embed and `put` what was claimed, `release` whatever happened.

    `window_texts`: most texts that may be under way at once.
    """

    def __init__(self, window_texts: int) -> None:
        self._capacity = WINDOWS * window_texts
        self._vectors: OrderedDict[Key, Vectors] = OrderedDict()
        self._claimed: dict[Key, asyncio.Future[None]] = {}

    def get(self, place: Tenancy, text_hash: str) -> Vectors | None:
        return self._vectors.get((place, text_hash))

    def put(self, place: Tenancy, text_hash: str, vector: Vectors) -> None:
        self._vectors[(place, text_hash)] = vector
        while len(self._vectors) > self._capacity:
            self._vectors.popitem(last=False)

    def claim(self, place: Tenancy, text_hashes: Iterable[str]) -> tuple[set[str], list["asyncio.Future[None]"]]:
        """The texts that the caller must embed now, and futures of those that another is embedding."""
        mine: set[str] = set()
        theirs: list[asyncio.Future[None]] = []
        for text_hash in dict.fromkeys(text_hashes):
            key = (place, text_hash)
            if key in self._claimed:
                theirs.append(self._claimed[key])
            elif key not in self._vectors:
                self._claimed[key] = asyncio.get_running_loop().create_future()
                mine.add(text_hash)
        return mine, theirs

    def release(self, place: Tenancy, text_hashes: Iterable[str]) -> None:
        for text_hash in text_hashes:
            future = self._claimed.pop((place, text_hash))
            if not future.done():
                future.set_result(None)
