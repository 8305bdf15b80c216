"""A page's chunks in order, though a kept chunk's ordinal is that of the generation that wrote it."""

from hypothesis import given
from hypothesis import strategies as st

from control.neighbours import page_order
from control.view import View
from headrace.vectors import PlacedChunk
from schemas.kb import NEVER


def stored(versions: list[list[str]], undone: frozenset[int] = frozenset()) -> list[PlacedChunk]:
    """As the consumer leaves it: what is new is written with its place, what is gone is retired, what stays is left."""
    objects: dict[str, PlacedChunk] = {}
    for generation, texts in enumerate(versions, 1):
        view = View(generation, 0, undone)
        standing = {c.chunk_id.partition("@")[0]: c for c in objects.values() if view.stands(c.born, c.retired)}
        for text, chunk in standing.items():
            if text not in texts:
                objects[chunk.chunk_id] = PlacedChunk(chunk.chunk_id, chunk.ordinal, chunk.born, generation)
        for ordinal, text in enumerate(texts):
            if text not in standing:
                objects[f"{text}@{generation}"] = PlacedChunk(f"{text}@{generation}", ordinal, generation, NEVER)
    return list(objects.values())


def order(chunks: list[PlacedChunk], view: View) -> list[str]:
    return [each.partition("@")[0] for each in page_order(chunks, view)]


def test_a_page_reads_as_it_stood_in_each_generation() -> None:
    versions = [list("abcd"), list("axcd"), list("yxcd"), list("xzcdw"), list("abcd")]
    chunks = stored(versions)
    for generation, texts in enumerate(versions, 1):
        assert order(chunks, View(generation)) == texts


def test_undone_generations_are_looked_through() -> None:
    versions = [list("abcd"), list("xyz"), list("qabd")]
    chunks = stored(versions, frozenset({2}))
    assert order(chunks, View(3, 0, frozenset({2}))) == list("qabd")
    assert order(chunks, View(1, 0, frozenset({2}))) == list("abcd")


def test_what_was_there_before_a_deletion_is_not() -> None:
    assert order([PlacedChunk("a", 0, 1, NEVER), PlacedChunk("b", 0, 3, NEVER)], View(3, 1)) == ["b"]


SUBSETS = st.lists(st.lists(st.integers(0, 9), unique=True).map(sorted), min_size=1, max_size=5)


@given(SUBSETS)
def test_any_edits_that_keep_the_order_of_what_stays(versions: list[list[int]]) -> None:
    texts = [[str(each) for each in version] for version in versions]
    chunks = stored(texts)
    for generation, expected in enumerate(texts, 1):
        assert order(chunks, View(generation)) == expected
