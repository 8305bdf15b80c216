"""One sitemap file: the pages or further sitemaps that it names. Pure; runs beside the event loop.

The sitemaps protocol (sitemaps.org, 0.9), RSS, Atom, and plain text with a URL a line; each gzipped or not. XML is read
as a stream by expat, which opens nothing else; a file that declares a document type is refused, entities and all.
expat is given UTF-8 whatever the file is in: what it can't decode it reports as faults of the program.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from xml.parsers import expat

import msgspec

from producer.content.charset import xml_slices
from producer.content.document import NotExtractable
from producer.inflate import BodyTooLarge, Inflater, UnknownEncoding
from producer.urls import UrlError, canonical

MAX_BYTES: Final = 50 * 1024 * 1024
"""The protocol's limit of one file, not compressed."""
MAX_URLS: Final = 50_000
"""The protocol's limit of one file."""
MAX_DEPTH: Final = 50
MAX_TEXT_CHARS: Final = 4_096

_SLICE: Final = 64 * 1024
_WANTED: Final = {
    "url": frozenset(("loc", "lastmod")),
    "sitemap": frozenset(("loc", "lastmod")),
    "item": frozenset(("link", "guid", "pubDate", "date")),
    "entry": frozenset(("updated", "published")),
}
_ROOTS: Final = frozenset(("urlset", "sitemapindex", "rss", "RDF", "feed"))
_DAY = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?")


class NotASitemap(ValueError):
    """The file is something else; the message says what."""


class Named(msgspec.Struct, frozen=True):
    """A canonical URL, and when it is said to have changed: seconds since 1970, 0 where nothing is said."""

    url: str
    changed_at: float = 0.0


class SitemapFile(msgspec.Struct, frozen=True):
    """Newest first, then in the file's order. `whole`: the file was read to its end, and is within the limits."""

    pages: list[Named]
    sitemaps: list[Named]
    whole: bool


def read_sitemap(body: bytes, url: str) -> SitemapFile:
    """`url` is the file's own, canonical. Raises NotASitemap."""
    body, whole = _inflated(body) if body.startswith(b"\x1f\x8b") else (body[:MAX_BYTES], len(body) <= MAX_BYTES)
    reader = _Reader(url)
    if body.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")[:1] == b"<":
        whole = reader.read_xml(body) and whole
    else:
        whole = reader.read_lines(body) and whole
    newest_first = sorted(reader.pages.values(), key=lambda named: -named.changed_at)
    return SitemapFile(newest_first, sorted(reader.sitemaps.values(), key=lambda named: -named.changed_at), whole)


class _Enough(Exception):
    """A limit of one file is reached."""


class _Reader:
    def __init__(self, url: str) -> None:
        self._url = url
        self.pages: dict[str, Named] = {}
        self.sitemaps: dict[str, Named] = {}
        self._path: list[str] = []
        self._fields: dict[str, str] = {}
        self._text: list[str] = []
        self._taking = 0

    def read_lines(self, body: bytes) -> bool:
        """Whether all could be taken."""
        lines = body.decode("utf-8-sig", "replace").splitlines()
        first = next((line.strip() for line in lines if line.strip()), "")
        if not re.match(r"https?://\S+$", first):
            raise NotASitemap("neither XML nor a list of URLs")
        try:
            for line in lines:
                if line.strip():
                    self._name(self.pages, line)
        except _Enough:
            return False
        return True

    def read_xml(self, body: bytes) -> bool:
        """Whether it could be read to its end."""
        parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        try:
            for text in xml_slices(body, _SLICE):
                parser.Parse(text.encode(), False)
            parser.Parse(b"", True)
        except NotExtractable as exc:
            raise NotASitemap(exc.reason) from exc
        except expat.ExpatError as exc:
            if not self._path and not self.pages and not self.sitemaps:
                raise NotASitemap(f"XML that can't be read: {exc}") from exc
            return False  # this file is bad; what stands before the fault counts
        except _Enough:
            return False
        return True

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if not self._path and name not in _ROOTS:
            raise NotASitemap(f"XML of the type {name[:40]}")
        if len(self._path) >= MAX_DEPTH:
            raise _Enough
        parent = self._path[-1] if self._path else ""
        self._path.append(name)
        if name in _WANTED:
            self._fields = {}
        elif name == "link" and parent in ("url", "entry") and attributes.get("rel", "alternate") == "alternate":
            self._alternate(parent, attributes)
        elif name in _WANTED.get(parent, ()):
            self._text, self._taking = [], MAX_TEXT_CHARS

    def _alternate(self, parent: str, attributes: dict[str, str]) -> None:
        """Of an Atom entry the page itself; of a sitemap's entry the page in another language."""
        href = attributes.get("href", "")
        if parent == "entry":
            self._fields.setdefault("loc", href)
        elif href:
            self._name(self.pages, href)

    def _characters(self, text: str) -> None:
        if self._taking > 0:
            self._text.append(text[: self._taking])
            self._taking -= len(text)

    def _end(self, tag: str) -> None:
        name = self._path.pop()
        parent = self._path[-1] if self._path else ""
        if name in _WANTED:
            self._take(name)
        elif name in _WANTED.get(parent, ()):
            if text := "".join(self._text).strip():
                self._fields.setdefault(name, text)
            self._taking = 0

    def _take(self, kind: str) -> None:
        fields = self._fields
        guid = fields.get("guid", "")
        place = fields.get("loc") or fields.get("link") or (guid if guid.startswith("http") else "")
        changed = next((fields[name] for name in ("lastmod", "updated", "pubDate", "date", "published")
                        if fields.get(name)), "")  # fmt: skip
        self._name(self.sitemaps if kind == "sitemap" else self.pages, place, changed)

    def _name(self, into: dict[str, Named], href: str, changed: str = "") -> None:
        try:
            url = canonical(href, self._url)
        except UrlError:
            return
        if not href.strip() or url == self._url:
            return
        known = into.get(url)
        if known is None and len(self.pages) + len(self.sitemaps) >= MAX_URLS:
            raise _Enough
        moment = max(seconds_of(changed), known.changed_at if known else 0.0)
        into[url] = Named(url, moment)


def seconds_of(moment: str) -> float:
    """Seconds since 1970 of a W3C date (also without month, day or time) or one of RFC 5322; 0 if it is neither."""
    text = moment.strip()
    try:
        if (match := _DAY.fullmatch(text)) is not None:
            return datetime(int(match[1]), int(match[2] or 1), int(match[3] or 1), tzinfo=UTC).timestamp()
        parsed = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _refuse_doctype(*_: object) -> None:
    raise NotASitemap("it declares a document type")


def _inflated(body: bytes) -> tuple[bytes, bool]:
    inflater = Inflater("gzip", MAX_BYTES)
    try:
        inflater.feed(body)
        inflater.finish()
    except (BodyTooLarge, UnknownEncoding):  # what could be had of it counts
        return inflater.body(), False
    return inflater.body(), True
