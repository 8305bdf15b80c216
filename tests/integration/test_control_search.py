"""Search and deletion against a real Weaviate, with objects as the consumer writes them."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from headrace.embedding import Embedder, embedder_for
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore
from schemas import identity
from schemas.kb import NEVER, Embedding, collection_name
from tests.integration.control_play import API, DEFINITION, Api, Json, Played, control, free_port, kb_name

PROFILE = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
COLLECTION = collection_name(PROFILE)

TEXTS = {
    "gate": "The sluice gate can be opened, held and shut by turning the iron wheel.",
    "wheel": "Water falls on the buckets and turns the mill wheel.",
    "bread": "Flour is baked into bread by the miller's cousin.",
}


@pytest.fixture
async def embedder(settings: Settings) -> AsyncIterator[Embedder]:
    embedder = embedder_for(PROFILE, settings)
    yield embedder
    await embedder.stop()


async def write(
    store: VectorStore, embedder: Embedder, kb: str, names: str, *, born: int, retired: int = NEVER
) -> None:
    chosen = names.split()
    place = Tenancy(COLLECTION, kb)
    await store.ensure(place)
    embedded = await embedder.embed([TEXTS[name] for name in chosen])
    chunks = [
        StoredChunk(
            chunk_id=identity.chunk_id(kb, born, name), text=TEXTS[name], url=f"https://example.org/{name}", title=name,
            heading_path=("Mill",), doc_hash=name, text_hash=name, job_id="j", born=born, ordinal=0, retired=retired,
        )
        for name in chosen
    ]  # fmt: skip
    assert await store.insert(place, chunks, list(embedded.vectors)) == {}


async def found(api: Api, kb: str, query: str, **more: object) -> tuple[int | None, list[str]]:
    answer = await api.ok("POST", f"{API}/kb/{kb}/search", {"query": query, **more})
    return answer["generation"], [hit["title"] for hit in answer["hits"]]


async def open_generation(api: Api, settings: Settings, publisher: Publisher, kb: str, body: Json | None) -> Played:
    job = Played(settings, publisher, await api.start(kb, body))
    await job.generation("open", collection=COLLECTION)
    return job


async def finish(api: Api, job: Played, kb: str) -> None:
    await job.generation("published", collection=COLLECTION)
    await job.finish()
    await api.until(kb, "completed")


async def test_search_sees_one_generation(
    settings: Settings, publisher: Publisher, store: VectorStore, embedder: Embedder
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        await api.ok("PUT", f"{API}/kb/{kb}", DEFINITION)
        answer = await api.ok("POST", f"{API}/kb/{kb}/search", {"query": "water"})
        assert (answer["generation"], answer["hits"]) == (None, []) and "nothing indexed" in answer["note"]

        job = await open_generation(api, settings, publisher, kb, DEFINITION)
        await job.crawl("crawling", 1)
        await api.until(kb, "running")
        answer = await api.ok("POST", f"{API}/kb/{kb}/search", {"query": "water"})
        assert (answer["provisional"], answer["hits"]) == (True, [])
        await write(store, embedder, kb, "gate", born=1, retired=2)
        await write(store, embedder, kb, "wheel bread", born=1)
        answer = await api.ok("POST", f"{API}/kb/{kb}/search", {"query": "what turns the mill?", "k": 1})
        assert (answer["provisional"], [hit["title"] for hit in answer["hits"]]) == (True, ["wheel"])
        assert answer["hits"][0].keys() >= {"chunk_id", "url", "title", "heading_path", "text", "score"}
        narrowed = {"query": "turning a wheel", "filters": {"path": "/g*", "heading": "mill"}, "neighbours": 1}
        (hit,) = (await api.ok("POST", f"{API}/kb/{kb}/search", narrowed))["hits"]
        marked = [part["text"] for passage in hit["highlights"] for part in passage if part["match"]]
        assert (hit["title"], marked, hit["before"]) == ("gate", ["turning", "wheel"], [])
        await finish(api, job, kb)

        second = await open_generation(api, settings, publisher, kb, None)
        await write(store, embedder, kb, "gate", born=2)  # written again, as by an edit elsewhere
        assert await found(api, kb, "sluice gate", mode="keyword", k=5) == (1, ["gate"])
        assert len((await found(api, kb, "sluice gate", mode="vector", k=5))[1]) == 3
        await finish(api, second, kb)
        assert await found(api, kb, "sluice gate", mode="keyword") == (2, ["gate"])
        assert await found(api, kb, "sluice gate", mode="keyword", generation=1) == (1, ["gate"])

        third = await open_generation(api, settings, publisher, kb, None)
        await write(store, embedder, kb, "wheel", born=3)
        await api.command(kb, "cancel")
        await third.generation("undone", collection=COLLECTION)
        await third.index("undone", 2)
        await api.until(kb, "cancelled")
        fourth = await open_generation(api, settings, publisher, kb, None)
        await finish(api, fourth, kb)
        # what the undone generation wrote late is not seen by a later one
        assert await found(api, kb, "buckets", mode="keyword", k=5) == (4, ["wheel"])

        status, problem = await api.call("POST", f"{API}/kb/{kb}/search", {"query": "q", "generation": 3})
        assert status == 404 and "undone" in problem["detail"]
        status, problem = await api.call("POST", f"{API}/kb/{kb}/search", {"query": "q", "generation": 9})
        assert status == 404 and "no generation 9" in problem["detail"]


async def test_a_deleted_kb_leaves_no_object_and_comes_back_clean(
    settings: Settings, publisher: Publisher, store: VectorStore, embedder: Embedder
) -> None:
    kb, other = kb_name(), kb_name()
    async with control(settings) as api:
        for name in (kb, other):
            job = await open_generation(api, settings, publisher, name, DEFINITION)
            await write(store, embedder, name, "gate", born=1)
            await finish(api, job, name)
        assert (await api.ok("DELETE", f"{API}/kb/{kb}"))["deleted"]
        looking = VectorStore(settings)  # one that remembers nothing of the tenant
        assert await looking.tenant(Tenancy(COLLECTION, kb)) is None
        await looking.stop()
        assert await found(api, other, "gate", mode="keyword") == (1, ["gate"])
        assert (await api.call("GET", f"{API}/kb/{kb}"))[0] == 404
        assert (await api.call("POST", f"{API}/kb/{kb}/start"))[0] == 404
        assert (await api.call("POST", f"{API}/kb/{kb}/search", {"query": "q"}))[0] == 404
        assert (await api.ok("DELETE", f"{API}/kb/{kb}"))["deleted"]
        again = await api.start(kb, DEFINITION)
        assert (again["generation"], (await api.status(kb))["base"]) == (2, None)
        assert await found(api, kb, "gate") == (None, [])
        status, _ = await api.call("POST", f"{API}/kb/{kb}/search", {"query": "q", "generation": 1})
        assert status == 404


async def test_weaviate_away_is_said_and_nothing_is_changed(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    away = replace(settings, weaviate_url=f"http://127.0.0.1:{free_port()}", weaviate_grpc_port=free_port())
    async with control(away) as api:
        job = await open_generation(api, settings, publisher, kb, DEFINITION)
        await finish(api, job, kb)
        for method, path in (("POST", f"{API}/kb/{kb}/search"), ("DELETE", f"{API}/kb/{kb}")):
            status, problem = await api.call(method, path, {"query": "q"} if method == "POST" else None)
            assert status == 503 and "Weaviate" in problem["detail"]
        assert (await api.ok("GET", f"{API}/kb/{kb}"))["published_generation"] == 1
