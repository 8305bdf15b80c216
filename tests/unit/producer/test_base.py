"""How far a refresh believes what base says."""

import msgspec

from producer.base import Ground, base_pages
from producer.checkpoint import Manifest
from schemas.pages import ChunkRef, PageRecord
from tests.unit.consumer.made import DEFINITION, NOW, command

PAGE = PageRecord(
    kb_id="docs", generation=1, job_id="job", epoch=0, attempt=1, url="https://docs.example.org/", state="fetched",
    etag='"1"', content_hash="hash", chunks=(ChunkRef("a", 1), ChunkRef("b", 1)), fetched_at=NOW,
)  # fmt: skip


def believed(ground: Ground) -> PageRecord:
    manifest = Manifest(1, keep_whole=True)
    manifest.fold(0, PAGE)
    return base_pages(command(base=1, generation=2), ground, manifest)[PAGE.url]


def test_a_page_whose_chunks_are_all_indexed_is_believed() -> None:
    assert believed(Ground(DEFINITION)) == PAGE


def test_a_chunk_that_is_not_indexed_is_sent_again() -> None:
    again = msgspec.structs.replace(PAGE, chunks=(ChunkRef("b", 1),), content_hash=None, etag=None)
    assert believed(Ground(DEFINITION, frozenset("a"))) == again


def test_where_more_are_missing_than_are_named_every_chunk_is_sent_again() -> None:
    assert believed(Ground(DEFINITION, frozenset("x"), not_indexed_cut=True)).chunks == ()


def test_a_chunk_that_was_found_to_be_missing_is_sent_again_and_named_still_by_who_keeps_its_page() -> None:
    ground = Ground(DEFINITION, missing=frozenset("a"))
    kept = believed(ground)
    assert kept == msgspec.structs.replace(PAGE, etag=None)
    assert ground.stored(kept).chunks == (ChunkRef("b", 1),)


def test_where_more_were_found_to_be_missing_than_are_named_a_page_that_is_read_is_sent_whole() -> None:
    ground = Ground(DEFINITION, missing=frozenset("x"), missing_cut=True)
    kept = believed(ground)
    assert (kept.chunks, kept.etag, ground.stored(kept).chunks) == (PAGE.chunks, None, ())


def test_pages_that_have_content_or_lead_somewhere_are_known_with_all_their_links() -> None:
    manifest = Manifest(1, keep_whole=True)
    links = ("https://docs.example.org/a", "https://docs.example.org/b")
    pages = [
        msgspec.structs.replace(PAGE, url=f"{PAGE.url}{state}{len(leads_to)}", state=state, links=leads_to)
        for state in ("fetched", "skipped", "failed")
        for leads_to in ((), links)
    ]
    for offset, page in enumerate(pages):
        manifest.fold(offset, page)
    known = base_pages(command(base=1, generation=2), Ground(DEFINITION), manifest)
    assert {url.removeprefix(PAGE.url): page.links for url, page in known.items()} == {
        "fetched0": (), "fetched2": links, "skipped2": links, "failed2": links,
    }  # fmt: skip
