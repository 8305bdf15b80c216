"""What pages and sitemaps name, put into the frontier: what lies within the scope and in no trap."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final, TypeAlias, TypeVar

from headrace.state.manifest import BREATH
from producer.checkpoint import links_of
from producer.frontier import Entry, Frontier
from producer.sitemaps import Found
from producer.traps import MAX_COPIES_IN_A_ROW, Traps
from schemas.pages import PageRecord

COPIES: Final = "copies in a row"
"""Beside the kinds of traps. It says something of the pages that link there alone, so that another's link counts."""
FOLLOWED: Final = 100_000
"""Links that are not looked up again while recorded pages are followed: 20 MB."""
Inside: TypeAlias = Callable[[str], bool]
"""Whether a canonical URL is in scope."""
T = TypeVar("T")


class Discovery:
    """Of one epoch. `left_out`: URLs that were linked and are not visited, by kind of trap."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier, self.traps = frontier, Traps()
        self.left_out: Counter[str] = Counter()
        self._copies: dict[str, int] = {}
        """Of pages with the same content as others: how many in a row led there, itself among them."""

    async def name(self, found: Found) -> None:
        """What a sitemap names; the site itself does, so it is no trap."""
        async for url in unhurried(found.urls):
            self.left_out[COPIES] -= self._frontier.take_in(url)
            entry = Entry(url, 1, found.sitemap, named=True)
            if not self._frontier.add(entry):
                self._frontier.hasten(entry)

    async def follow_recorded(self, pages: Iterable[PageRecord], inside: Inside) -> None:
        """`pages` by depth, so that of the many links to a page the first is the shortest way to it."""
        followed: set[str] = set()
        async for page in unhurried(pages):
            self._add([Entry(page.url, page.depth, page.discovered_from)], inside)
            if page.state == "redirected":  # its link lies as deep as itself
                self.follow(page, page.links, inside)
                continue
            new = set(page.links).difference(followed)
            links = [link for link in page.links if link in new] if new else []
            if self.follow(page, links, inside):
                followed |= new
            if len(followed) > FOLLOWED:
                followed.clear()

    def follow(self, page: PageRecord, links: Iterable[str], inside: Inside, hops: int = 0) -> bool:
        """Whether they count; `hops`: redirects in a row that led to the page."""
        if page.instead is not None and page.content_hash is not None:
            self._copies[page.url] = self._copies.get(page.discovered_from or "", 0) + 1
        if self._copies.get(page.url, 0) < MAX_COPIES_IN_A_ROW:
            self._add(links_of(page, links, hops), inside)
            return True
        for link in links:
            if not self._frontier.settled(link) and inside(link):
                self.left_out[COPIES] += self._frontier.leave_out(link, for_good=False)
        return False

    def _add(self, entries: Iterable[Entry], inside: Inside) -> None:
        for entry in entries:
            if self._frontier.settled(entry.url):
                if entry.hops:
                    self._frontier.hasten(entry)
                continue
            if not inside(entry.url):
                continue
            self.left_out[COPIES] -= self._frontier.take_in(entry.url)
            if (trap := self.traps.trap(entry.url)) is not None:
                self.left_out[trap.kind] += self._frontier.leave_out(entry.url, for_good=True)
            elif self._frontier.add(entry):
                self.traps.count(entry.url)


async def unhurried(items: Iterable[T]) -> AsyncIterator[T]:
    """With looks at the event loop in between: heartbeats must go on over a million links."""
    for number, item in enumerate(items):
        if number % BREATH == 0:
            await asyncio.sleep(0)
        yield item
