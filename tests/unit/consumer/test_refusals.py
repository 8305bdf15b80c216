"""What Weaviate says of an object: its fault, or Weaviate's own trouble."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from weaviate.exceptions import WeaviateInsertManyAllFailedError

from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore

PLACE = Tenancy("C", "kb")


class Objects:
    """A tenant of which every second write fails, or every one, with the same words."""

    def __init__(self, words: str, *, every: bool) -> None:
        self._words, self._every = words, every
        self.data = self

    async def insert_many(self, objects: list[Any]) -> Any:
        if self._every:
            raise WeaviateInsertManyAllFailedError(self._words)
        return SimpleNamespace(
            errors={index: SimpleNamespace(message=self._words) for index in range(0, len(objects), 2)}
        )


async def inserted(words: str, every: bool, monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    store = VectorStore(Settings())

    async def tenant(place: Tenancy) -> Objects:
        return Objects(words, every=every)

    monkeypatch.setattr(store, "_tenant", tenant)
    chunks = [
        StoredChunk(
            chunk_id=str(n), text="", url="", title="", heading_path=(), doc_hash="", text_hash="", job_id="", born=1,
            ordinal=0,
        )
        for n in range(2)
    ]  # fmt: skip
    return await store.insert(PLACE, chunks, [np.ones(2, dtype=np.float32)] * 2)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        "new node has a vector with length 3. Existing nodes have vectors with length 8",
        "vector lengths don't match: 3 vs 8",
        "invalid UUID length: 7",
        "'x' is not a valid uuid",
        "invalid text property 'title' on class 'C': not a string, but float64",
        "invalid integer property 'born' on class 'C'",
        "no such prop with name 'colour' found in class 'C'",
        "property text is too large",
    ],
)
async def test_an_object_at_fault_is_refused(words: str, every: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = await inserted(words, every, monkeypatch)
    assert list(refused) == ([0, 1] if every else [0]) and words in refused[0]


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        "shard shutdown in progress",
        "already shut or dropped",
        "leader not found",
        "shard is not ready",
        "store is closed",
        "store is read-only due to disk usage",
        "panic occurred: runtime error: invalid memory address or nil pointer dereference",
        "context deadline exceeded",
        "put object: import into index c: shard x: too many open files",
        "tenant not active: 'kb'",
        "words of a version to come",
    ],
)
async def test_all_else_is_weaviates_own_trouble_and_its_words_are_the_reason(
    words: str, every: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DependencyUnwell) as caught:
        await inserted(words, every, monkeypatch)
    assert words in caught.value.reason
