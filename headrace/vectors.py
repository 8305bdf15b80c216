"""Weaviate: one collection per embedding profile, one tenant per knowledge base, one object per chunk.

An object is visible at generation g where `born <= g < retired`. Properties that are filtered on are tokenized as whole
fields: with Weaviate's default, deleting the chunks of `a/b.html` would also delete those of `a/b.c.html`.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
import weaviate
from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.classes.query import Filter
from weaviate.classes.tenants import Tenant
from weaviate.collections.collection import CollectionAsync
from weaviate.exceptions import WeaviateBaseError

from headrace.embedding.base import Vectors
from headrace.errors import DependencyUnwell
from headrace.objects import request_of
from headrace.settings import Settings
from schemas.kb import NEVER

log = logging.getLogger(__name__)

PAGE = 5_000
"""Ids asked for, or deleted, at once; Weaviate refuses offsets beyond 10,000, so listings go by cursor."""
MOST_AT_ONCE = 10_000
"""Weaviate's own limit to what one question gives."""
LISTED_AT_ONCE = 1_000
"""Objects that a listing decodes in one go: some 20 ms, in which nothing else runs."""
REWRITTEN_AT_ONCE = 1_000
"""Objects that are read and written again at once: 13 MB with 1,536 dimensions."""
INSERT_S, INSERT_AGAIN = 60, 2
"""Longest wait for one request that writes; and how often it is sent again where no connection took it."""
MAX_REASON = 300
"""Characters of what Weaviate says of an object."""
READ_FOR_S = 5.0
"""Below the usual session: nobody else owns the job within this time of having owned it."""


class StoredChunk(msgspec.Struct, frozen=True, kw_only=True):
    """An object's properties. `retired` is NEVER until a published generation leaves the chunk out."""

    chunk_id: str
    text: str
    url: str
    title: str
    heading_path: tuple[str, ...]
    doc_hash: str
    text_hash: str
    job_id: str
    born: int
    ordinal: int
    retired: int = NEVER


class PlacedChunk(msgspec.Struct, frozen=True, gc=False):
    """A chunk's place on its page (`ordinal`, in the generation that wrote it) and in time."""

    chunk_id: str
    ordinal: int
    born: int
    retired: int


class Tenancy(msgspec.Struct, frozen=True):
    """Where a knowledge base's objects live."""

    collection: str
    tenant: str


class Found(msgspec.Struct, frozen=True):
    """What is stored already: ids among those asked for, and vectors (float32[dim]) by text_hash."""

    ids: frozenset[str]
    vectors: Mapping[str, Vectors]


class VectorStore:
    """`start`, then use from one event loop, `stop`. Every call raises DependencyUnwell where Weaviate is unwell."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: weaviate.WeaviateAsyncClient | None = None
        self._known: set[Tenancy] = set()
        self._connecting = asyncio.Lock()

    async def stop(self) -> None:
        if self._client:
            await self._client.close()

    async def ensure(self, place: Tenancy) -> None:
        """Makes the collection and the tenant where they are missing."""
        if place in self._known:
            return
        with _unwell():
            client = await self._connected()
            if not await client.collections.exists(place.collection):
                await self._create(client, place.collection)
            tenants = client.collections.use(place.collection).tenants
            if not await tenants.exists(place.tenant):
                await tenants.create(Tenant(name=place.tenant))
        self._known.add(place)

    async def lookup(self, place: Tenancy, ids: Sequence[str], text_hashes: Sequence[str]) -> Found:
        """Which of `ids` are stored, and the vectors of `text_hashes` under any id."""
        with self._forgetting(place):
            objects = await self._tenant(place)
            by_id = await objects.query.fetch_objects(
                filters=Filter.by_id().contains_any(list(ids)), limit=len(ids), return_properties=[]
            )
            texts = await self._by_text(objects, text_hashes, vectors=True)
        vectors = {text: np.asarray(each.vector["default"], dtype=np.float32) for text, each in texts.items()}
        return Found(frozenset(str(each.uuid) for each in by_id.objects), vectors)

    async def holds(self, place: Tenancy, text_hashes: Sequence[str]) -> set[str]:
        """Which of these texts are stored under any id; any number of them."""
        found: set[str] = set()
        with self._forgetting(place):
            tenant = await self.tenant(place)
            for start in range(0, len(text_hashes) if tenant else 0, LISTED_AT_ONCE):
                assert tenant is not None
                found |= (
                    await self._by_text(tenant, text_hashes[start : start + LISTED_AT_ONCE], vectors=False)
                ).keys()
        return found

    async def _by_text(
        self, tenant: "CollectionAsync[Any, Any]", text_hashes: Sequence[str], *, vectors: bool
    ) -> dict[str, Any]:
        """An object of each text. One on every page is stored under many ids and crowds others out: those are asked
        for again."""
        found: dict[str, Any] = {}
        while wanted := [text_hash for text_hash in dict.fromkeys(text_hashes) if text_hash not in found]:
            limit = 4 * len(wanted)
            answer = await tenant.query.fetch_objects(
                filters=Filter.by_property("text_hash").contains_any(wanted),
                limit=limit,
                include_vector=vectors,
                return_properties=["text_hash"],
            )
            found |= {str(each.properties["text_hash"]): each for each in answer.objects}
            if len(answer.objects) < limit:
                break
        return found

    async def stored(self, place: Tenancy, ids: Sequence[str]) -> dict[str, StoredChunk]:
        """Those of `ids` that are stored, by id; any number of them."""
        found: dict[str, StoredChunk] = {}
        with self._forgetting(place):
            tenant = await self.tenant(place)
            for start in range(0, len(ids) if tenant else 0, LISTED_AT_ONCE):
                assert tenant is not None
                some = list(ids[start : start + LISTED_AT_ONCE])
                answer = await tenant.query.fetch_objects(filters=Filter.by_id().contains_any(some), limit=len(some))
                found |= {str(each.uuid): _stored(str(each.uuid), each.properties) for each in answer.objects}
        return found

    async def on_page(self, place: Tenancy, url: str) -> list[PlacedChunk]:
        """All chunks of a page that are stored, of any generation, in no order."""
        with self._forgetting(place):
            tenant = await self.tenant(place)
            if tenant is None:
                return []
            found = await tenant.query.fetch_objects(
                filters=Filter.by_property("url").equal(url),
                limit=MOST_AT_ONCE,
                return_properties=["ordinal", "born", "retired"],
            )
        return [
            PlacedChunk(str(each.uuid), *(int(each.properties[name]) for name in ("ordinal", "born", "retired")))
            for each in found.objects
        ]

    async def insert(self, place: Tenancy, chunks: Sequence[StoredChunk], vectors: Sequence[Vectors]) -> dict[int, str]:
        """Writes objects, replacing those with the same id. Returns index to reason of those refused by themselves."""
        objects = ((c.chunk_id, _properties(c), vector) for c, vector in zip(chunks, vectors, strict=True))
        with self._forgetting(place):
            await self.ensure(place)
            reasons = await self._write(request_of(place.collection, place.tenant, objects))
            if unwell := [reason for reason in reasons.values() if not _REFUSED.search(reason)]:
                raise _refuses_writes(unwell[0])
            return reasons

    async def _write(self, request: Any) -> dict[int, str]:
        """Index to reason of the objects that are not taken."""
        connection = (await self._connected())._connection
        failed = await connection.grpc_batch_objects(request, timeout=INSERT_S, max_retries=INSERT_AGAIN)
        return {index: reason[:MAX_REASON] for index, reason in failed.items()}

    async def ids(self, place: Tenancy) -> AsyncIterator[tuple[str, int, int]]:
        """(chunk id, born, retired) of every object of the tenant, in no order."""
        with self._forgetting(place):
            tenant = await self.tenant(place)
            if tenant is None:
                return
            async for each in tenant.iterator(return_properties=["born", "retired"], cache_size=LISTED_AT_ONCE):
                yield str(each.uuid), int(each.properties["born"]), int(each.properties["retired"])

    async def texts(self, place: Tenancy) -> AsyncIterator[tuple[str, str, int, int]]:
        """(chunk id, text_hash, born, retired) of every object of the tenant, in the order of ids: as if at random."""
        wanted = ["text_hash", "born", "retired"]
        with self._forgetting(place):
            tenant = await self.tenant(place)
            if tenant is None:
                return
            async for each in tenant.iterator(return_properties=wanted, cache_size=LISTED_AT_ONCE):
                text_hash, born, retired = (each.properties[name] for name in wanted)
                yield str(each.uuid), str(text_hash), int(born), int(retired)

    async def delete_ids(self, place: Tenancy, ids: Sequence[str]) -> None:
        with self._forgetting(place):
            tenant = await self.tenant(place)
            if tenant is None:
                return
            for start in range(0, len(ids), PAGE):
                await _delete(tenant, Filter.by_id().contains_any(list(ids[start : start + PAGE])))

    async def rows(self, place: Tenancy) -> list[tuple[str, int, int]]:
        """(chunk id, born, retired) of every object of the tenant, in no order."""
        return [row async for row in self.ids(place)]

    async def undo(self, place: Tenancy, generations: Collection[int]) -> int:
        """Deletes what the generations wrote and takes back what they retired; returns the number deleted.

        Proves the absence: returns only once a count gives none.
        """
        if not generations:
            return 0
        deleted = await self.erase(place, generations)
        with self._forgetting(place):
            tenant = await self.tenant(place)
            retired = Filter.by_property("retired").contains_any(list(generations))
            while tenant is not None and (ids := await self._page_of_ids(tenant, retired)):
                await self._set_retired(place, tenant, ids, NEVER)
        return deleted

    async def erase(self, place: Tenancy, generations: Collection[int]) -> int:
        """Deletes what the generations wrote, until a count gives none."""
        return await self._delete_all(place, Filter.by_property("born").contains_any(list(generations)))

    async def vacuum(self, place: Tenancy, below: int, undone: Collection[int], *, all_of_it: bool) -> int:
        """Deletes what only generations below `below` showed, and what undone ones wrote, until a count gives none.

        `all_of_it`: no other generation shows anything of this collection. What an undone generation retired is not.
        """
        born, retired = Filter.by_property("born"), Filter.by_property("retired")
        kept = [retired.not_equal(each) for each in sorted(undone) if each <= below]
        unseen = born.less_than(below) if all_of_it else Filter.all_of([retired.less_or_equal(below), *kept])
        deleted = await self._delete_all(place, unseen)
        return deleted + (await self.erase(place, undone) if undone else 0)

    async def _delete_all(self, place: Tenancy, where: Any) -> int:
        deleted = 0
        with self._forgetting(place):
            tenant = await self.tenant(place)
            while tenant and (await tenant.aggregate.over_all(filters=where, total_count=True)).total_count:
                deleted += await _delete(tenant, where)
        return deleted

    async def retire(self, place: Tenancy, ids: Sequence[str], generation: int) -> None:
        """The chunks are no longer visible from `generation` on."""
        with self._forgetting(place):
            await self._set_retired(place, await self._tenant(place), ids, generation)

    async def drop_tenant(self, place: Tenancy) -> None:
        """Removes the knowledge base's objects for good."""
        with _unwell():
            client = await self._connected()
            if await client.collections.exists(place.collection):
                await client.collections.use(place.collection).tenants.remove([place.tenant])
        self._known.discard(place)

    async def tenant(self, place: Tenancy) -> "CollectionAsync[Any, Any] | None":
        """The tenant for queries, or None where nothing was ever written."""
        with _unwell():
            client = await self._connected()
            collection = client.collections.use(place.collection)
            if place in self._known:
                return collection.with_tenant(place.tenant)
            if not await client.collections.exists(place.collection):
                return None
            if not await collection.tenants.exists(place.tenant):
                return None
            return collection.with_tenant(place.tenant)

    async def _page_of_ids(self, tenant: "CollectionAsync[Any, Any]", where: Any) -> list[str]:
        found = await tenant.query.fetch_objects(filters=where, limit=PAGE, return_properties=[])
        return [str(each.uuid) for each in found.objects]

    async def _set_retired(
        self, place: Tenancy, tenant: "CollectionAsync[Any, Any]", ids: Sequence[str], generation: int
    ) -> None:
        """Writes whole objects again: many times as fast as a patch of each, and a vector that stays costs nothing.

        What was read too long ago is read again, in halves: a worker that slept must not bring back what is deleted by
        now, and one that is slow must get on.
        """
        for start in range(0, len(ids), REWRITTEN_AT_ONCE):
            some = list(ids[start : start + REWRITTEN_AT_ONCE])
            await self._rewrite(place, tenant, some, {"retired": generation})

    async def _rewrite(
        self, place: Tenancy, tenant: "CollectionAsync[Any, Any]", ids: list[str], properties: dict[str, Any]
    ) -> None:
        read_at = time.monotonic()
        found = await tenant.query.fetch_objects(
            filters=Filter.by_id().contains_any(ids), limit=len(ids), include_vector=True
        )
        if time.monotonic() - read_at > READ_FOR_S and len(ids) > 1:
            half = len(ids) // 2
            await self._rewrite(place, tenant, ids[:half], properties)
            await self._rewrite(place, tenant, ids[half:], properties)
            return
        objects = [
            (str(each.uuid), {**each.properties, **properties}, np.asarray(each.vector["default"], dtype=np.float32))
            for each in found.objects
        ]
        failed = await self._write(request_of(place.collection, place.tenant, objects)) if objects else {}
        if failed:
            raise _refuses_writes(next(iter(failed.values())))

    async def _tenant(self, place: Tenancy) -> "CollectionAsync[Any, Any]":
        await self.ensure(place)
        client = await self._connected()
        return client.collections.use(place.collection).with_tenant(place.tenant)

    async def _connected(self) -> weaviate.WeaviateAsyncClient:
        async with self._connecting:
            if self._client is None:
                client = _client(self._settings)
                try:
                    await client.connect()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client

    async def _create(self, client: weaviate.WeaviateAsyncClient, name: str) -> None:
        try:
            await client.collections.create(
                name,
                multi_tenancy_config=Configure.multi_tenancy(enabled=True),
                vector_config=Configure.Vectors.self_provided(vector_index_config=vector_index()),
                properties=_schema(),
            )
        except WeaviateBaseError:
            if not await client.collections.exists(name):  # else another worker was first
                raise

    @contextmanager
    def _forgetting(self, place: Tenancy) -> "Iterator[None]":
        """On trouble, what is known of the tenant may be wrong: it is looked up again next time."""
        try:
            with _unwell():
                yield
        except DependencyUnwell:
            self._known.discard(place)
            raise


def vector_index() -> Any:
    """What new collections have: 8 bits a dimension in the index, whole vectors in the objects.

    Measured (`python -m bench weaviate_writing`): written faster, the more so the longer vectors are, and, rescored,
    found as well. Collections that are there already stay as they were made.
    """
    quantizer = Configure.VectorIndex.Quantizer.rq(bits=8)
    return Configure.VectorIndex.hnsw(distance_metric=VectorDistances.COSINE, quantizer=quantizer)


async def _delete(tenant: "CollectionAsync[Any, Any]", where: Any) -> int:
    """Deletes up to Weaviate's limit for one call; returns how many. What it fails to delete is its trouble."""
    done = await tenant.data.delete_many(where=where)
    if done.failed:
        raise DependencyUnwell("Weaviate", f"can't delete {done.failed} objects")
    return int(done.successful)


def _client(settings: Settings) -> weaviate.WeaviateAsyncClient:
    parts = urlsplit(settings.weaviate)
    host, secure = parts.hostname or "127.0.0.1", parts.scheme == "https"
    key = settings.weaviate_api_key
    return weaviate.use_async_with_custom(
        http_host=host,
        http_port=parts.port or (443 if secure else 80),
        http_secure=secure,
        grpc_host=host,
        grpc_port=settings.weaviate_grpc_port,
        grpc_secure=secure,
        auth_credentials=Auth.api_key(key.reveal()) if key else None,
        additional_config=AdditionalConfig(timeout=Timeout(init=5, query=30, insert=INSERT_S)),
        skip_init_checks=True,
    )


def _schema() -> list[Property]:
    """Nothing filters on a word of a text or title: an index for that beside that of BM25 would only slow writing."""
    whole: dict[str, Any] = {
        "data_type": DataType.TEXT, "tokenization": Tokenization.FIELD, "index_searchable": False,
    }  # fmt: skip
    return [
        *(Property(name=name, data_type=DataType.TEXT, index_filterable=False) for name in ("text", "title")),
        Property(name="heading_path", data_type=DataType.TEXT_ARRAY),
        *(Property(name=name, **whole) for name in ("url", "doc_hash", "text_hash", "job_id")),
        *(Property(name=name, data_type=DataType.INT, index_range_filters=True) for name in ("born", "retired")),
        Property(name="ordinal", data_type=DataType.INT, index_filterable=False),
    ]


def _properties(chunk: StoredChunk) -> dict[str, Any]:
    fields = msgspec.structs.asdict(chunk)
    del fields["chunk_id"]
    return fields | {"heading_path": list(chunk.heading_path)}


def _stored(chunk_id: str, properties: Mapping[str, Any]) -> StoredChunk:
    """What is empty may come back as nothing."""
    known = {name: value for name, value in properties.items() if value is not None}
    return msgspec.convert(
        {"text": "", "title": "", "heading_path": (), **known, "chunk_id": chunk_id}, StoredChunk, strict=False
    )


_REFUSED = re.compile(
    r"vectors? (with |of |have )?(length|dimension)|invalid (\w+ ){0,2}(property|value|vector)\b|invalid '?(uuid|id)\b"
    r"|not a valid uuid|no such prop|(object|property|value|text|vector)\b.{0,40} too (large|long)",
    re.IGNORECASE,
)
"""What Weaviate says of an object that is at fault. It reports its own trouble per object too, in words that change
from one version to the next: all else is taken for that, and waited for under those words."""


def _refuses_writes(message: str) -> DependencyUnwell:
    advice = "is read-only: make room on its disk and in its memory" if "read-only" in message else "refuses writes"
    return DependencyUnwell("Weaviate", f"{advice}: {' '.join(message.split())[:300]}")


@contextmanager
def _unwell() -> "Iterator[None]":
    try:
        yield
    except (WeaviateBaseError, httpx.HTTPError, OSError, TimeoutError) as exc:
        raise DependencyUnwell("Weaviate", _reason(exc)) from exc
    except AttributeError as exc:
        if exc.name != "getpeername":
            raise
        # A connection that was closed as soon as it stood: anyio asks its socket all the same, and there is none.
        raise DependencyUnwell("Weaviate", "can't be reached: it closes connections at once") from exc


def _reason(exc: BaseException) -> str:
    text = " ".join(str(exc).split())[:300] or type(exc).__name__
    return f"can't be reached or refuses: {text}"


def live_ids(rows: Iterable[tuple[str, int, int]], generation: int, undone: frozenset[int]) -> set[str]:
    """The ids visible at `generation`; what undone generations wrote or retired is looked through."""
    return {
        chunk_id
        for chunk_id, born, retired in rows
        if born <= generation and born not in undone and (retired > generation or retired in undone)
    }
