"""Publish, cancel, roll back, vacuum and late writes, against a model that remembers every manifest.

The same histories run on a store in memory and, fewer, on the real Weaviate, where the filter of a search is asked too.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consumer.manifest import Manifest
from consumer.proof import Row, _difference
from control.view import view_of
from headrace.settings import Settings
from headrace.state.kbs import KnowledgeBases
from headrace.vectors import StoredChunk, Tenancy, VectorStore, live_ids
from schemas.identity import chunk_id
from schemas.kb import NEVER, GenerationState
from schemas.pages import ChunkRef, PageRecord
from tests.unit.consumer.made import NOW, record

DOCS = "abcd"
Step = tuple[str, frozenset[str]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "write", "publish", "publish", "cancel", "rollback", "vacuum", "late", "sweep"]),
        st.frozensets(st.sampled_from(DOCS), min_size=1),
    ),
    min_size=4,
    max_size=25,
)

AB = frozenset("ab")
LATE_RETIREMENT: list[Step] = [
    ("publish", AB),
    ("cancel", AB),
    ("publish", AB),
    ("late", AB),
    ("vacuum", frozenset("a")),
]
"""An undone generation retires what a later one still shows, and vacuum comes before any sweep."""


class MemoryStore:
    """As VectorStore, with objects in a dictionary: id to (born, retired)."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, int]] = {}

    async def insert(self, place: Tenancy, chunks: Sequence[StoredChunk], vectors: Sequence[Any]) -> dict[int, str]:
        self.objects |= {chunk.chunk_id: (chunk.born, chunk.retired) for chunk in chunks}
        return {}

    async def rows(self, place: Tenancy) -> list[Row]:
        return [(each, born, retired) for each, (born, retired) in self.objects.items()]

    async def delete_ids(self, place: Tenancy, ids: Sequence[str]) -> None:
        for each in ids:
            self.objects.pop(each, None)

    async def retire(self, place: Tenancy, ids: Sequence[str], generation: int) -> None:
        self.objects |= {each: (self.objects[each][0], generation) for each in ids if each in self.objects}

    async def erase(self, place: Tenancy, generations: Collection[int]) -> int:
        return self._keep(lambda born, retired: born not in generations)

    async def undo(self, place: Tenancy, generations: Collection[int]) -> int:
        deleted = await self.erase(place, generations)
        back = {each: (born, NEVER) for each, (born, retired) in self.objects.items() if retired in generations}
        self.objects |= back
        return deleted

    async def vacuum(self, place: Tenancy, below: int, undone: Collection[int], *, all_of_it: bool) -> int:
        deleted = self._keep(lambda born, retired: retired > below or retired in undone)
        return deleted + await self.erase(place, undone)

    def _keep(self, kept: Callable[[int, int], bool]) -> int:
        before = len(self.objects)
        self.objects = {each: row for each, row in self.objects.items() if kept(*row)}
        return before - len(self.objects)


@dataclass
class History:
    """One knowledge base: a store, generation states, and the model: what each published generation shows."""

    store: Any
    place: Tenancy
    kbs: KnowledgeBases = field(default_factory=KnowledgeBases)
    shown: dict[int, dict[str, str]] = field(default_factory=dict)
    """Generation to its manifest: document to chunk id."""
    open: int | None = None
    base: int | None = None
    last: int = 0
    floor: int = 0

    async def play(self, what: str, docs: frozenset[str]) -> None:
        deed: Callable[[frozenset[str]], Awaitable[None]] = getattr(self, "_" + what)
        await deed(docs)

    def published(self) -> list[int]:
        """Newest first."""
        return [state.generation for state in self.kbs.published_all(self.place.tenant)]

    @property
    def undone(self) -> frozenset[int]:
        return self.kbs.undone(self.place.tenant)

    async def _start(self, docs: frozenset[str]) -> None:
        if self.open is None:
            self.last += 1
            self.open, self.base = self.last, next(iter(self.published()), None)
            self._tell(self.open, "open")

    async def _write(self, docs: frozenset[str]) -> None:
        if self.open is not None:
            await self._index(self.open, docs)

    async def _publish(self, docs: frozenset[str]) -> None:
        """Of the documents those that base has are unchanged, save the first of them; the rest are new."""
        await self._start(docs)
        assert self.open is not None
        base = self.shown[self.base] if self.base is not None else {}
        changed = min(docs)
        manifest = {doc: base[doc] if doc in base and doc != changed else self._id(self.open, doc) for doc in docs}
        await self.store.undo(self.place, self.undone)
        await self._index(self.open, frozenset(doc for doc in docs if manifest[doc] == self._id(self.open, doc)))
        named = self._manifest(self.open, manifest)
        difference = _difference(named, await self.store.rows(self.place), frozenset(), self.undone)
        assert not difference.missing, "base still has what the manifest keeps"
        await self.store.delete_ids(self.place, sorted(difference.extra))
        await self.store.retire(self.place, sorted(difference.retired), self.open)
        self._tell(self.open, "published")
        self.shown[self.open], self.open = manifest, None

    async def _cancel(self, docs: frozenset[str]) -> None:
        """In the middle of the proof: some chunks are written, and some of base's are retired already."""
        await self._start(docs)
        assert self.open is not None
        await self._index(self.open, docs)
        live = live_ids(await self.store.rows(self.place), self.open, self.undone)
        await self.store.retire(self.place, [each for each in sorted(live) if self._doc(each) in docs], self.open)
        undone, self.open = self.open, None
        self._tell(undone, "undone")
        self.check(await self.store.rows(self.place))
        await self.store.undo(self.place, [undone])

    async def _rollback(self, docs: frozenset[str]) -> None:
        published = self.published()
        if self.open is None and len(published) > 1 and published[1] >= self.floor:
            self._tell(published[0], "undone")
            self.check(await self.store.rows(self.place))
            await self.store.undo(self.place, [published[0]])

    async def _vacuum(self, docs: frozenset[str]) -> None:
        published = self.published()
        keep = published[min(len(docs), len(published)) - 1] if published else 0
        if self.open is None and keep > self.floor:
            self.floor = keep
            await self.store.vacuum(self.place, self.floor, self.undone, all_of_it=False)

    async def _late(self, docs: frozenset[str]) -> None:
        """A worker that slept writes for a generation that was undone meanwhile, or retires what that left out."""
        for generation in sorted(self.undone):
            await self._index(generation, docs)
            rows = await self.store.rows(self.place)
            left_out = [each for each, born, retired in rows if born < generation and retired == NEVER]
            chosen = [each for each in sorted(left_out) if self._doc(each) in docs]
            await self.store.retire(self.place, chosen, generation)

    async def _sweep(self, docs: frozenset[str]) -> None:
        if self.undone:
            await self.store.erase(self.place, self.undone)

    async def _index(self, generation: int, docs: frozenset[str]) -> None:
        chunks = [
            StoredChunk(
                chunk_id=self._id(generation, doc), text=doc, url=doc, title="", heading_path=(), doc_hash=doc,
                text_hash=doc, job_id=str(generation), born=generation, ordinal=0,
            )
            for doc in sorted(docs)
        ]  # fmt: skip
        await self.store.insert(self.place, chunks, [np.zeros(2, dtype=np.float32) + 1.0] * len(chunks))

    def _tell(self, generation: int, state: Any) -> None:
        self.kbs.apply(
            record(
                GenerationState(
                    kb_id=self.place.tenant, generation=generation, job_id=str(generation), state=state, base=None,
                    collection=self.place.collection, changed_at=NOW,
                )
            )
        )  # fmt: skip

    def _id(self, generation: int, doc: str) -> str:
        return chunk_id(self.place.tenant, generation, doc)

    def _doc(self, wanted: str) -> str:
        return next(doc for doc in DOCS for g in range(1, self.last + 1) if self._id(g, doc) == wanted)

    def _manifest(self, generation: int, named: dict[str, str]) -> Manifest:
        manifest = Manifest(generation)
        for offset, (doc, each) in enumerate(named.items()):
            page = PageRecord(
                kb_id=self.place.tenant, generation=generation, job_id=str(generation), epoch=0, attempt=1, url=doc,
                state="fetched", chunks=(ChunkRef(each, generation),), fetched_at=NOW,
            )  # fmt: skip
            manifest.fold(offset, page)
        return manifest

    def searchable(self) -> list[int]:
        return [each for each in self.published() if each >= self.floor]

    def check(self, rows: list[Row]) -> None:
        for generation in self.searchable():
            assert live_ids(rows, generation, self.undone) == set(self.shown[generation].values()), generation


@settings(max_examples=200)
@given(STEPS)
@example(LATE_RETIREMENT)
def test_every_generation_that_can_be_searched_shows_its_manifest_at_any_time(steps: list[Step]) -> None:
    async def play() -> None:
        history = History(MemoryStore(), Tenancy("C", "kb"))
        for what, docs in steps:
            await history.play(what, docs)
            history.check(await history.store.rows(history.place))

    asyncio.run(play())


@given(STEPS)
def test_what_no_search_can_show_is_gone_after_vacuum(steps: list[Step]) -> None:
    async def play() -> None:
        history = History(MemoryStore(), Tenancy("C", "kb"))
        for step in [*steps, ("cancel", frozenset("a")), ("vacuum", frozenset("a")), ("sweep", frozenset("a"))]:
            await history.play(*step)
        kept = {each for generation in history.searchable() for each in history.shown[generation].values()}
        if len(history.searchable()) == 1:
            assert {each for each, _, _ in await history.store.rows(history.place)} == kept

    asyncio.run(play())


@pytest.fixture
async def weaviate(settings: Settings) -> AsyncIterator[VectorStore]:
    store = VectorStore(settings)
    yield store
    await store.stop()


async def test_weaviate_shows_the_same(weaviate: VectorStore) -> None:
    """Rows and the filter of a search, after each step of a few long histories."""
    for number, steps in enumerate(histories(8)):
        place = Tenancy("Headrace_property_2", f"kb{number}-{secrets.token_hex(4)}")
        await weaviate.ensure(place)
        real, model = History(weaviate, place), History(MemoryStore(), place)
        books = cast(Any, SimpleNamespace(kbs=real.kbs))
        for what, docs in steps:
            await real.play(what, docs)
            await model.play(what, docs)
            assert sorted(await weaviate.rows(place)) == sorted(await model.store.rows(place)), what
            for generation in real.searchable():
                tenant = await weaviate.tenant(place)
                assert tenant is not None
                at = cast(Any, SimpleNamespace(kb_id=place.tenant, generation=generation))
                found = await tenant.query.fetch_objects(
                    filters=view_of(books, at).condition, limit=100, return_properties=[]
                )
                assert {str(each.uuid) for each in found.objects} == set(real.shown[generation].values())
        await weaviate.drop_tenant(place)


def histories(count: int) -> list[list[Step]]:
    """Long ones of the strategy above, the same on every run."""
    found: list[list[Step]] = [LATE_RETIREMENT]

    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, min_size=3, max_size=3))
    def collect(drawn: list[list[Step]]) -> None:
        found.append([step for steps in drawn for step in steps][:25])

    collect()
    return found
