"""Questions to a knowledge base: the chunks visible at one generation, by words, by meaning, or both."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from weaviate.classes.query import Filter, HybridFusion, MetadataQuery
from weaviate.collections.collection import CollectionAsync
from weaviate.exceptions import WeaviateBaseError

from control.answers.search import Hit, SearchAnswer
from control.books import Books
from control.filters import Narrowing
from control.folding import fold
from control.highlights import highlights
from control.neighbours import with_neighbours
from control.problems import Invalid, NotFound
from control.search_request import Mode, SearchRequest
from control.standing import standing
from control.view import View, view_of
from headrace.embedding import Embedded, Embedder, embedder_for
from headrace.embedding.base import TextsRefused, embed_harmless
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore
from schemas.kb import Embedding, GenerationState

ALPHA = 0.6
"""Weight of meaning against words in a hybrid search."""
FUSION = HybridFusion.RELATIVE_SCORE
SPARE = 10
"""Candidates beyond twice the hits asked for, where some may be folded or filtered away."""
MAX_CANDIDATES = 2_000
"""Looked at for one question at most: some 2 MB of text."""
SEARCHED = ["text^2", "title", "heading_path"]
"""With weights: every chunk of a page has its title. These, ALPHA and FUSION by `python -m bench search --sweep`."""
SHOWN = ["text", "title", "heading_path", "url"]


class Searcher:
    """`search` (what `check` lets through); `stop`. Raises Problem, or DependencyUnwell for a service."""

    def __init__(
        self, books: Books, store: VectorStore, settings: Settings, bill: Callable[[str, Embedding, int, int], None]
    ) -> None:
        """`bill(kb_id, profile, tokens, requests)` is told of each question that is embedded."""
        self._books, self._store, self._settings, self._bill = books, store, settings, bill
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
        place = Tenancy(at.collection, kb_id)
        tenant = await self._store.tenant(place)
        if tenant is None:
            return _empty(request, at, f"generation {at.generation} has nothing indexed yet")
        vector = None if request.mode == "keyword" else await self._vector(at, request.query)
        view = view_of(self._books, at)
        found, more = await best(tenant, request, vector, view)
        hits = await with_neighbours(self._store, place, view, found, request.neighbours)
        hits = await asyncio.to_thread(lambda: [_with_highlights(each, request) for each in hits])
        return SearchAnswer(
            generation=at.generation,
            provisional=at.state == "open",
            mode=request.mode,
            hits=hits,
            note=f"only the {MAX_CANDIDATES} nearest chunks were looked at: there may be more" if more else None,
        )

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
            self._account(at.kb_id, profile, await embed_harmless(embedder))
            raise Invalid(f"the query can't be embedded: {exc}", code="invalid-query") from exc
        self._account(at.kb_id, profile, embedded)
        return [float(value) for value in embedded.vectors[0]]

    def _account(self, kb_id: str, profile: Embedding, embedded: Embedded) -> None:
        self._bill(kb_id, profile, embedded.tokens, embedded.requests)


async def best(
    tenant: "CollectionAsync[Any, Any]",
    request: SearchRequest,
    vector: list[float] | None,
    view: View,
    fusion: HybridFusion = FUSION,
    searched: Sequence[str] = SEARCHED,
) -> tuple[list[Hit], bool]:
    """The hits, best first; and whether there may be more, beyond what was looked at."""
    narrowing = Narrowing(request.filters) if request.filters else None
    conditions = [view.condition, *(narrowing.conditions if narrowing else ())]
    limit = min(2 * request.k + SPARE, MAX_CANDIDATES) if narrowing or request.fold else request.k
    while True:
        found = await _ask(tenant, request, vector, Filter.all_of(conditions), fusion, searched, limit)
        hits = await asyncio.to_thread(_sifted, found, request, narrowing)
        if len(hits) == request.k or len(found) < limit:
            return hits, False
        if limit == MAX_CANDIDATES:
            return hits, True
        limit = min(4 * limit, MAX_CANDIDATES)


def _sifted(found: Sequence[Hit], request: SearchRequest, narrowing: Narrowing | None) -> list[Hit]:
    fitting = [each for each in found if narrowing is None or narrowing.passes(each.url, each.heading_path)]
    return fold(fitting, request.k) if request.fold else fitting[: request.k]


async def _ask(
    tenant: "CollectionAsync[Any, Any]",
    request: SearchRequest,
    vector: list[float] | None,
    where: Any,
    fusion: HybridFusion,
    searched: Sequence[str],
    limit: int,
) -> list[Hit]:
    shared: dict[str, Any] = {"limit": limit, "filters": where, "return_properties": SHOWN}
    scored = shared | {"return_metadata": MetadataQuery(score=True)}
    try:
        if request.mode == "vector":
            metadata = MetadataQuery(distance=True)
            found = await tenant.query.near_vector(vector or [], return_metadata=metadata, **shared)
        elif request.mode == "keyword":
            found = await tenant.query.bm25(request.query, query_properties=list(searched), **scored)
        else:
            alpha = ALPHA if request.alpha is None else request.alpha
            found = await tenant.query.hybrid(
                request.query, vector=vector, alpha=alpha, fusion_type=fusion, query_properties=list(searched), **scored
            )
    except WeaviateBaseError as exc:
        raise DependencyUnwell("Weaviate", f"the search failed: {' '.join(str(exc).split())[:300]}") from exc
    return [_hit(each, request.mode) for each in found.objects]


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


def _with_highlights(hit: Hit, request: SearchRequest) -> Hit:
    return msgspec.structs.replace(hit, highlights=highlights(hit.text, request.query, request.highlights))


def _empty(request: SearchRequest, at: GenerationState | None, note: str) -> SearchAnswer:
    return SearchAnswer(
        generation=at.generation if at else None,
        provisional=at is not None and at.state == "open",
        mode=request.mode,
        hits=[],
        note=note,
    )
