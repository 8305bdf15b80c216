"""Stored texts embedded anew, with a log and a store in memory: what comes out stands for what went in."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy
from producer.metrics import Metrics
from producer.reembed import (
    EMBEDDED_ANEW,
    PORTIONS_AT_ONCE,
    TEXTS_AT_FIRST,
    TEXTS_AT_ONCE,
    Reembedding,
    _portions,
    copied,
)
from producer.report import Reports
from producer.tokens import cl100k, word_pieces
from producer.tools import Tools
from schemas import identity
from schemas.chunks import Chunk, CrawlBegin, PageEnd
from schemas.commands import JobCommand
from schemas.facts import Stall
from schemas.kb import Embedding, GenerationState, resolve
from schemas.pages import ChunkRef, PageRecord
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import redirect
from tests.support.waiting import until
from tests.unit.producer.crawl_play import HerePool, Play, article

NEW = Embedding(provider="openai", model="text-embedding-3-large", dimensions=3072)


class Store:
    """Stands for Weaviate with what a crawl published, less `lost`. `unwell`: so many calls fail first."""

    def __init__(self, play: Play) -> None:
        self._play, self.lost, self.unwell = play, set[str](), 0
        self.asked: list[Tenancy] = []

    async def stored(self, place: Tenancy, ids: Sequence[str]) -> dict[str, StoredChunk]:
        self.asked.append(place)
        if self.unwell:
            self.unwell -= 1
            raise DependencyUnwell("Weaviate", "away")
        chunks = [e for e in self._play.log.events if isinstance(e, Chunk) and e.chunk_id in set(ids) - self.lost]
        names = ("chunk_id", "text", "url", "title", "heading_path", "doc_hash", "text_hash", "job_id", "ordinal")
        return {c.chunk_id: StoredChunk(born=c.generation, **{n: getattr(c, n) for n in names}) for c in chunks}


class Anew(Play):
    """A crawl, then its texts embedded anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *urls: str, **source: Any) -> None:
        super().__init__(monkeypatch, *urls, **source)
        self.store, self.published = Store(self), True
        self.embedding, self.reembeds = NEW, 1

    def epoch(self) -> Reembedding:
        definition = msgspec.structs.replace(resolve(self.definition, openai_available=False), embedding=self.embedding)
        command = JobCommand(
            job_id="anew", kb_id="kb", generation=self.reembeds + 1, reembeds=self.reembeds, partition=0,
            desired="running", revision=1,
            definition=definition, issued_at="t", issued_by="test",
        )  # fmt: skip
        tools = Tools(Settings(), self.log, HerePool(1), Reports(self.log, "test"), Metrics(), 1)  # type: ignore[arg-type]
        tools.__dict__["store"] = self.store

        async def source() -> GenerationState | None:
            state = GenerationState(
                kb_id="kb", generation=1, job_id="job-1", state="published", base=None, collection="Old", changed_at="t"
            )
            return state if self.published else None

        return Reembedding(command, tools, source)

    async def embed_anew(self) -> Any:
        self.generation = 2
        return await self.epoch().run()

    def chunks(self, generation: int) -> list[Chunk]:
        return [e for e in self.log.events if isinstance(e, Chunk) and e.generation == generation]

    def records(self, generation: int) -> dict[str, PageRecord]:
        return dict(self.log.manifest(generation, whole=True).whole)


@pytest.fixture
async def site() -> Any:
    async with FakeSite(pages=0) as site:
        site.put("/docs/", article("the start", "/docs/a", "/docs/b", "/docs/none", "/docs/moved"))
        site.behave("/docs/moved", redirect("/docs/a"))
        site.put("/docs/a", article("apples"))
        site.put("/docs/b", article("bees", "/docs/a"))
        yield site


@pytest.fixture
async def play(monkeypatch: pytest.MonkeyPatch, site: FakeSite) -> Anew:
    play = Anew(monkeypatch, site.url)
    await play.crawl()
    site.forget()
    return play


async def test_each_text_is_published_once_more_and_no_page_is_asked_for(play: Anew, site: FakeSite) -> None:
    ending = await play.embed_anew()
    assert site.requests.total() == 0
    assert ending.failure is None
    before, after = play.chunks(1), play.chunks(2)
    assert before
    same = ("doc_hash", "text_hash", "url", "title", "heading_path", "ordinal", "occurrence", "text", "language")
    assert sorted([getattr(c, n) for n in same] for c in after) == sorted([getattr(c, n) for n in same] for c in before)
    assert {c.chunk_id for c in after} == {identity.chunk_id("kb", 2, c.doc_hash) for c in before}
    assert {place.collection for place in play.store.asked} == {"Old"}
    assert (play.end.generation, play.end.errors, play.end.pages) == (2, 0, 4)
    assert play.end.digest == identity.manifest_digest(c.chunk_id for c in after)


async def test_ordinals_are_the_places_on_the_page_today(play: Anew, monkeypatch: pytest.MonkeyPatch) -> None:
    """What refreshes kept is stored with its place in an older generation."""
    stored = play.store.stored

    async def moved(place: Tenancy, ids: Sequence[str]) -> dict[str, StoredChunk]:
        found = await stored(place, ids)
        return {key: msgspec.structs.replace(each, ordinal=7 - each.ordinal) for key, each in found.items()}

    monkeypatch.setattr(play.store, "stored", moved)
    await play.embed_anew()
    assert {(c.doc_hash, c.ordinal) for c in play.chunks(2)} == {(c.doc_hash, c.ordinal) for c in play.chunks(1)}


async def test_tokens_are_those_of_the_new_model(play: Anew) -> None:
    await play.embed_anew()
    for chunk in play.chunks(2):
        embedded = identity.embedding_input(chunk.title, chunk.heading_path, chunk.text)
        assert chunk.tokens == cl100k().count(embedded)
    assert [c.tokens for c in play.chunks(1)] != [c.tokens for c in play.chunks(2)]
    embedded = [identity.embedding_input(c.title, c.heading_path, c.text) for c in play.chunks(1)]
    assert [c.tokens for c in play.chunks(1)] == [word_pieces().count(text) for text in embedded]


async def test_records_keep_all_that_a_refresh_asks_for(play: Anew, site: FakeSite) -> None:
    await play.embed_anew()
    before, after = play.records(1), play.records(2)
    assert before.keys() - after.keys() == {site.root + "/docs/none"}, "it was gone"
    for url, page in after.items():
        kept = ("etag", "last_modified", "content_hash", "template", "links", "title", "depth", "canonical_url")
        assert [getattr(page, name) for name in kept] == [getattr(before[url], name) for name in kept]
        assert page.attempt == 0
    with_text = after[site.root + "/docs/a"]
    assert (with_text.state, with_text.reason) == ("kept", EMBEDDED_ANEW)
    assert {ref.born for ref in with_text.chunks} == {2}
    moved = after[site.root + "/docs/moved"]
    assert (moved.state, moved.links) == ("redirected", (site.root + "/docs/a",))


async def test_the_next_refresh_asks_conditionally_and_keeps_every_chunk(play: Anew, site: FakeSite) -> None:
    await play.embed_anew()
    site.put("/docs/a", article("apricots"))
    await play.refresh()
    assert site.fetched["/docs/a"] == 1 and site.fetched["/docs/b"] == 0
    assert {c.url for c in play.chunks(3)} == {site.root + "/docs/a"}
    assert play.states["/docs/b"] == "unchanged"
    assert {ref.born for ref in play.pages["/docs/b"].chunks} == {2}


async def test_a_text_that_is_not_stored_is_left_out_and_its_page_read_at_the_next_refresh(
    play: Anew, site: FakeSite
) -> None:
    (lost,) = [c for c in play.chunks(1) if c.url.endswith("/docs/b")]
    play.store.lost.add(lost.chunk_id)
    await play.embed_anew()
    page = play.records(2)[site.root + "/docs/b"]
    assert (page.chunks, page.etag, page.last_modified, page.content_hash) == ((), None, None, None)
    assert page.reason == "1 of 1 texts are not stored: a refresh reads the page again"
    assert play.end.failure is None
    await play.refresh()
    assert [c.doc_hash for c in play.chunks(3)] == [lost.doc_hash]


async def test_what_does_not_fit_its_hashes_is_left_out(play: Anew, site: FakeSite, monkeypatch: Any) -> None:
    right = play.store.stored

    async def stored(place: Tenancy, ids: Sequence[str]) -> dict[str, StoredChunk]:
        found = await right(place, ids)
        wrong = {c.chunk_id for c in play.chunks(1) if c.url.endswith("/docs/b")}
        return {i: msgspec.structs.replace(c, text="other") if i in wrong else c for i, c in found.items()}

    monkeypatch.setattr(play.store, "stored", stored)
    await play.embed_anew()
    assert {c.url for c in play.chunks(2)} == {site.root + "/docs/", site.root + "/docs/a"}


async def test_with_no_text_at_all_the_job_fails(play: Anew) -> None:
    play.store.lost |= {c.chunk_id for c in play.chunks(1)}
    ending = await play.embed_anew()
    assert ending.failure == "no text of generation 1 is stored: start a crawl instead"
    assert play.end.failure == ending.failure


async def test_a_generation_that_is_not_published_has_nothing_to_give(play: Anew) -> None:
    play.published = False
    ending = await play.embed_anew()
    assert ending.failure == "generation 1 is not published: it has no texts to embed"
    assert play.chunks(2) == []


async def test_the_next_owner_does_what_is_left(play: Anew, site: FakeSite) -> None:
    await play.embed_anew()
    first = play.chunks(2)
    play.log.lost |= {
        n for n, e in enumerate(play.log.events, 1)
        if isinstance(e, PageRecord) and e.generation == 2 and e.url.endswith("/docs/b")
    }  # fmt: skip
    await play.embed_anew()
    assert [c.url for c in play.chunks(2)[len(first) :]] == [site.root + "/docs/b"]
    assert play.log.manifest(2).named() == {c.chunk_id for c in first}


async def test_pages_that_went_are_not_copied(play: Anew, site: FakeSite) -> None:
    url = site.root + "/docs/gone"
    gone = msgspec.structs.replace(play.records(1)[site.root + "/docs/b"], url=url, state="gone", chunks=(), links=())
    await play.log.publish(gone, partition=0)
    await play.embed_anew()
    assert url not in play.records(2)


async def test_while_weaviate_is_away_the_job_stalls_and_then_goes_on(play: Anew, monkeypatch: Any) -> None:
    monkeypatch.setattr("producer.reembed.BACK_OFF_S", 0.01)
    play.store.unwell = 3
    assert (await play.embed_anew()).failure is None
    stalls = [e for e in play.log.events if isinstance(e, Stall)]
    assert [(s.dependency, s.reason) for s in stalls] == [("Weaviate", "away")] * 3
    assert len({s.since for s in stalls}) == 1


async def test_halting_ends_a_stall_at_once(play: Anew) -> None:
    play.store.unwell = 1_000
    epoch = play.epoch()
    running = asyncio.create_task(epoch.run())

    async def stalled() -> bool:
        return any(isinstance(e, Stall) for e in play.log.events)

    await until(stalled)
    epoch.halt()
    async with asyncio.timeout(30):
        assert await running is None


async def test_what_an_older_producer_crawled_meanwhile_does_not_stay(play: Anew, site: FakeSite) -> None:
    """It knows no `reembeds`, and wrote a page late that the texts know nothing of."""
    epoch = play.epoch()
    right = play.store.stored

    async def late(place: Tenancy, ids: Sequence[str]) -> dict[str, StoredChunk]:
        if len(play.store.asked) == 0:
            page = msgspec.structs.replace(
                play.records(1)[site.root + "/docs/b"], url=site.root + "/docs/new", generation=2, epoch=0,
                chunks=(ChunkRef("x", 2),),
            )  # fmt: skip
            await play.log.publish(page, partition=0)
        return await right(place, ids)

    play.store.stored = late  # type: ignore[method-assign]
    play.generation = 2
    assert await epoch.run() is not None
    page = play.records(2)[site.root + "/docs/new"]
    assert (page.state, page.chunks) == ("gone", ())


async def test_progress_is_pages_that_are_left(play: Anew) -> None:
    epoch = play.epoch()
    await epoch.look()
    assert epoch.counts.pages_queued == 4
    await play.embed_anew()
    await epoch.look()
    assert (epoch.counts.pages_queued, epoch.counts.chunks_published) == (0, len(play.chunks(2)))


async def test_page_ends_name_what_was_published(play: Anew) -> None:
    await play.embed_anew()
    ends = [e for e in play.log.events if isinstance(e, PageEnd) and e.generation == 2]
    assert sorted(i for e in ends for i in e.chunk_ids) == sorted(c.chunk_id for c in play.chunks(2))
    assert [e.base for e in play.log.events if isinstance(e, CrawlBegin)][-1] is None
    for page in play.log.manifest(2).records():
        assert (page.page_end_offset is not None) == bool(page.chunks)


def test_a_portion_is_bounded() -> None:
    assert 0 < TEXTS_AT_ONCE <= 1_000, "what the store reads in one go"


async def test_the_first_portions_are_small_and_no_page_is_parted_or_left_out(play: Anew) -> None:
    (page, *_) = (page for page in play.log.manifest(1).records() if page.chunks)
    pages = [msgspec.structs.replace(page, url=f"{page.url}/{number}", chunks=page.chunks * 10) for number in range(99)]
    portions = list(_portions(iter(pages)))
    assert [each for some in portions for each in some] == pages
    texts = [sum(len(each.chunks) for each in some) for some in portions]
    assert max(texts[:PORTIONS_AT_ONCE]) < 2 * TEXTS_AT_FIRST
    assert all(TEXTS_AT_ONCE <= each < 2 * TEXTS_AT_ONCE for each in texts[PORTIONS_AT_ONCE:-1])


async def test_equal_texts_of_a_page_keep_their_numbers(play: Anew, site: FakeSite) -> None:
    """Also where one of them is not stored."""
    text = "".join(f"<h2>Same</h2><p>{'The same words stand here again. ' * 30}</p>" for _ in range(4))
    site.put("/docs/b", f"<main><h1>Bees</h1>{text}</main>")
    await play.refresh()
    of_page = [c for c in play.chunks(2) if c.url.endswith("/docs/b")]
    assert [c.occurrence for c in of_page] == [0, 0, 1, 2], "the first stands below another heading"
    lost = next(c for c in of_page if c.occurrence == 1)
    play.store.lost.add(lost.chunk_id)
    record = play.records(2)[site.root + "/docs/b"]
    stored = await play.store.stored(Tenancy("Old", "kb"), [ref.id for ref in record.chunks])
    page, chunks = copied(play.epoch()._command, 7, record, stored, cl100k())
    assert [c.occurrence for c in chunks] == [0, 0, 2]
    assert {c.doc_hash for c in chunks} == {c.doc_hash for c in of_page} - {lost.doc_hash}
    assert page.reason == "1 of 4 texts are not stored: a refresh reads the page again"


async def test_what_a_replaced_owner_wrote_behind_this_ones_beginning_is_published_again(
    play: Anew, site: FakeSite
) -> None:
    """Readers drop its chunks, whose `page_end` stands behind a newer `crawl_begin`."""
    await play.embed_anew()
    url = site.root + "/docs/b"
    written = [c for c in play.chunks(2) if c.url == url]
    late = msgspec.structs.replace(play.records(2)[url], page_end_offset=10**6)
    await play.log.publish(late, partition=0)
    await play.embed_anew()
    page = play.records(2)[url]
    assert page.epoch > late.epoch and page.page_end_offset is not None and page.page_end_offset < 10**6
    assert [c for c in play.chunks(2) if c.url == url] == written + [
        msgspec.structs.replace(c, epoch=page.epoch) for c in written
    ]


async def test_portions_side_by_side_give_the_same(play: Anew, site: FakeSite, monkeypatch: Any) -> None:
    monkeypatch.setattr("producer.reembed.TEXTS_AT_ONCE", 1)
    monkeypatch.setattr("producer.reembed.TEXTS_AT_FIRST", 1)
    for number in range(12):
        site.put(f"/docs/{number}", article(f"number {number}", f"/docs/{number + 1}"))
    site.put("/docs/b", article("bees", "/docs/0"))
    await play.refresh()
    play.reembeds, play.generation = 2, 3
    assert (await play.epoch().run()).failure is None  # type: ignore[union-attr]
    source, copies = play.log.manifest(2), play.log.manifest(3)
    assert len(play.store.asked) == len(copies.pages) > 12
    assert len(copies.named()) == len(source.named())


async def test_a_fault_in_one_portion_ends_them_all(play: Anew, monkeypatch: Any) -> None:
    monkeypatch.setattr("producer.reembed.TEXTS_AT_ONCE", 1)
    monkeypatch.setattr("producer.reembed.TEXTS_AT_FIRST", 1)

    async def broken(place: Tenancy, ids: Sequence[str]) -> dict[str, StoredChunk]:
        raise RuntimeError("a fault of ours")

    play.store.stored = broken  # type: ignore[method-assign]
    epoch = play.epoch()
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await epoch.run()
    assert epoch.cut_off and play.chunks(2) == []
