"""The templates of a crawl's hosts (`content.template`): learnt from its first pages, used for those that follow.

A page that base knows is read as it was read for base, with the template that its record names or with none: an
unchanged page so gives the same chunks in every refresh, whatever was learnt since, and in whatever order pages come.
Only where its content differs from base's is it read anew, with what its host's pages of now have taught. What a host's
pages were read with in base is believed before anything is learnt again.

So the first few pages of a host, which were read before there was a template, keep what they are until they change. To
hold them back would hold back their links, with which a crawl begins.
"""

from typing import Final
from urllib.parse import urlsplit

from producer.content.mainpart import GUESSES
from producer.content.template import PAGES, Sketch, learn
from producer.extract import Site
from producer.work import PageOutput
from schemas.pages import PageRecord

MISFITS: Final = 3
"""Pages in a row that a host's template does not fit before it is learnt anew."""
TRIES: Final = (PAGES, 10, 20, 40)
"""Sketches after which a template is looked for: the first few may be odd ones."""
MAX_SKETCHES: Final = 10
_READ: Final = frozenset({"fetched", "unchanged", "kept"})


class _Host:
    __slots__ = ("decided", "misfits", "sketched", "sketches", "template")

    def __init__(self) -> None:
        self.template: str | None = None
        self.decided = False
        self.misfits = 0
        self.sketched = 0
        self.sketches: list[Sketch] = []

    @property
    def site(self) -> Site:
        return Site(self.template, undecided=not self.decided)

    def learn_from(self, sketch: Sketch) -> None:
        self.sketched += 1
        self.sketches = [*self.sketches[-MAX_SKETCHES + 1 :], sketch]
        if self.sketched in TRIES:
            self.template = learn(self.sketches)
            self.decided = self.template is not None or self.sketched == TRIES[-1]
        if self.decided:
            self.sketches.clear()


class Templates:
    """Of one crawl: `site` before a page is read, `note` after it, then `better`."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def site(self, url: str, known: PageRecord | None) -> Site:
        """With what to read a page; `known` is base's record of it."""
        host = self._host(url)
        if known is None or not (known.state in _READ or known.content_hash is not None):
            return host.site
        if known.template is not None and not host.decided:
            host.template, host.decided = known.template, True
            host.sketches.clear()
        return Site(known.template, undecided=not host.decided)

    def note(self, url: str, site: Site, content: PageOutput) -> None:
        """What reading a page with `site` has come to."""
        host = self._host(url)
        if content.sketch is not None and not host.decided:
            host.learn_from(content.sketch)
        if host.template is None or site.template != host.template or content.failure:
            return
        host.misfits = host.misfits + 1 if content.method in GUESSES else 0
        if host.misfits >= MISFITS:
            self._hosts[urlsplit(url).netloc] = _Host()

    def better(self, url: str, site: Site, content: PageOutput, known: PageRecord | None) -> Site | None:
        """With what to read the page again: it is not base's any more, and its host has another template than base."""
        if known is None or known.content_hash in (None, content.content_hash) or content.failure:
            return None
        host = self._host(url)
        return host.site if host.decided and host.template != site.template else None

    def _host(self, url: str) -> _Host:
        return self._hosts.setdefault(urlsplit(url).netloc, _Host())
