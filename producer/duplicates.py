"""Pages with the same content: one holds it, the others name that one and cost no chunks.

Who holds a content is decided the moment it is read, between two awaits, so that of two pages in flight one comes
first. Where base shows a page with that content, that page holds it as long as this crawl has not found otherwise, so
that a refresh does not go to and fro. A page that is left out is looked at again at the end (`Manifest.bereft`).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from producer.visit import Visit
from schemas.pages import PageRecord

MIN_TEXT_CHARS: Final = 200
"""Below it pages are alike by their nature ("This page is empty", "Moved") and cost next to nothing."""


class Holders:
    """Content hashes and the URLs that hold them; `expect` before the first visit, then `unless_held` and `recorded`
    for each."""

    def __init__(self) -> None:
        self._held: dict[bytes, str] = {}
        self._expected: dict[bytes, str] = {}

    def expect(self, base: Iterable[PageRecord]) -> None:
        """Of several pages of base with one content, the one nearest to a start URL."""
        for page in sorted(filter(_has_content, base), key=lambda page: (page.depth, page.url)):
            self._expected.setdefault(_key(page.content_hash), page.url)

    def unless_held(self, visit: Visit) -> Visit:
        """The visit, left out where another page holds its content; else this one holds it from now on."""
        content = visit.content
        if content is None or content.text_chars < MIN_TEXT_CHARS:
            return visit
        holder = self.claim(content.content_hash, visit.entry.url)
        if holder is None:
            return visit
        reason, same = f"same content as {holder}", content.content_hash
        return msgspec.structs.replace(
            visit, state="skipped", reason=reason, instead=holder, content_hash=same, content=None
        )

    def claim(self, content_hash: str, url: str) -> str | None:
        """The other page that holds the content, or None: it is this one from now on."""
        key = _key(content_hash)
        holder = self._held.get(key) or self._expected.get(key)
        if holder is not None and holder != url:
            return holder
        self._held[key] = url
        return None

    def recorded(self, page: PageRecord, visit: Visit | None = None, base: PageRecord | None = None) -> None:
        """What became of a page: it holds what its record shows, and nothing that it claimed or had before."""
        if _has_content(page):
            self._held.setdefault(_key(page.content_hash), page.url)
        if visit is not None and visit.content is not None and visit.content.content_hash != page.content_hash:
            self._drop(self._held, visit.content.content_hash, page.url)
        if base is not None and not (_has_content(page) and page.content_hash == base.content_hash):
            self._drop(self._expected, base.content_hash, page.url)

    def forget(self, content_hash: str | None) -> None:
        """Nobody holds it: the next to come does."""
        self._held.pop(_key(content_hash), None)
        self._expected.pop(_key(content_hash), None)

    @staticmethod
    def _drop(holders: dict[bytes, str], content_hash: str | None, url: str) -> None:
        if holders.get(_key(content_hash)) == url:
            del holders[_key(content_hash)]


def _has_content(page: PageRecord) -> bool:
    return bool(page.chunks) and page.content_hash is not None


def _key(content_hash: str | None) -> bytes:
    """Half of a sha256: memory for a million pages is 100 MB less."""
    return bytes.fromhex(content_hash or "")[:16]
