"""What a generation must hold: the site's pages, read and cut by the producer's own code, without any service."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from producer.scope import Scope
from producer.work import PageInput, PageOutput, process_page
from schemas import identity

MAX_TOKENS = 96
OVERLAP_TOKENS = 8


@dataclass(frozen=True)
class Piece:
    """One visible chunk. `embedded` is what is sent to the embedding model."""

    url: str
    doc_hash: str
    text: str
    embedded: str


@dataclass(frozen=True)
class Page:
    pieces: tuple[Piece, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """All that a search may see at one generation. `errors`: pages that the site did not give."""

    pages: Mapping[str, Page] = field(default_factory=dict)
    errors: int = 0

    @property
    def hashes(self) -> frozenset[str]:
        return frozenset(piece.doc_hash for page in self.pages.values() for piece in page.pieces)

    @property
    def texts(self) -> frozenset[tuple[str, str]]:
        return frozenset((piece.url, piece.text) for page in self.pages.values() for piece in page.pieces)

    @property
    def embedded(self) -> frozenset[str]:
        return frozenset(piece.embedded for page in self.pages.values() for piece in page.pieces)


def with_text(content: Content) -> frozenset[str]:
    """URLs of the pages that show anything."""
    return frozenset(url for url, page in content.pages.items() if page.pieces)


@dataclass(frozen=True)
class Version:
    """A site as it stood when a job began: body by path. `broken` paths answer with an error all through the job."""

    start_url: str
    bodies: Mapping[str, bytes]
    broken: frozenset[str] = frozenset()


async def crawl(site: Version, base: Content) -> Content:
    """What a job over this version must publish; of a broken page, base's content stays."""
    return await asyncio.to_thread(_crawl, site, base)


def _crawl(site: Version, base: Content) -> Content:
    scope, broken = Scope.from_source([site.start_url]), site.broken
    pages: dict[str, Page] = {}
    seen, queue = {site.start_url}, deque([site.start_url])
    while queue:
        url = queue.popleft()
        path = urlsplit(url).path
        page = base.pages.get(url, Page()) if path in broken else _page(url, site.bodies.get(path))
        if page is None:
            continue
        pages[url] = page
        for link in page.links:
            if link not in seen and scope.verdict(link).inside:
                seen.add(link)
                queue.append(link)
    reached = {urlsplit(url).path for url in pages}
    return Content({url: page for url, page in pages.items() if page.pieces or page.links}, len(broken & reached))


def _page(url: str, body: bytes | None) -> Page | None:
    if body is None:
        return None
    output = _read(url, body)
    assert output.failure is None, f"{url}: {output.failure}"
    times: dict[tuple[str, tuple[str, ...]], int] = {}
    pieces = []
    for chunk in output.chunks:
        occurrence = times.get((chunk.text, chunk.heading_path), 0)
        times[chunk.text, chunk.heading_path] = occurrence + 1
        doc_hash = identity.doc_hash(chunk.text, url=url, heading_path=chunk.heading_path, occurrence=occurrence)
        embedded = identity.embedding_input(chunk.title, chunk.heading_path, chunk.text)
        pieces.append(Piece(url, doc_hash, chunk.text, embedded))
    return Page(tuple(pieces), output.links)


@lru_cache(4_096)
def _read(url: str, body: bytes) -> PageOutput:
    return process_page(PageInput(url, body, "text/html; charset=utf-8", None, MAX_TOKENS, OVERLAP_TOKENS))
