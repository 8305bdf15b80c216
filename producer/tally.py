"""A generation's pages in numbers."""

from dataclasses import dataclass

from schemas.facts import CrawlCounts
from schemas.pages import PageRecord, is_error


@dataclass
class Tally:
    """Pages of a generation by what became of them."""

    generation: int
    recorded: int = 0
    crawled: int = 0
    unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    against_limit: int = 0
    chunks: int = 0
    bytes: int = 0

    def add(self, page: PageRecord) -> None:
        erred = is_error(page)
        read = page.state in ("fetched", "unchanged")
        self.recorded += 1
        self.crawled += read
        self.unchanged += page.state == "unchanged"
        self.failed += erred
        self.skipped += page.state == "skipped"
        self.against_limit += read or erred or (page.state == "skipped" and page.status is not None)
        self.chunks += sum(ref.born == self.generation for ref in page.chunks)
        self.bytes += page.bytes

    def counts(self, queued: int) -> CrawlCounts:
        return CrawlCounts(
            pages_crawled=self.crawled,
            pages_queued=queued,
            pages_failed=self.failed,
            pages_skipped=self.skipped,
            pages_unchanged=self.unchanged,
            chunks_published=self.chunks,
            bytes_fetched=self.bytes,
        )
