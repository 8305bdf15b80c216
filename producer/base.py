"""What a refresh may build on: the pages of base, as this crawl may believe them.

A record of base says more than its chunks: what its page linked to, and validators with which the site may answer
"not modified". A 304 shows neither text nor links, so validators are only kept where neither would be missed:

* the page was read then, and all its links fitted into its record;
* base was crawled within the same scope: links out of base's scope are in no record;
* all its chunks are in the index: one that is missing there has to be sent again.

Without them the page is fetched whole; its content hash can still say that nothing changed. A page whose chunks are
missing leaves out those, and its hash, so that they are sent as new; so does the record that keeps it after an error.
Where more are missing than base's state can name, no chunk of base is believed in.

Of chunks that were found to be missing while this generation is crawled (consumer/missing.py) validators are dropped
likewise, and they are sent as new where the page is read. A record that keeps the page names them still, under its
hash: that they are missing is told at the end of this job, and the page still stands for its copies.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from producer.checkpoint import Manifest
from producer.stored import PagesView
from schemas.commands import JobCommand
from schemas.kb import Definition
from schemas.pages import PageRecord

WITH_CONTENT = frozenset({"fetched", "unchanged", "kept"})


@dataclass(frozen=True)
class Ground:
    """What is known of base beyond its records. `definition`: under which it was crawled; None where nobody knows."""

    definition: Definition | None = None
    not_indexed: frozenset[str] = frozenset()
    not_indexed_cut: bool = False
    """Whether there are more of them."""
    missing: frozenset[str] = frozenset()
    """What this generation's own crawl was found to count on in vain."""
    missing_cut: bool = False

    def holds(self, chunk_id: str) -> bool:
        """Whether a chunk that a page of base names was in the index when base was published."""
        return not self.not_indexed_cut and chunk_id not in self.not_indexed

    def stored(self, page: PageRecord) -> PageRecord:
        """The page with those of its chunks that are there now, for all that is known."""
        if not self.missing and not self.missing_cut:
            return page
        left = () if self.missing_cut else tuple(ref for ref in page.chunks if ref.id not in self.missing)
        return msgspec.structs.replace(page, chunks=left)


def base_pages(command: JobCommand, ground: Ground, manifest: Manifest) -> PagesView:
    """Pages that have content, or lead to some: what they linked to is followed even if they can't be read now."""
    same_scope = ground.definition is not None and _scope(ground.definition) == _scope(command.definition)
    return PagesView(manifest.whole, _known(manifest.records()), lambda page: _believed(page, ground, same_scope))


def own_pages(manifest: Manifest, outdated: Container[str]) -> PagesView:
    """Of pages that this generation recorded under an older scope, what their next visit may build on: chunks that are
    on the log already need not be written again. Their links, and so a 304, don't count."""
    known = _known(page for page in manifest.records() if page.url in outdated)
    return PagesView(manifest.whole, known, lambda page: msgspec.structs.replace(page, etag=None, last_modified=None))


def _known(pages: Iterable[PageRecord]) -> frozenset[str]:
    return frozenset(page.url for page in pages if page.state in WITH_CONTENT or page.links)


def reachable(pages: Mapping[str, PageRecord], start: Iterable[str]) -> set[str]:
    """`start`, and what can be reached from there by the links of `pages`."""
    found = set(start)
    waiting = list(found)
    while waiting:
        page = pages.get(waiting.pop())
        for link in page.links if page else ():
            if link in pages and link not in found:
                found.add(link)
                waiting.append(link)
    return found


def _believed(page: PageRecord, ground: Ground, same_scope: bool) -> PageRecord:
    chunks = tuple(ref for ref in page.chunks if ground.holds(ref.id))
    if len(chunks) < len(page.chunks):
        page = msgspec.structs.replace(page, chunks=chunks, content_hash=None)
    elif len(ground.stored(page).chunks) < len(page.chunks):
        pass
    elif same_scope and page.state in WITH_CONTENT and not page.links_truncated:
        return page
    return msgspec.structs.replace(page, etag=None, last_modified=None)


def _scope(definition: Definition) -> tuple[tuple[str, ...], ...]:
    """What decides which links a record holds."""
    source = definition.source
    return source.urls, source.include, source.exclude
