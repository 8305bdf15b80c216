"""A generation's `pages` records, folded as every reader folds them.

Per URL the record of the highest epoch, and of those the last; a tombstone forgets all that stood before it. A record
that an owner wrote after it had lost the job stands in the log like any other.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headrace.kafka.follower import stream_span
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.codec import NewerWriter, UndecodableRecord, decode
from schemas.identity import page_key
from schemas.pages import PageRecord, is_error

log = logging.getLogger(__name__)

BREATH: Final = 200
"""Records looked at between two looks at the event loop: about 5 ms."""


class Logged(msgspec.Struct, frozen=True):
    """A record and where it stands in its partition."""

    offset: int
    page: PageRecord


@dataclass
class PageFold:
    """The pages of one generation, by URL. `newer`: what this reader is too old for of records that are passed over,
    by URL. `hidden`: URLs whose last record is of an owner that was replaced: compaction will keep that one alone."""

    generation: int
    pages: dict[str, Logged] = field(default_factory=dict)
    newer: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)

    def fold(self, offset: int, page: PageRecord) -> None:
        known = self.pages.get(page.url)
        if known is None or page.epoch >= known.page.epoch:
            self.pages[page.url] = Logged(offset, page)
            self.hidden.discard(page.url)
        else:
            self.hidden.add(page.url)

    def forget(self, url: str) -> None:
        self.pages.pop(url, None)
        self.newer.pop(url, None)
        self.hidden.discard(url)

    def records(self) -> list[PageRecord]:
        return [each.page for each in self.pages.values()]

    def named(self) -> frozenset[str]:
        """Ids of all chunks."""
        return frozenset(ref.id for page in self.records() for ref in page.chunks)

    @property
    def errors(self) -> int:
        return sum(is_error(page) for page in self.records())


async def fold_pages(
    settings: Settings, kb_id: str, partition: int, end: int, folds: Sequence[PageFold], *, first: int = 0
) -> None:
    """Folds what stands from offset `first` to before `end`, for each generation at once. Waits while Kafka is away."""
    prefixes = {page_key(kb_id, each.generation, "").encode(): each for each in folds}
    read = 0
    async for raw in stream_span(
        settings.bootstrap_servers, "pages", partition, first, end, prefix=settings.topic_prefix
    ):
        read += 1
        if read % BREATH == 0:
            await asyncio.sleep(0)
        for prefix, each in prefixes.items():
            if raw.key is not None and raw.key.startswith(prefix):
                _fold(each, raw, raw.key[len(prefix) :])


def _fold(into: PageFold, raw: RawRecord, url: bytes) -> None:
    """Whose it is, the key alone tells: a partition holds many KBs and generations."""
    if raw.value is None:
        into.forget(url.decode(errors="replace"))
        return
    try:
        page = decode("pages", raw.headers, raw.value)
    except NewerWriter as exc:
        into.newer[url.decode(errors="replace")] = exc.unknown
        return
    except UndecodableRecord as exc:  # this record is bad, and none of ours: it names no page
        log.warning("pages %d/%d is passed over: %s", raw.partition, raw.offset, exc)
        return
    assert isinstance(page, PageRecord)
    into.fold(raw.offset, page)
