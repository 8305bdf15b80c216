"""How far a refresh believes what base says."""

import msgspec

from producer.base import Ground, base_pages
from schemas.pages import ChunkRef, PageRecord
from tests.unit.consumer.made import DEFINITION, NOW, command

PAGE = PageRecord(
    kb_id="docs", generation=1, job_id="job", epoch=0, attempt=1, url="https://docs.example.org/", state="fetched",
    etag='"1"', content_hash="hash", chunks=(ChunkRef("a", 1), ChunkRef("b", 1)), fetched_at=NOW,
)  # fmt: skip


def believed(ground: Ground) -> PageRecord:
    return base_pages(command(base=1, generation=2), ground, {PAGE.url: PAGE})[PAGE.url]


def test_a_page_whose_chunks_are_all_indexed_is_believed() -> None:
    assert believed(Ground(DEFINITION)) == PAGE


def test_a_chunk_that_is_not_indexed_is_sent_again() -> None:
    again = msgspec.structs.replace(PAGE, chunks=(ChunkRef("b", 1),), content_hash=None, etag=None)
    assert believed(Ground(DEFINITION, frozenset("a"))) == again


def test_where_more_are_missing_than_are_named_every_chunk_is_sent_again() -> None:
    assert believed(Ground(DEFINITION, frozenset("x"), not_indexed_cut=True)).chunks == ()
