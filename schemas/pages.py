"""What was learnt of a page: the crawl's checkpoint, and a generation's complete manifest."""

from typing import ClassVar, Literal

import msgspec

from schemas.events import Event, Int64
from schemas.identity import page_key

PageState = Literal["fetched", "unchanged", "redirected", "kept", "gone", "skipped", "failed", "out_of_scope"]
"""fetched: its chunks stand here. unchanged: base's chunks stay. kept: an error or a limit, base's chunks stay; or its
texts are embedded anew.
gone: 404, 410 or no longer linked. skipped: robots, noindex, a type without text. failed: an error, nothing known."""


EXTRACTOR = 2
"""Version of extraction and chunking: raised when the same bytes come to give other chunks."""


class ChunkRef(msgspec.Struct, frozen=True, gc=False):
    """A chunk in a manifest: its object's id and the generation that wrote it."""

    id: str
    born: Int64


class PageRecord(Event, frozen=True, kw_only=True):
    """`attempt` counts the fetches of this epoch; 0 is a page of base that the crawl did not ask for.

    `links` are those in scope; `links_truncated` when they would not fit into one record. `nofollow_links` are in scope
    and not followed: the page, or their own `rel`, says nofollow; as many as fit into 30 KB. `page_end_offset` is where
    the page's `page_end` stands in the job's partition of `chunks`: behind a newer owner's `crawl_begin`, its chunks
    are dropped by readers. `scope_revision` is that of the command under which the page was judged.

    `language`, `canonical_url`, `description` and `published_on` are what the page says of itself; the last is an ISO
    8601 date, `2026-11-24`, of publication, or of the last change where the page tells no other.

    `template` is the path of the element that was read as the content, where it was learnt from the site's other pages.

    `instead` is the URL whose content stands for a skipped page's: its canonical one, or one with the same content.

    A tombstone forgets the page: its chunks were lost before they were indexed, and it is fetched again.
    """

    TYPE: ClassVar[str] = "page"
    TOPIC: ClassVar[str] = "pages"

    kb_id: str
    generation: Int64
    job_id: str
    epoch: Int64
    attempt: Int64
    url: str
    state: PageState
    status: Int64 | None = None
    reason: str | None = None
    depth: Int64 = 0
    discovered_from: str | None = None
    title: str = ""
    language: str | None = None
    canonical_url: str | None = None
    description: str | None = None
    published_on: str | None = None
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    content_hash: str | None = None
    template: str | None = None
    bytes: Int64 = 0
    duration_ms: Int64 = 0
    chunks: tuple[ChunkRef, ...] = ()
    instead: str | None = None
    links: tuple[str, ...] = ()
    nofollow_links: tuple[str, ...] = ()
    links_truncated: bool = False
    page_end_offset: Int64 | None = None
    scope_revision: Int64 = 1
    fetched_at: str

    def key(self) -> str:
        return page_key(self.kb_id, self.generation, self.url)


def is_error(page: PageRecord) -> bool:
    """A page that should have been read and could not be; one kept behind a limit, or copied with what its texts were
    embedded from, was never asked for."""
    return page.attempt > 0 and page.state in ("failed", "kept")
