"""A generation's `pages` records, read back from the log: the crawl's checkpoint, and its manifest.

The fold is the one that every reader uses: per URL the record of the highest epoch, and of those the last. A record
that an owner wrote after it had lost the job stands in the log like any other; see `Manifest.late`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from producer.frontier import Entry, Frontier
from schemas.codec import UndecodableRecord, decode
from schemas.identity import manifest_digest, page_key
from schemas.pages import PageRecord, is_error

BREATH: Final = 200
"""Records decoded between two looks at the event loop: about 5 ms."""


class Logged(msgspec.Struct, frozen=True):
    """A record and where it stands in its partition."""

    offset: int
    page: PageRecord


@dataclass
class Manifest:
    """The pages of one generation up to `end`, an offset of their partition."""

    generation: int
    end: int
    pages: dict[str, Logged] = field(default_factory=dict)
    epochs: set[int] = field(default_factory=set)

    def fold(self, offset: int, page: PageRecord) -> None:
        self.epochs.add(page.epoch)
        known = self.pages.get(page.url)
        if known is None or page.epoch >= known.page.epoch:
            self.pages[page.url] = Logged(offset, page)

    def visited(self) -> list[PageRecord]:
        """Pages that were asked for, as against those of base that the end of a crawl accounts for; by depth."""
        return sorted((each.page for each in self.pages.values() if each.page.attempt), key=lambda page: page.depth)

    def stale(self, epoch: int = 0) -> dict[str, PageRecord]:
        """Pages whose chunks readers drop: written by an owner after a newer one had begun.

        `epoch` is that of the owner who asks. Of the others those are known that recorded a page.
        """
        epochs = {*self.epochs, epoch}
        pages = (each.page for each in self.pages.values() if each.page.page_end_offset is not None)
        return {page.url: page for page in pages if any(page.epoch < e < (page.page_end_offset or 0) for e in epochs)}

    def late(self, epoch: int, read_to: int) -> list[PageRecord]:
        """Pages that this owner must visit itself: stale, or recorded by another since it read the checkpoint."""
        unread = (each.page for each in self.pages.values() if each.page.epoch < epoch and each.offset >= read_to)
        return list({page.url: page for page in (*unread, *self.stale(epoch).values())}.values())

    @property
    def errors(self) -> int:
        return sum(is_error(each.page) for each in self.pages.values())

    def digest(self) -> str:
        return manifest_digest(ref.id for each in self.pages.values() for ref in each.page.chunks)

    def failure(self) -> str | None:
        """Why there is nothing to publish, or None."""
        asked = self.visited()
        if any(page.state in ("fetched", "unchanged") for page in asked):
            with_text = any(each.page.chunks for each in self.pages.values())
            return None if with_text else "the crawl found no text to index"
        first = next((page for page in asked if page.state != "redirected"), asked[0] if asked else None)
        if first is None:
            return "no page could be fetched: no start URL is in scope"
        answered = first.status is not None and first.status < 300
        what = "the crawl found no text to index" if answered else "no page could be fetched"
        return f"{what}: {first.url}: {first.reason or first.state}"


class Checkpoint:
    """Reads generations of one KB from its partition of `pages`."""

    def __init__(self, settings: Settings, kb_id: str, partition: int) -> None:
        self._settings, self._kb_id, self._partition = settings, kb_id, partition

    async def read(self, *generations: int) -> list[Manifest]:
        """What the log holds of each at this moment, in one pass. Waits while Kafka is away."""
        bootstrap, prefix = self._settings.bootstrap_servers, self._settings.topic_prefix
        end = await end_offset(bootstrap, "pages", self._partition, prefix=prefix)
        manifests = {page_key(self._kb_id, each, "").encode(): Manifest(each, end) for each in generations}
        stream = stream_span(bootstrap, "pages", self._partition, 0, end, prefix=prefix)
        async for manifest, raw in _belonging(stream, manifests):
            try:
                page = decode("pages", raw.headers, raw.value)
            except UndecodableRecord:  # this record is bad, and none of ours: it names no page
                continue
            assert isinstance(page, PageRecord)
            manifest.fold(raw.offset, _interned(page))
        return list(manifests.values())


async def _belonging(
    stream: AsyncIterator[RawRecord], manifests: dict[bytes, Manifest]
) -> AsyncIterator[tuple[Manifest, RawRecord]]:
    """Told by the key alone: a partition holds many KBs and generations."""
    read = 0
    async for raw in stream:
        read += 1
        if read % BREATH == 0:
            await asyncio.sleep(0)
        for prefix, manifest in manifests.items():
            if raw.value is not None and raw.key is not None and raw.key.startswith(prefix):
                yield manifest, raw


def _interned(page: PageRecord) -> PageRecord:
    """Pages of a site link to the same pages: one string for each, not one for each link."""
    return msgspec.structs.replace(page, url=sys.intern(page.url), links=tuple(map(sys.intern, page.links)))


def links_of(page: PageRecord, links: Iterable[str], hops: int = 0) -> Iterable[Entry]:
    """What a recorded page adds to the frontier; `hops`: redirects in a row that led to it."""
    if page.state == "redirected":
        return (Entry(link, page.depth, page.url, hops + 1) for link in links)
    return (Entry(link, page.depth + 1, page.url) for link in links)


def mark_visited(frontier: Frontier, manifest: Manifest, epoch: int = 0) -> list[PageRecord]:
    """Pages that need no visit any more.

    Fetched again are stale ones, and those whose links did not all fit the record: they alone know them.
    """
    stale = manifest.stale(epoch)
    known = [page for page in manifest.visited() if not page.links_truncated and page.url not in stale]
    for page in known:
        frontier.mark_visited(page.url)
    return known
