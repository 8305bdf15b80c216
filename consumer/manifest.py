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

    def own(self) -> frozenset[str]:
        """Named chunks that this generation wrote."""
        refs = (ref for page in self.records() for ref in page.chunks)
        return frozenset(ref.id for ref in refs if ref.born == self.generation)
