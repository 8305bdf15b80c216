"""What a crawl would make of one page: asked of `python -m producer.preview`, by the command line and by control."""

from typing import Literal

import msgspec

from schemas.kb import Definition, Strategy

Problem = Literal["url", "file", "robots", "fetch", "status", "redirects", "content"]


class PreviewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`file`: read instead of what stands at `url`, which then is where its links count from. `model`: whose tokens."""

    url: str | None = None
    file: str | None = None
    max_tokens: int
    overlap_tokens: int
    strategy: Strategy = "structure"
    model: str | None = None
    allow_addresses: tuple[str, ...] = ()
    respect_robots: bool = True


class ChunkShown(msgspec.Struct, frozen=True, kw_only=True):
    """`repeated`: so many characters at its beginning stand before; `closing`: so many at its end close code that is
    cut."""

    text: str
    tokens: int
    heading_path: tuple[str, ...]
    repeated: int
    closing: int


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """`problem` and `reason`: why there is no content, and which kind of reason that is. `needs_addresses`:
    the CIDR range that has to be allowed to reach it. `skipped`: why a crawl would leave the page out although it has
    content. `redirects`: URLs that led to `url`. Times are milliseconds."""

    url: str
    redirects: tuple[str, ...] = ()
    problem: Problem | None = None
    reason: str | None = None
    needs_addresses: str | None = None
    skipped: str | None = None
    robots: str | None = None
    crawl_delay_s: float | None = None
    status: int | None = None
    content_type: str | None = None
    bytes: int = 0
    fetch_ms: int = 0
    extract_ms: int = 0
    chunk_ms: int = 0
    title: str = ""
    language: str | None = None
    canonical_url: str | None = None
    description: str | None = None
    published_on: str | None = None
    method: str = ""
    nofollow: bool = False
    text: str = ""
    links: tuple[str, ...] = ()
    chunks: tuple[ChunkShown, ...] = ()


def of_definition(resolved: Definition) -> PreviewRequest:
    """Of its first start URL."""
    source, chunking = resolved.source, resolved.chunking
    assert chunking.max_tokens is not None
    return PreviewRequest(
        url=source.urls[0],
        max_tokens=chunking.max_tokens,
        overlap_tokens=min(chunking.overlap_tokens, chunking.max_tokens // 2),
        strategy=chunking.strategy,
        model=resolved.embedding.model,
        allow_addresses=source.allow_addresses,
        respect_robots=resolved.crawl.respect_robots,
    )
