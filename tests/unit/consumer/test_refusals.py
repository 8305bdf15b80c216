"""What Weaviate says of an object: its fault, or Weaviate's own trouble."""

from typing import Any

import numpy as np
import pytest

from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore

PLACE = Tenancy("C", "kb")


async def inserted(words: str, every: bool, monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """What of two objects is refused, where the first is not written, or neither, with the same words."""
    store = VectorStore(Settings())

    async def ensure(place: Tenancy) -> None: ...

    async def write(request: Any) -> dict[int, str]:
        return dict.fromkeys(range(len(request.objects)) if every else [0], words)

    monkeypatch.setattr(store, "ensure", ensure)
    monkeypatch.setattr(store, "_write", write)
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
