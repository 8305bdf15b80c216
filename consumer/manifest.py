"""A generation's pages as the proof asks about them."""

import msgspec

from headrace.state.manifest import PageFold
from schemas.pages import PageRecord


class Manifest(PageFold):
    """Without the links: a proof of many pages needs none."""

    def fold(self, offset: int, page: PageRecord) -> None:
        super().fold(offset, msgspec.structs.replace(page, links=()))

    def naming(self, ids: frozenset[str]) -> list[str]:
        """URLs of the pages that name any of these."""
        return [page.url for page in self.records() if any(ref.id in ids for ref in page.chunks)]

    def of_base(self) -> frozenset[str]:
        """Named chunks that older generations wrote, of pages that the site answered for: another crawl may read them.
        What was kept could not be read, or was not come to."""
        pages = (page for page in self.records() if page.state in ("fetched", "unchanged"))
        return frozenset(ref.id for page in pages for ref in page.chunks if ref.born != self.generation)

    def own(self) -> frozenset[str]:
        """Named chunks that this generation wrote."""
        refs = (ref for page in self.records() for ref in page.chunks)
        return frozenset(ref.id for ref in refs if ref.born == self.generation)
