"""Filters, folding, neighbours and views of a search, as a real Weaviate applies them."""

import itertools
import uuid
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import pytest

from control.answers.search import Hit
from control.filters import Filters
from control.neighbours import with_neighbours
from control.search import best
from control.search_request import Mode, SearchRequest
from control.view import View
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore
from schemas.kb import NEVER

VECTOR = [1.0] * 8
FIRST = View(1)


@pytest.fixture
def place(settings: Settings) -> Tenancy:
    return Tenancy("Test_search_8", settings.topic_prefix.rstrip("."))


def chunk(name: str, url: str, text: str = "sluice", *, ordinal: int = 0, **more: Any) -> StoredChunk:
    return StoredChunk(
        chunk_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)), text=text, url=url, title=name, doc_hash=name,
        text_hash=name, job_id="j", ordinal=ordinal, **{"heading_path": (), "born": 1} | more,
    )  # fmt: skip


async def fill(store: VectorStore, place: Tenancy, chunks: list[StoredChunk]) -> Any:
    """All about equally near to VECTOR, in their order."""
    await store.ensure(place)
    vectors = [np.array([*VECTOR[1:], 1 - index / 10_000], dtype=np.float32) for index in range(len(chunks))]
    assert not await store.insert(place, chunks, vectors)
    return await store.tenant(place)


async def found(tenant: Any, view: View = FIRST, **asked: Any) -> list[Hit]:
    request = SearchRequest(**{"query": "sluice", "k": 50, "fold": False} | asked)
    hits, more = await best(tenant, request, VECTOR, view)
    assert not more
    return hits


def titles(hits: Iterable[Hit]) -> set[str]:
    return {hit.title for hit in hits}


PLACES = {
    "b": "https://h.example/a/b.html", "b.c": "https://h.example/a/b.c.html", "asked": "https://h.example/a/b.html?x=/c",
    "deep": "https://h.example/a/x/b.html", "under": "https://h.example/x/a/b.html", "port": "http://h.example:81/a/b.html",
    "other": "https://other.example/a/b.html", "a": "https://h.example/a", "ab": "https://h.example/ab",
    "size": "https://h.example/gr%C3%B6%C3%9Fe", "size2": "https://h.example/gr%c3%b6%c3%9fe",
}  # fmt: skip


@pytest.mark.parametrize("mode", get_args(Mode))
async def test_filters_by_path(store: VectorStore, place: Tenancy, mode: Mode) -> None:
    tenant = await fill(store, place, [chunk(name, url) for name, url in PLACES.items()])
    for globs, expected in [
        ("/a/b.html", "b asked port other"),
        ("/a/*.html", "b b.c asked port other"),
        ("/a/**", "b b.c asked deep port other"),
        ("/a/", "a b b.c asked deep port other"),
        ("b.html", "b asked deep under port other"),
        ("/a?", "ab"),
        ("https://h.example/a/b.html", "b asked"),
        ("http://h.example:81/", "port"),
        ("/größe", "size size2"),
        ("/none/**", ""),
        (["/a", "/x/"], "a under"),
    ]:
        hits = await found(tenant, mode=mode, filters=Filters(path=globs))
        assert titles(hits) == set(expected.split()), globs


@pytest.mark.parametrize("mode", get_args(Mode))
async def test_filters_by_heading(store: VectorStore, place: Tenancy, mode: Mode) -> None:
    paths = {
        "install": ("Guide", "Installing on Linux"), "the": ("What is it?", "The End"), "c++": ("C++ API",),
        "über": ("Über uns",), "cjk": ("如何安装",), "none": (), "greek": ("Ο ΛΌΓΟΣ",), "snake": ("read_text",),
    }  # fmt: skip
    chunks = [chunk(name, f"https://h.example/{name}", heading_path=path) for name, path in paths.items()]
    tenant = await fill(store, place, chunks)
    for heading, expected in [
        ("INSTALL", "install"), ("installing  on", "install"), ("guide installing", ""), ("the", "the"),
        ("is it?", "the"), ("++", "c++"), ("c++ api", "c++"), ("über", "über"), ("ÜBER UNS", "über"),
        ("安装", "cjk"), ("λόγος", "greek"),
        ("read_t", "snake"), ("d_t", "snake"),
    ]:  # fmt: skip
        hits = await found(tenant, mode=mode, filters=Filters(heading=heading))
        assert titles(hits) == set(expected.split()), heading
    both = await found(tenant, mode=mode, filters=Filters(heading="i", path="/install"))
    assert titles(both) == {"install"}


async def test_weaviate_and_we_see_the_same(store: VectorStore, place: Tenancy) -> None:
    kinds = [
        (born, retired) for born, retired in itertools.product(range(1, 5), [*range(1, 5), NEVER]) if born < retired
    ]
    chunks = [chunk(f"{b}/{r}", f"https://h.example/{b}/{r}", born=b, retired=r) for b, r in kinds]
    tenant = await fill(store, place, chunks)
    for generation, floor, undone in itertools.product(range(1, 5), (0, 2), ((), (2,), (2, 3), (4,))):
        view = View(generation, floor, frozenset(undone))
        expected = {each.title for each in chunks if view.stands(each.born, each.retired)}
        assert titles(await found(tenant, view)) == expected, view


@pytest.mark.parametrize("mode", get_args(Mode))
async def test_copies_on_other_pages_are_one_hit_and_there_are_still_k(
    store: VectorStore, place: Tenancy, mode: Mode
) -> None:
    copied = "The sluice gate holds the water back until the miller opens it in the morning."
    copies = [chunk(f"copy{n}", f"https://h.example/v{n}/gate", copied) for n in range(150)]
    others = [
        chunk(f"other{n}", f"https://h.example/o{n}", f"sluice number {n} " + "and water " * 20) for n in range(20)
    ]
    tenant = await fill(store, place, copies + others)
    hits = await found(tenant, mode=mode, fold=True, k=5)
    assert len(hits) == 5
    (gate,) = [hit for hit in hits if hit.text == copied]
    assert hits[0] is gate
    urls = {gate.url, *(each.url for each in gate.duplicates)}
    assert urls == {each.url for each in copies}
    assert len(titles(await found(tenant, mode=mode, k=5))) == 5


async def test_neighbours_are_those_of_the_generation(store: VectorStore, place: Tenancy) -> None:
    """Generation 2 put x in the place of b, and y before all; the chunks that stayed keep their ordinals."""
    url = "https://h.example/page"
    chunks = [chunk(name, url, name, ordinal=n) for n, name in enumerate("abcd")]
    chunks[1] = chunk("b", url, "b", ordinal=1, retired=2)
    chunks += [chunk("y", url, "y", ordinal=0, born=2), chunk("x", url, "x", ordinal=2, born=2)]
    chunks += [chunk("elsewhere", url + "2", "c", ordinal=1), chunk("undone", url, "z", ordinal=1, born=3)]
    tenant = await fill(store, place, chunks)
    undone = frozenset({3})
    for view, before, after in [
        (View(1, 0, undone), "ab", "d"),
        (View(2, 0, undone), "yax", "d"),
        (View(4, 0, undone), "yax", "d"),
    ]:
        hits = await found(tenant, view, query="c", mode="keyword")
        (hit,) = [h for h in await with_neighbours(store, place, view, hits, 3) if h.url == url]
        assert ["".join(each.text for each in side) for side in (hit.before, hit.after)] == [before, after]
    (hit, *_) = await with_neighbours(store, place, View(2), [hit], 1)
    assert [each.text for each in hit.before] == ["x"]
