"""Whether publishing would lose much: then a person decides."""

from dataclasses import dataclass

from consumer.manifest import Manifest
from headrace.counted import counted


@dataclass(frozen=True)
class Loss:
    """before: pages with content in the published generation. vanished: those without any now, out of no one's wish.

    asked: pages that the crawl asked for. failed: those that should have been read and could not be.
    """

    before: int
    vanished: int
    asked: int
    failed: int

    def reason(self, max_share: float) -> str | None:
        """Why a person must decide, or None. `max_share` of 0.2 lets a fifth vanish, and a fifth fail."""
        found = []
        if self.vanished > max_share * self.before:
            found.append(f"{self.vanished:,} of {counted(self.before, 'page')} with content would vanish")
        if self.failed > max_share * self.asked:
            found.append(f"{self.failed:,} of {counted(self.asked, 'page')} could not be read")
        return f"{' and '.join(found)}; more than {max_share:.0%} is for a person to approve" if found else None


def loss(before: Manifest, now: Manifest) -> Loss:
    """By URL. A page that a narrowed scope leaves out, or whose content stands at another URL, has not vanished."""
    with_content = {page.url for page in before.records() if page.chunks}
    left_out = {page.url for page in now.records() if page.chunks or page.instead or page.state == "out_of_scope"}
    asked = [page for page in now.records() if page.attempt > 0]
    return Loss(
        before=len(with_content),
        vanished=len(with_content - left_out),
        asked=len(asked),
        failed=now.errors,
    )
