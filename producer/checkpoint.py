"""A generation's `pages` records, read back from the log: the crawl's checkpoint, and its manifest.

The fold is the one that every reader uses (headrace/state/manifest.py). A record that an owner wrote after it had lost
the job stands in the log like any other; see `Manifest.late`.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headrace.kafka.follower import end_offset
from headrace.settings import Settings
from headrace.state.manifest import PageFold, fold_pages
from producer.frontier import Entry, Frontier
from producer.spill import SpillFile
from producer.stored import StoredPages
from producer.urls import path_of
from schemas.identity import manifest_digest
from schemas.pages import PageRecord

MAX_COPIES: Final = 50
"""Sites that name their start page as canonical everywhere exist; so do ten versions of a page, and print views."""


@dataclass
class Manifest(PageFold):
    """The pages of one generation up to `end`, an offset of their partition.

    In memory they are without what only their next visit asks for, and without their links save the first (`_slim`):
    1 KB and 130 bytes for each chunk. `whole` has all of it, where that is kept.
    """

    end: int = 0
    epochs: set[int] = field(default_factory=set)
    whole: StoredPages = field(default_factory=StoredPages)
    keep_whole: bool = False

    def fold(self, offset: int, page: PageRecord) -> None:
        self.epochs.add(page.epoch)
        super().fold(offset, _slim(page))
        if self.keep_whole and self.pages[page.url].offset == offset:
            self.whole.put(page)

    def forget(self, url: str) -> None:
        super().forget(url)
        self.whole.forget(url)

    def visited(self) -> list[PageRecord]:
        """Pages that were asked for, as against those of base that the end of a crawl accounts for; by depth."""
        return sorted((page for page in self.records() if page.attempt), key=lambda page: page.depth)

    def stale(self, epoch: int = 0) -> dict[str, PageRecord]:
        """Pages whose chunks readers drop: written by an owner after a newer one had begun.

        `epoch` is that of the owner who asks. Of the others those are known that recorded a page.
        """
        epochs = {*self.epochs, epoch}
        pages = (page for page in self.records() if page.page_end_offset is not None)
        return {page.url: page for page in pages if any(page.epoch < e < (page.page_end_offset or 0) for e in epochs)}

    def outdated(self, scope_revision: int) -> dict[str, PageRecord]:
        """Pages that were judged by an older scope: they may link to what only this one holds, or be outside of it."""
        return {page.url: page for page in self.records() if page.scope_revision < scope_revision}

    def late(self, epoch: int, read_to: int) -> list[PageRecord]:
        """Pages that this owner must visit itself: stale, recorded by another since it read the checkpoint, or hidden,
        so that the record that counts is the last."""
        unread = (each.page for each in self.pages.values() if each.page.epoch < epoch and each.offset >= read_to)
        hidden = (self.pages[url].page for url in self.hidden)
        return list({page.url: page for page in (*unread, *self.stale(epoch).values(), *hidden)}.values())

    def bereft(self) -> list[PageRecord]:
        """Pages that were left out in favour of others which have no content to stand for theirs; of pages that name
        each other, one; of those that redirect in a circle, all. A URL that more than `MAX_COPIES` pages call canonical
        is not believed to stand for them."""
        copies = [page for page in self.records() if page.instead is not None]
        named = Counter(page.instead for page in copies if _is_copy_elsewhere(page))
        alone = [
            page
            for page in copies
            if (_is_copy_elsewhere(page) and named[page.instead] > MAX_COPIES) or not self._stood_for(page)
        ]
        return alone + self._circling()

    def _circling(self) -> list[PageRecord]:
        onward = {page.url: page.links[0] for page in self.records() if page.state == "redirected" and page.links}
        circling: list[str] = []
        done: set[str] = set()
        for start in list(onward):
            way: list[str] = []
            at = start
            while at in onward and at not in done:
                done.add(at)
                way.append(at)
                at = onward[at]
            circling += way[way.index(at) :] if at in way else []
        return [self.pages[url].page for url in circling]

    def _stood_for(self, page: PageRecord) -> bool:
        way: dict[str, PageRecord] = {}
        at: PageRecord | None = page
        while at is not None and at.url not in way:
            way[at.url] = at
            onward = at.instead or (at.links[0] if at.state == "redirected" and at.links else None)
            if onward is None:
                return bool(at.chunks) and page.content_hash in (None, at.content_hash)
            at = self.pages[onward].page if onward in self.pages else None
        if at is None:
            return False
        urls = list(way)
        circle = [way[url] for url in urls[urls.index(at.url) :] if way[url].instead is not None]
        return page is not min(circle, key=lambda each: (each.depth, each.url), default=page)

    def digest(self) -> str:
        return manifest_digest(self.named())

    def failure(self) -> str | None:
        """Why there is nothing to publish, or None."""
        asked = self.visited()
        if any(page.state in ("fetched", "unchanged") for page in asked):
            with_text = any(page.chunks for page in self.records())
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

    async def read(self, *generations: int, whole: bool = False) -> list[Manifest]:
        """What the log holds of each at this moment, in one pass. Waits while Kafka is away."""
        bootstrap = self._settings.bootstrap_servers
        end = await end_offset(bootstrap, "pages", self._partition, prefix=self._settings.topic_prefix)
        file = SpillFile(self._settings.spill_dir)
        manifests = [Manifest(each, end=end, whole=StoredPages(file), keep_whole=whole) for each in generations]
        await fold_pages(self._settings, self._kb_id, self._partition, end, manifests)
        return manifests


def _is_copy_elsewhere(page: PageRecord) -> bool:
    """By its own word, and not a variant by its query: of those there may be any number."""
    return page.instead is not None and page.content_hash is None and path_of(page.instead) != path_of(page.url)


def _slim(page: PageRecord) -> PageRecord:
    """A redirect has one link; of other pages the first tells that there are some."""
    return msgspec.structs.replace(
        page,
        kb_id=sys.intern(page.kb_id),
        job_id=sys.intern(page.job_id),
        discovered_from=sys.intern(page.discovered_from) if page.discovered_from else None,
        title="",
        language=None,
        canonical_url=None,
        description=None,
        published_on=None,
        content_type=None,
        etag=None,
        last_modified=None,
        links=tuple(map(sys.intern, page.links[:1])),
        nofollow_links=(),
        fetched_at="",
    )


def links_of(page: PageRecord, links: Iterable[str], hops: int = 0) -> Iterable[Entry]:
    """What a recorded page adds to the frontier; `hops`: redirects in a row that led to it."""
    if page.state == "redirected":
        return (Entry(link, page.depth, page.url, hops + 1) for link in links)
    return (Entry(link, page.depth + 1, page.url) for link in links)


def mark_visited(frontier: Frontier, manifest: Manifest, epoch: int = 0, scope_revision: int = 1) -> list[PageRecord]:
    """Pages that need no visit any more.

    Fetched again are stale ones, those of an older scope, and those whose links did not all fit the record: they alone
    know them.
    """
    again = manifest.stale(epoch).keys() | manifest.outdated(scope_revision)
    known = [page for page in manifest.visited() if not page.links_truncated and page.url not in again]
    for page in known:
        frontier.mark_visited(page.url)
    return known
