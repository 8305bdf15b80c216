"""What a reembedding would come to: what is visible, each text once, less what the model has embedded already."""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from headrace.prices import Prices
from headrace.vectors import StoredChunk, Tenancy
from producer.estimate_reembed import estimate
from producer.tokens import cl100k
from schemas.estimates import ReembedRequest
from schemas.identity import embedding_input, text_hash
from schemas.kb import NEVER, Definition, Embedding, Source, collection_name, resolve

LARGE = Embedding(provider="openai", model="text-embedding-3-large", dimensions=3072)
OLD, KB = "Old", "docs"


class Store:
    """Stands for Weaviate: chunks by collection."""

    def __init__(self) -> None:
        self.of: dict[str, list[StoredChunk]] = {}
        self.asked = 0

    def put(self, collection: str, *texts: str, born: int = 1, retired: int = NEVER) -> None:
        for text in texts:
            hashed = text_hash(embedding_input("Title", ("A",), text))
            chunk = StoredChunk(
                chunk_id=str(uuid.uuid4()), text=text, url="http://site/", title="Title", heading_path=("A",),
                doc_hash="d", text_hash=hashed, job_id="j", born=born, ordinal=0, retired=retired,
            )  # fmt: skip
            self.of.setdefault(collection, []).append(chunk)

    async def texts(self, place: Tenancy) -> AsyncIterator[tuple[str, str, int, int]]:
        assert place.tenant == KB
        for each in self.of.get(place.collection, []):
            yield each.chunk_id, each.text_hash, each.born, each.retired

    async def stored(self, place: Tenancy, ids: Sequence[str]) -> dict[str, StoredChunk]:
        self.asked += len(ids)
        return {each.chunk_id: each for each in self.of.get(place.collection, []) if each.chunk_id in ids}


def request(embedding: Embedding = LARGE, **changed: Any) -> ReembedRequest:
    definition = resolve(Definition(source=Source(urls=("http://site/",)), embedding=embedding), openai_available=True)
    return ReembedRequest(**{"definition": definition, "kb_id": KB, "generation": 3, "collection": OLD} | changed)


def tokens(*texts: str) -> int:
    return sum(cl100k().count(embedding_input("Title", ("A",), text)) for text in texts)


@pytest.fixture
def store() -> Any:
    return Store()


async def test_each_visible_text_once(store: Any) -> None:
    store.put(OLD, "one", "two", "two", "two")
    store.put(OLD, "retired by now", retired=2)
    store.put(OLD, "retired by a generation that was undone", retired=4)
    store.put(OLD, "of a later generation", born=5)
    store.put(OLD, "of an undone generation", born=2)
    found = await estimate(request(undone=(2, 4)), store, Prices())
    exact = tokens("one", "two", "retired by a generation that was undone", "retired by now")
    assert (found.chunks, found.texts, found.reused, found.counted) == (6, 4, 0, 4)
    assert found.tokens and (found.tokens.low, found.tokens.high) == (exact, exact)
    assert found.usd and found.usd.expected == round(exact * 0.13 / 1e6, 6)
    assert (found.model, found.usd_per_mtok) == ("text-embedding-3-large", 0.13)


async def test_what_the_model_has_embedded_already_costs_nothing(store: Any) -> None:
    store.put(OLD, "one", "two")
    store.put(collection_name(LARGE), "two", "three", retired=1)
    found = await estimate(request(), store, Prices())
    assert (found.texts, found.reused, found.counted) == (2, 1, 1)
    assert found.tokens and found.tokens.expected == tokens("one")


async def test_of_many_texts_some_are_counted(store: Any) -> None:
    texts = [f"text {number} " + "word " * (number % 50) for number in range(400)]
    store.put(OLD, *texts)
    found = await estimate(request(), store, Prices(), 200)
    assert (found.texts, found.counted, store.asked) == (400, 200, 200)
    assert found.tokens and found.tokens.low < tokens(*texts) < found.tokens.high < 2 * found.tokens.low


async def test_a_price_that_nobody_knows_is_not_nothing(store: Any) -> None:
    store.put(OLD, "one")
    found = await estimate(request(Embedding(provider="openai", model="bge-m3", dimensions=8)), store, Prices())
    assert (found.usd, found.usd_per_mtok) == (None, None)


async def test_nothing_stored_costs_nothing(store: Any) -> None:
    found = await estimate(request(), store, Prices())
    assert (found.texts, found.tokens and found.tokens.high, found.usd and found.usd.high) == (0, 0, 0)
