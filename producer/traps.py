"""Places where a crawl finds new URLs for ever, or the same page again and again: what is left out of them, and why.

Some are told by the URL alone (`trap_in`): paths that repeat themselves or are too deep, other orders of one list,
views to print, the machinery of wikis. Others only by how many of a kind there are (`Traps`): variants of a path by its
query, pages of dates, the same segments in another order. The limits lie far above what documentation has.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_plus

import msgspec

from producer.scope import Verdict
from producer.urls import host_key

MAX_SEGMENTS: Final = 20
"""As in Heritrix. The deepest paths of documentation, Java's packages by version, have 12."""
MAX_TIMES: Final = 3
"""One segment in a path: `/2024/1/1/1/` and `/boost/libs/boost/boost/` exist."""
MAX_ROUNDS: Final = 2
"""The same two or more segments one after the other: `/a/b/a/b/`."""
MAX_COPIES_IN_A_ROW: Final = 5
"""Pages with the content of others, each found on the one before: the next ones will be no better."""
_MAX_COUNTERS: Final = 50_000
"""About 5 MB. When they are more, the lower half is forgotten: in a trap, many URLs share one."""

_ASCENDING = r"asc|desc|ascending|descending"
_VIEWS: Final[tuple[tuple[str, frozenset[str], re.Pattern[str]], ...]] = tuple(
    (kind, frozenset(names.split()), re.compile(values))
    for kind, names, values in (
        ("another order of a list", "sort sortby sort_by sortorder sort_order sortdir orderby order_by", r".*"),
        ("another order of a list", "order dir direction", _ASCENDING),
        ("a view to print", "print printable printview printer_friendly printerfriendly", r".*"),
        (
            "a view to print",
            "view format mode layout style action",
            r"print|printable|printer|printpage|printerfriendly",
        ),
        ("a wiki's machinery", "oldid", r"\d+|prev|next|cur"),
        ("a wiki's machinery", "diff", r"\d+|prev|next|cur"),
        ("a wiki's machinery", "veaction redlink", r".*"),
        (
            "a wiki's machinery",
            "action",
            r"edit|history|submit|delete|protect|unprotect|watch|unwatch|purge|rollback|revert|markpatrolled|credits",
        ),
        (
            "a wiki's machinery",
            "do",
            r"edit|revisions|diff|recent|backlink|login|register|resendpwd|index|media|admin|subscribe|export_\w+",
        ),
        ("a comment's form", "replytocom", r"\d+"),
    )
)
_VIEW_NAME = re.compile(
    rf"(?:^|&)(?:{'|'.join(sorted(name for _, names, _ in _VIEWS for name in names))}|c)(?:=|&|$)|%", re.I
)
"""None of them stands in most queries."""
_SERVER_LISTING = re.compile(r"C=[NMSD](?:[;&]O=[AD])?")
"""Apache's and nginx's directory listings."""

_YEAR, _MONTH, _DAY = r"(?:19|20|21)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_DATE = re.compile(
    rf"(?<![0-9A-Za-z]){_YEAR}(?:[/-]{_MONTH}(?:[/-]{_DAY})?|-?[Ww]\d\d?|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?![0-9A-Za-z])"
    rf"|(?<=[?&])(?:year|month|day|week|yr|mon|date)=\d{{1,4}}(?=&|$)"
)
"""A year alone is as often a version or a number of pages."""
_PERHAPS_DATE = re.compile(r"[^0-9A-Za-z](?:19|20|21)\d\d|[?&](?:year|month|day|week|yr|mon|date)=")
_PAGING = frozenset("page p pg paged start offset from first skip limitstart cursor".split())


class Limits(msgspec.Struct, frozen=True):
    """URLs of one kind that are let in."""

    of_one_parameter: int = 10_000
    """Per path: `index.php?title=…` and `show?id=…` are how some sites name their pages."""
    of_parameters: int = 1_000
    """Per path: facets, filters, searches; two forums' worth of `?f=1&t=2`."""
    of_paging: int = 500
    """Per path: a list with a `next` behind its last page has no end."""
    of_dates: int = 400
    """Per URL without its dates: a day's page for over a year, a month's for 33."""
    of_segments: int = 8
    """Per set of segments, of which one repeats: relative links that resolve below themselves."""


class Trap(msgspec.Struct, frozen=True):
    """`kind` counts what is left out, `reason` says why this URL is."""

    kind: str
    reason: str


def trap_in(url: str) -> Trap | None:
    """Judge a canonical URL by itself."""
    segments = _segments(url)
    if len(segments) > MAX_SEGMENTS:
        return Trap("too deep a path", f"a path of {len(segments)} segments, more than {MAX_SEGMENTS}")
    if len(set(segments)) < len(segments) and (trap := _repetition(segments)) is not None:
        return trap
    return _view(url.partition("?")[2]) if "?" in url else None


class Traps:
    """What of one crawl's URLs is let in. Pure: depends on the URLs that were let in before, and on nothing else.

    `verdict` judges; `count` tells that a URL was let in, once for each.
    """

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        self._limits = limits
        self._counters: dict[int, int] = {}
        self._last: tuple[str, tuple[_Kind, ...]] = ("", ())

    def trap(self, url: str) -> Trap | None:
        """Why the URL is not let in, or None."""
        if (found := trap_in(url)) is not None:
            return found
        for kind in self._kinds(url):
            if self._counters.get(kind.key, 0) >= kind.limit:
                return Trap(kind.what, f"{kind.limit} {kind.what} are known already: {kind.shared[:200]}")
        return None

    def verdict(self, url: str) -> Verdict:
        """As `Scope.verdict`."""
        found = self.trap(url)
        return Verdict(True, "no trap") if found is None else Verdict(False, found.reason)

    def count(self, url: str) -> None:
        for kind in self._kinds(url):
            if kind.key not in self._counters and len(self._counters) >= _MAX_COUNTERS:
                by_count = sorted(self._counters.items(), key=lambda counter: counter[1])
                self._counters = dict(by_count[len(by_count) // 2 :])
            self._counters[kind.key] = self._counters.get(kind.key, 0) + 1

    def _kinds(self, url: str) -> "tuple[_Kind, ...]":
        """What the URL is counted by. Judged and counted is mostly the same one."""
        if self._last[0] != url:
            self._last = (url, tuple(_kinds(url, self._limits)))
        return self._last[1]


class _Kind(msgspec.Struct, frozen=True, gc=False):
    """`limit` URLs may have `shared` in common; `key` stands for that and for `what` they are."""

    key: int
    limit: int
    what: str
    shared: str


def _kinds(url: str, limits: Limits) -> Iterator[_Kind]:
    place, _, query = url.partition("?")
    if query:
        names = {part.partition("=")[0].lower() for part in query.split("&")}
        if len(names) > 1:
            yield _Kind(hash(("many", place)), limits.of_parameters, "variants of a path by its query", place)
        elif names & _PAGING:
            yield _Kind(hash(("paging", place)), limits.of_paging, "pages of a list", place)
        else:
            yield _Kind(hash(("one", place)), limits.of_one_parameter, "variants of a path by its query", place)
    if _PERHAPS_DATE.search(url) is not None and (undated := _DATE.sub("#", url)) != url:
        yield _Kind(hash(("dates", undated)), limits.of_dates, "pages of dates", undated)
    segments = _segments(url)
    if len(set(segments)) < len(segments):
        shared = f"{host_key(url)}/{'/'.join(sorted(set(segments)))}"
        yield _Kind(hash(("segments", shared, query)), limits.of_segments, "paths of the same segments", shared)


def _segments(url: str) -> list[str]:
    segments = url.partition("?")[0].split("/")[3:]
    return [segment for segment in segments if segment] if "" in segments else segments


def _repetition(segments: list[str]) -> Trap | None:
    segment, times = Counter(segments).most_common(1)[0]
    if times > MAX_TIMES:
        return Trap("a repeating path", f"a path with {segment[:80]!r} {times} times")
    for length in range(2, len(segments) // (MAX_ROUNDS + 1) + 1):
        for start in range(len(segments) - length * (MAX_ROUNDS + 1) + 1):
            block = segments[start : start + length]
            if segments[start : start + length * (MAX_ROUNDS + 1)] == block * (MAX_ROUNDS + 1):
                return Trap("a repeating path", f"a path with {'/'.join(block)[:80]!r} {MAX_ROUNDS + 1} times in a row")
    return None


def _view(query: str) -> Trap | None:
    if _VIEW_NAME.search(query) is None:
        return None
    if _SERVER_LISTING.fullmatch(query):
        return Trap("another order of a list", f"another order of a list: {query}")
    for part in query.split("&"):
        name, _, value = (unquote_plus(each).lower() for each in part.partition("="))
        for kind, names, values in _VIEWS:
            if name in names and values.fullmatch(value):
                return Trap(kind, f"{kind}: {part[:80]}")
    return None
