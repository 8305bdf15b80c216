"""What a crawl would make of one page, published nowhere. Neither Kafka nor Weaviate is needed.

`python -m producer.preview` takes a PreviewRequest on stdin and gives a Preview on stdout, both JSON.
"""

import asyncio
import mimetypes
import sys
from pathlib import Path
from typing import Final

import msgspec

from headrace.addresses import range_needed
from headrace.settings import Settings
from producer.client import Client
from producer.fetch import Fetcher, FetchError, FetchResult
from producer.frontier import MAX_HOPS
from producer.hosts import Hosts
from producer.robots import RobotsCache
from producer.urls import UrlError, canonical
from producer.work import ContentPool, PageInput, PageOutput
from schemas.kb import Definition, Source, tokenizer_of
from schemas.previews import ChunkShown, Preview, PreviewRequest

HOST_OF_FILES: Final = "https://localhost/"


def preview(request: PreviewRequest, settings: Settings) -> Preview:
    """Never raises for what the site does, or the page holds: it is read as in a crawl, in a process of its own."""
    try:
        url = canonical(request.url or HOST_OF_FILES + Path(request.file or "").name)
    except UrlError as error:
        return Preview(url=request.url or "", problem="url", reason=str(error))
    if request.file is not None:
        got, answer = _of_file(url, Path(request.file))
    else:
        got, answer = asyncio.run(_fetched(url, request, settings))
    if answer is None:
        return msgspec.structs.replace(got, needs_addresses=range_needed(got.reason or ""))
    return _shown(got, answer, asyncio.run(_read(got.url, answer, request)))


def _of_file(url: str, path: Path) -> tuple[Preview, FetchResult | None]:
    try:
        body = path.read_bytes()
    except OSError as error:
        return Preview(url=url, problem="file", reason=f"{path}: {error.strerror}"), None
    content_type, _ = mimetypes.guess_type(path.name)
    got = Preview(url=url, content_type=content_type, bytes=len(body))
    return got, FetchResult(url, 200, body, len(body), 0.0, content_type)


async def _fetched(url: str, request: PreviewRequest, settings: Settings) -> tuple[Preview, FetchResult | None]:
    """What is known before the page is read; and the answer, where it is to be."""
    crawl = Definition(source=Source(urls=(url,))).crawl
    share = Hosts().share(crawl.concurrency_per_host, crawl.delay_s)
    client = Client(Fetcher(settings.user_agent, request.allow_addresses), share, frozenset(request.allow_addresses))
    robots = RobotsCache()
    redirects: list[str] = []
    await client.start()
    try:
        while True:
            got = Preview(url=url, redirects=tuple(redirects))
            if request.respect_robots:
                verdict = await robots.verdict(url, client)
                share.set_crawl_delay(url, verdict.crawl_delay_s)
                got = msgspec.structs.replace(got, robots=verdict.reason, crawl_delay_s=verdict.crawl_delay_s)
                if not verdict.allowed:
                    return msgspec.structs.replace(got, problem="robots", reason=verdict.reason), None
            try:
                result = await client.get(url, "page")
            except FetchError as error:
                return msgspec.structs.replace(got, problem="fetch", reason=str(error), status=error.sent.status), None
            if result.redirect_to is None:
                return _answered(got, result)
            if len(redirects) >= MAX_HOPS:
                reason = f"more than {MAX_HOPS} redirects in a row"
                return msgspec.structs.replace(got, problem="redirects", reason=reason), None
            redirects.append(url)
            url = result.redirect_to
    finally:
        await client.stop()


def _answered(got: Preview, result: FetchResult) -> tuple[Preview, FetchResult | None]:
    got = msgspec.structs.replace(
        got,
        status=result.status,
        content_type=result.content_type,
        bytes=result.bytes_received,
        fetch_ms=round(result.duration_ms),
    )
    if 200 <= result.status < 300:
        return got, result
    return msgspec.structs.replace(got, problem="status", reason=f"status {result.status}"), None


async def _read(url: str, result: FetchResult, request: PreviewRequest) -> PageOutput:
    pool = ContentPool(1)
    await pool.start()
    try:
        return await pool.process(
            PageInput(
                url,
                result.body,
                result.content_type,
                result.x_robots_tag,
                request.max_tokens,
                request.overlap_tokens,
                request.strategy,
                tokenizer_of(request.model),
                with_text=True,
            )
        )
    finally:
        await pool.stop()


def _shown(got: Preview, result: FetchResult, content: PageOutput) -> Preview:
    canonical_url = content.canonical_url or result.canonical_url
    return msgspec.structs.replace(
        got,
        problem="content" if content.failure else None,
        reason=content.failure,
        skipped=_why_skipped(got.url, canonical_url, content),
        extract_ms=round(content.extract_ms),
        chunk_ms=round(content.chunk_ms),
        title=content.title,
        language=content.language,
        canonical_url=canonical_url,
        description=content.description,
        published_on=content.published_on,
        method=content.method,
        nofollow=content.nofollow,
        text=content.text,
        links=content.links,
        chunks=tuple(
            ChunkShown(
                text=each.text,
                tokens=each.tokens,
                heading_path=each.heading_path,
                repeated=each.repeated,
                closing=each.closing,
            )
            for each in content.chunks
        ),
    )


def _why_skipped(url: str, canonical_url: str | None, content: PageOutput) -> str | None:
    """As in a crawl, save that scope and other pages take no part."""
    if content.failure:
        return None
    if content.refresh_to is not None:
        return f"it sends its readers on to {content.refresh_to}"
    if content.noindex:
        return "noindex"
    if canonical_url is not None and canonical_url != url:
        return f"canonical is {canonical_url}, which stands for it where that is in scope"
    return None


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=PreviewRequest)
    sys.stdout.buffer.write(msgspec.json.encode(preview(asked, Settings.from_env())))
