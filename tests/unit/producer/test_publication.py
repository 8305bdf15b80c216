import asyncio
from typing import Any

import msgspec

from producer.accounting import accounted
from producer.chunker import ChunkText
from producer.fetch import FetchResult
from producer.frontier import Entry
from producer.publication import Publication, _within, plan_chunks
from producer.visit import Visit
from producer.work import PageOutput
from schemas import identity
from schemas.codec import encode
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.kb import Definition, Source, resolve
from schemas.pages import ChunkRef, PageRecord

URL = "https://site.example/docs/"
DEFINITION = resolve(Definition(source=Source(urls=(URL,))), openai_available=False)
COMMAND = JobCommand(
    job_id="job", kb_id="kb", generation=3, base=2, partition=1, desired="running", revision=1, definition=DEFINITION,
    issued_at="2026-01-01T00:00:00.000Z", issued_by="test",
)  # fmt: skip


def content(*texts: str, content_hash: str = "h") -> PageOutput:
    pieces = tuple(ChunkText(text, "Title", ("Head",), ordinal, 9) for ordinal, text in enumerate(texts))
    return PageOutput(URL, title="Title", content_hash=content_hash, chunks=pieces)


def visit(read: PageOutput | None, state: Any = "fetched", **more: Any) -> Visit:
    result = FetchResult(URL, 200, b"", 10, 1.0, etag='"2"')
    return Visit(entry=Entry(URL, 1), attempt=1, state=state, status=200, result=result, content=read, **more)


def doc_hash(text: str, occurrence: int = 0) -> str:
    return identity.doc_hash(text, url=URL, heading_path=("Head",), occurrence=occurrence)


def base(*refs: tuple[str, int], content_hash: str = "h") -> PageRecord:
    chunks = tuple(ChunkRef(identity.chunk_id("kb", born, doc_hash(text)), born) for text, born in refs)
    return PageRecord(
        kb_id="kb", generation=2, job_id="before", epoch=1, attempt=1, url=URL, state="fetched", title="Before",
        etag='"1"', content_hash=content_hash, chunks=chunks, links=(URL + "a",), fetched_at="2026-01-01T00:00:00.000Z",
    )  # fmt: skip


class _Log:
    """Stands for a publisher whose broker answers at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, event: Event, *, partition: int) -> Any:
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        encode(event)  # as a publisher does
        self.events.append(event)
        future.set_result(Place(partition, len(self.events)))
        return future


async def published(
    made: Visit, known: PageRecord | None, stored: PageRecord | None = None
) -> tuple[list[str], PageRecord]:
    log = _Log()
    record = await Publication(COMMAND, 7, log, 0).publish(made, known, stored or known)  # type: ignore[arg-type]
    return [event.TYPE for event in log.events], record


def test_equal_texts_of_a_page_are_numbered() -> None:
    plan = plan_chunks(COMMAND, 7, visit(None), content("a", "b", "a"), None, "t")
    assert [(chunk.text, chunk.occurrence) for chunk in plan.new] == [("a", 0), ("b", 0), ("a", 1)]
    assert [chunk.ordinal for chunk in plan.new] == [0, 1, 2]
    assert len({ref.id for ref in plan.refs}) == 3


def test_ids_and_hashes_are_those_of_the_contract() -> None:
    (chunk,) = plan_chunks(COMMAND, 7, visit(None), content("a"), None, "t").new
    assert chunk.doc_hash == doc_hash("a")
    assert chunk.chunk_id == identity.chunk_id("kb", 3, doc_hash("a"))
    assert chunk.text_hash == identity.text_hash("Title > Head\n\na")


def test_a_chunk_that_base_has_keeps_its_id_and_birth() -> None:
    plan = plan_chunks(COMMAND, 7, visit(None), content("old", "new", "older"), base(("old", 2), ("older", 1)), "t")
    assert [chunk.text for chunk in plan.new] == ["new"]
    assert [ref.born for ref in plan.refs] == [2, 3, 1]


async def test_chunks_and_their_page_end_come_before_the_record() -> None:
    types, record = await published(visit(content("a", "b")), None)
    assert types == ["chunk", "chunk", "page_end", "page"]
    assert (record.state, record.epoch, record.attempt, len(record.chunks)) == ("fetched", 7, 1, 2)


async def test_the_same_content_as_base_is_unchanged_and_writes_no_chunk() -> None:
    types, record = await published(visit(content("a")), base(("a", 1)))
    assert types == ["page_end", "page"]
    assert (record.state, record.etag) == ("unchanged", '"2"')
    assert record.chunks == base(("a", 1)).chunks


async def test_not_modified_takes_over_what_base_knows() -> None:
    types, record = await published(visit(None, "unchanged", links=(URL + "a",)), base(("a", 1)))
    assert types == ["page"]
    assert (record.title, record.etag, record.content_hash) == ("Before", '"1"', "h")
    assert record.chunks == base(("a", 1)).chunks


async def test_what_a_page_says_of_itself_is_recorded_and_stays_while_it_is_unchanged() -> None:
    said = {"language": "en", "canonical_url": URL, "description": "About.", "published_on": "2026-01-02"}
    _, record = await published(visit(msgspec.structs.replace(content("a"), **said)), None)
    assert said.items() <= msgspec.structs.asdict(record).items()
    _, later = await published(visit(None, "unchanged"), msgspec.structs.replace(record, generation=2))
    assert said.items() <= msgspec.structs.asdict(later).items()


async def test_what_no_utf_8_holds_costs_the_page_and_is_no_error_of_the_crawl() -> None:
    spoilt = [msgspec.structs.replace(content("a"), title="\ud800"), content("a", "\ud800")]
    headers = msgspec.structs.replace(visit(content("a")), result=FetchResult(URL, 200, b"", 10, 1.0, etag="\udcff"))
    for made in (*map(visit, spoilt), headers):
        types, record = await published(made, None)
        assert types[-1] == "page"
        assert (record.state, record.chunks, record.etag) == ("failed", (), None)
        assert record.reason == "it holds text that is no Unicode"
        _, record = await published(made, base(("a", 1)))
        assert (record.state, record.chunks, record.etag) == ("kept", base(("a", 1)).chunks, '"1"')


async def test_an_error_keeps_bases_chunks() -> None:
    _, record = await published(visit(None, "kept", reason="timeout"), base(("a", 1)))
    assert (record.chunks, record.reason) == (base(("a", 1)).chunks, "timeout")


async def test_a_page_that_is_gone_names_no_chunk_and_tells_what_its_answer_cost() -> None:
    _, record = await published(visit(None, "gone", received=123, duration_ms=4.6), base(("a", 1)))
    assert (record.chunks, record.bytes, record.duration_ms) == ((), 123, 5)


async def test_a_page_of_too_many_chunks_is_skipped(monkeypatch: Any) -> None:
    monkeypatch.setattr("producer.publication.MAX_CHUNKS", 2)
    types, record = await published(visit(content("a", "b", "c")), None)
    assert (types, record.state) == (["page"], "skipped")
    assert record.reason == "too long: 3 chunks, a page may have 2"


async def test_one_of_base_that_is_too_long_now_names_what_is_lost_too(monkeypatch: Any) -> None:
    """Else the proof could not miss it."""
    monkeypatch.setattr("producer.publication.MAX_CHUNKS", 2)
    known, stored = base(("a", 1), ("b", 1)), base(("a", 1))
    _, record = await published(visit(content("a", "b", "c")), known, stored)
    assert (record.state, record.chunks) == ("kept", known.chunks)


def test_links_that_do_not_fit_are_said_to_be_missing() -> None:
    assert _within(["abc", "def"], max_bytes=12) == (("abc", "def"), False)
    assert _within(["abc", "def"], max_bytes=11) == (("abc",), True)


def test_a_page_of_base_that_was_not_reached_stays_and_one_unlinked_goes() -> None:
    kept = accounted(COMMAND, 7, base(("a", 1)), "kept", "limit")
    gone = accounted(COMMAND, 7, base(("a", 1)), "gone", "unlinked")
    assert (kept.generation, kept.epoch, kept.attempt, kept.job_id) == (3, 7, 0, "job")
    assert (kept.chunks, kept.etag) == (base(("a", 1)).chunks, '"1"')
    assert (gone.chunks, gone.links) == ((), ())
