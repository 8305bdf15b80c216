"""Questions to a knowledge base: the chunks visible at one generation, by words, by meaning, or both."""

from typing import Any, Literal

import msgspec
from weaviate.classes.query import Filter, MetadataQuery
from weaviate.collections.collection import CollectionAsync
from weaviate.exceptions import WeaviateBaseError

from control.answers import Hit, SearchAnswer
from control.books import Books
from control.problems import Invalid, NotFound
from control.standing import standing
from headrace.embedding import Embedder, embedder_for
from headrace.embedding.base import TextsRefused, check_that_any_is_taken
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas.kb import Embedding, GenerationState

Mode = Literal["hybrid", "vector", "keyword"]

MAX_HITS = 100
MAX_QUERY_CHARS = 8_000
"""Well inside what the embedding models read."""
ALPHA = 0.6
"""Weight of meaning against words in a hybrid search."""
SEARCHED = ["text", "title", "heading_path"]
SHOWN = ["text", "title", "heading_path", "url"]


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`generation` null means the published one; where none is, the open one."""

    query: str
    k: int = 5
    mode: Mode = "hybrid"
    generation: int | None = None


class Searcher:
    """`search` (what `check` lets through); `stop`. Raises Problem, or DependencyUnwell for a service."""

    def __init__(self, books: Books, store: VectorStore, settings: Settings) -> None:
        self._books, self._store, self._settings = books, store, settings
        self._embedders: dict[Embedding, Embedder] = {}

    async def stop(self) -> None:
        for embedder in self._embedders.values():
            await embedder.stop()

    async def search(self, kb_id: str, request: SearchRequest) -> SearchAnswer:
        """Asks again where the generation was undone, vacuumed or deleted meanwhile: a part of it may be gone."""
        while True:
            known = standing(self._books, kb_id)
            at = known.searched() if request.generation is None else known.named(request.generation)
            if at is None:
                return _empty(request, None, f"{kb_id} has nothing indexed yet")
            try:
                answer = await self._search(kb_id, request, at)
            except DependencyUnwell:
                if standing(self._books, kb_id).has(at.generation):
                    raise
                continue
            if standing(self._books, kb_id).has(at.generation):
                return answer

    async def _search(self, kb_id: str, request: SearchRequest, at: GenerationState) -> SearchAnswer:
        tenant = await self._store.tenant(Tenancy(at.collection, kb_id))
        if tenant is None:
            return _empty(request, at, f"generation {at.generation} has nothing indexed yet")
        vector = None if request.mode == "keyword" else await self._vector(at, request.query)
        found = await _ask(tenant, request, vector, self._visible(kb_id, at.generation))
        return SearchAnswer(
            generation=at.generation,
            provisional=at.state == "open",
            mode=request.mode,
            hits=[_hit(each, request.mode) for each in found],
        )

    def _visible(self, kb_id: str, generation: int) -> Any:
        """born <= g and not undone, and retired after g or by an undone generation; nothing from before a deletion."""
        undone, kb = sorted(self._books.kbs.undone(kb_id)), self._books.kbs.get(kb_id)
        floor = kb.deleted_through if kb else 0
        born, retired = Filter.by_property("born"), Filter.by_property("retired")
        clauses = [born.less_or_equal(generation), born.greater_than(floor)]
        clauses += [born.not_equal(each) for each in undone if floor < each <= generation]
        kept = [retired.greater_than(generation), *(retired.equal(each) for each in undone if each <= generation)]
        return Filter.all_of([*clauses, Filter.any_of(kept)])

    async def _vector(self, at: GenerationState, query: str) -> list[float]:
        command = self._books.commands.get(at.job_id)
        if command is None:
            raise NotFound(f"the job of generation {at.generation} is not known", code="unknown-generation")
        profile = command.definition.embedding
        if profile not in self._embedders:
            self._embedders[profile] = embedder_for(profile, self._settings)
        embedder = self._embedders[profile]
        try:
            embedded = await embedder.embed([query])
        except TextsRefused as exc:
            await check_that_any_is_taken(embedder)
            raise Invalid(f"the query can't be embedded: {exc}", code="invalid-query") from exc
        return [float(value) for value in embedded.vectors[0]]


def check(request: SearchRequest) -> None:
    if not request.query.strip():
        raise Invalid("query is empty", code="invalid-query")
    if len(request.query) > MAX_QUERY_CHARS:
        raise Invalid(f"query has {len(request.query)} characters; at most {MAX_QUERY_CHARS}", code="invalid-query")
    if not 1 <= request.k <= MAX_HITS:
        raise Invalid(f"k is {request.k}; it must lie between 1 and {MAX_HITS}", code="invalid-query")


async def _ask(
    tenant: "CollectionAsync[Any, Any]", request: SearchRequest, vector: list[float] | None, visible: Any
) -> list[Any]:
    shared: dict[str, Any] = {"limit": request.k, "filters": visible, "return_properties": SHOWN}
    scored = shared | {"return_metadata": MetadataQuery(score=True)}
    try:
        if request.mode == "vector":
            metadata = MetadataQuery(distance=True)
            found = await tenant.query.near_vector(vector or [], return_metadata=metadata, **shared)
        elif request.mode == "keyword":
            found = await tenant.query.bm25(request.query, query_properties=SEARCHED, **scored)
        else:
            found = await tenant.query.hybrid(
                request.query, vector=vector, alpha=ALPHA, query_properties=SEARCHED, **scored
            )
    except WeaviateBaseError as exc:
        raise DependencyUnwell("Weaviate", f"the search failed: {' '.join(str(exc).split())[:300]}") from exc
    return list(found.objects)


def _hit(found: Any, mode: Mode) -> Hit:
    metadata, said = found.metadata, found.properties
    score = 1.0 - (metadata.distance or 0.0) if mode == "vector" else metadata.score or 0.0
    return Hit(
        chunk_id=str(found.uuid),
        url=said.get("url") or "",
        title=said.get("title") or "",
        heading_path=list(said.get("heading_path") or ()),
        text=said.get("text") or "",
        score=round(float(score), 6),
    )


def _empty(request: SearchRequest, at: GenerationState | None, note: str) -> SearchAnswer:
    return SearchAnswer(
        generation=at.generation if at else None,
        provisional=at is not None and at.state == "open",
        mode=request.mode,
        hits=[],
        note=note,
    )
