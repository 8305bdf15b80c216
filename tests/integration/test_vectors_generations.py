"""Undo, retire and vacuum in a real Weaviate, against a model of what a search at each generation sees."""

import itertools
import random
import uuid

import numpy as np
import pytest

from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore, live_ids
from schemas.kb import NEVER

Rows = list[tuple[str, int, int]]
GENERATIONS = range(1, 7)


@pytest.fixture
def place(settings: Settings) -> Tenancy:
    return Tenancy("Test_generations_8", settings.topic_prefix.rstrip("."))


def chunk(born: int, retired: int, number: int) -> StoredChunk:
    return StoredChunk(
        chunk_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{born}/{retired}/{number}")), text=f"text {number}",
        url=f"http://site/{number}", title="Title", heading_path=("A", "B") if number else (), doc_hash=f"d{number}",
        text_hash=f"t{number}", job_id="job", born=born, ordinal=number, retired=retired,
    )  # fmt: skip


def every_kind(seed: int) -> list[StoredChunk]:
    """Of each (born, retired) that can be, none to two."""
    kinds = [(b, r) for b, r in itertools.product(GENERATIONS, [*GENERATIONS, NEVER]) if b < r]
    return [chunk(b, r, number) for b, r in kinds for number in range(random.Random(f"{seed}{b}{r}").randrange(3))]


async def fill(store: VectorStore, place: Tenancy, chunks: list[StoredChunk]) -> Rows:
    await store.ensure(place)
    vectors = [np.random.default_rng(index).standard_normal(8, dtype=np.float32) for index in range(len(chunks))]
    assert not await store.insert(place, chunks, vectors)
    return [(each.chunk_id, each.born, each.retired) for each in chunks]


def seen(rows: Rows, undone: frozenset[int]) -> dict[int, set[str]]:
    return {each: live_ids(rows, each, undone) for each in GENERATIONS if each not in undone}


@pytest.mark.parametrize("seed", range(4))
async def test_undo_shows_what_was_before(store: VectorStore, place: Tenancy, seed: int) -> None:
    rows = await fill(store, place, every_kind(seed))
    undone = frozenset(random.Random(seed).sample(GENERATIONS, 2))
    before = seen(rows, undone)
    assert await store.undo(place, undone) == sum(born in undone for _, born, _ in rows)
    after = await store.rows(place)
    assert seen(after, undone) == before
    assert not [row for row in after if undone & {row[1], row[2]}]


@pytest.mark.parametrize("seed", range(4))
async def test_vacuum_changes_no_search_from_its_floor_on(store: VectorStore, place: Tenancy, seed: int) -> None:
    rows = await fill(store, place, every_kind(seed))
    draw = random.Random(seed)
    undone, below = frozenset(draw.sample(GENERATIONS, 2)), draw.choice(GENERATIONS)
    shown = {each: ids for each, ids in seen(rows, undone).items() if each >= below}
    deleted = await store.vacuum(place, below, undone, all_of_it=False)
    after = await store.rows(place)
    assert {each: ids for each, ids in seen(after, undone).items() if each >= below} == shown
    assert deleted == len(rows) - len(after)
    assert not [row for row in after if row[1] in undone or (row[2] <= below and row[2] not in undone)]
    assert await store.vacuum(place, below, undone, all_of_it=False) == 0


async def test_vacuum_of_a_collection_that_nothing_shows_any_more(store: VectorStore, place: Tenancy) -> None:
    rows = await fill(store, place, every_kind(1))
    assert await store.vacuum(place, 7, frozenset(), all_of_it=True) == len(rows)
    assert not await store.rows(place)


async def test_an_object_at_fault_is_told_from_trouble_in_weaviates_own_words(
    store: VectorStore, place: Tenancy
) -> None:
    """And the others in its request are written."""
    good, bad, other = (chunk(1, NEVER, number) for number in range(3))
    await store.ensure(place)
    vectors = [np.ones(length, dtype=np.float32) for length in (8, 3, 8)]
    assert not await store.insert(place, [good], vectors[:1])
    refused = await store.insert(place, [good, bad, other], vectors)
    assert list(refused) == [1] and "length" in refused[1]
    assert list(await store.insert(place, [bad], vectors[1:2])) == [0]
    assert {chunk_id for chunk_id, _, _ in await store.rows(place)} == {good.chunk_id, other.chunk_id}


async def test_a_look_at_what_was_never_written_makes_nothing(store: VectorStore, place: Tenancy) -> None:
    """Else a proof that is played again brings an empty tenant of a deleted knowledge base back."""
    assert await store.rows(place) == []
    await store.delete_ids(place, ["0" * 32])
    assert await store.tenant(place) is None


async def test_retiring_keeps_all_else_of_an_object(store: VectorStore, place: Tenancy) -> None:
    chunks = [chunk(1, NEVER, number) for number in range(3)]
    await fill(store, place, chunks)

    async def objects() -> dict[str, tuple[object, list[float]]]:
        tenant = await store.tenant(place)
        assert tenant is not None
        return {
            str(each.uuid): ({k: v for k, v in each.properties.items() if k != "retired"}, each.vector["default"])
            async for each in tenant.iterator(include_vector=True)
        }

    before = await objects()
    await store.retire(place, [each.chunk_id for each in chunks[:2]], 2)
    assert sorted(retired for *_, retired in await store.rows(place)) == [2, 2, NEVER]
    assert await objects() == before
    await store.undo(place, [2])
    assert await objects() == before and {retired for *_, retired in await store.rows(place)} == {NEVER}


async def test_what_is_deleted_is_not_brought_back(store: VectorStore, place: Tenancy) -> None:
    rows = await fill(store, place, [chunk(1, NEVER, number) for number in range(2)])
    await store.delete_ids(place, [rows[0][0]])
    await store.retire(place, [row[0] for row in rows], 2)
    assert await store.rows(place) == [(rows[1][0], 1, 2)]


async def test_a_vector_comes_back_as_it_was_written(store: VectorStore, place: Tenancy) -> None:
    """The index compresses; what another generation takes over instead of paying for it is whole."""
    (row,) = await fill(store, place, [chunk(1, NEVER, 9)])
    found = await store.lookup(place, [row[0]], ["t9"])
    written = np.random.default_rng(0).standard_normal(8, dtype=np.float32)
    np.testing.assert_array_equal(found.vectors["t9"], written)
