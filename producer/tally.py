"""A generation's pages in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.facts import CrawlCounts, LeftOut
from schemas.pages import PageRecord, is_error


@dataclass
class Tally:
    """Pages of a generation by what became of them. `anew`: it is made of the texts of pages that were read before."""

    generation: int
    anew: bool = False
    recorded: int = 0
    crawled: int = 0
    unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    gone: int = 0
    against_limit: int = 0
    chunks: int = 0
    bytes: int = 0

    def add(self, page: PageRecord) -> None:
        self._count(page, 1)

    def take_back(self, page: PageRecord) -> None:
        """A page that was added is visited again."""
        self._count(page, -1)

    def _count(self, page: PageRecord, times: int) -> None:
        erred = is_error(page)
        read = page.state in ("fetched", "unchanged") or (self.anew and page.state == "kept")
        self.recorded += times
        self.crawled += times * read
        self.unchanged += times * (page.state == "unchanged")
        self.failed += times * erred
        self.skipped += times * (page.state == "skipped")
        self.gone += times * (page.state == "gone")
        self.against_limit += times * (read or erred or (page.state == "skipped" and page.status is not None))
        self.chunks += times * sum(ref.born == self.generation for ref in page.chunks)
        self.bytes += times * page.bytes

    def counts(self, queued: int, left_out: Mapping[str, int]) -> CrawlCounts:
        return CrawlCounts(
            pages_crawled=self.crawled,
            pages_queued=queued,
            pages_failed=self.failed,
            pages_skipped=self.skipped,
            pages_unchanged=self.unchanged,
            pages_gone=self.gone,
            chunks_published=self.chunks,
            bytes_fetched=self.bytes,
            left_out=tuple(LeftOut(kind=kind, urls=urls) for kind, urls in left_out.items() if urls),
        )
