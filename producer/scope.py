"""Which URLs belong to a knowledge base.

Patterns of `include` and `exclude` are globs over the URL's path (`headrace/globs.py`); the query takes no part.
`/docs/**` counts from the root of each start URL's host, `https://other.example/docs/**` names another host and thereby
adds it to the scope.

`exclude` wins over `include`. A start URL is inside unless it is excluded, even when no `include` matches it:
it is where links are found. http and https, and only these, are the same place.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from headrace.globs import MAX_PATTERN_CHARS, compile_glob, with_upper_escapes
from producer.urls import UrlError, canonical, host_key, path_of, quoted


class ScopeError(ValueError):
    """A start URL or pattern that can't be used; the message names it."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether a URL is crawled, and why, in words that an operator understands."""

    inside: bool
    reason: str


class _Pattern(msgspec.Struct, frozen=True):
    text: str
    host: str | None
    regex: re.Pattern[str]

    def matches(self, host: str, path: str) -> bool:
        """`path` with its escapes in upper case."""
        return (self.host is None or self.host == host) and self.regex.fullmatch(path) is not None


class Scope:
    """The part of the web that one knowledge base covers. Immutable; `verdict` is pure."""

    def __init__(self, seeds: Sequence[str], include: Sequence[_Pattern], exclude: Sequence[_Pattern]) -> None:
        self.seeds = tuple(seeds)
        self._seeds = frozenset(_schemeless(seed) for seed in seeds)
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._hosts = frozenset(host_key(seed) for seed in seeds) | {p.host for p in include if p.host}
        self._directories = tuple(_directory(seed) for seed in seeds)

    @classmethod
    def from_source(cls, urls: Iterable[str], include: Iterable[str] = (), exclude: Iterable[str] = ()) -> "Scope":
        """From the `source` of a knowledge base's definition. Raises ScopeError."""
        try:
            seeds = list(dict.fromkeys(canonical(url) for url in urls))
        except UrlError as error:
            raise ScopeError(f"start URL: {error}") from error
        if not seeds:
            raise ScopeError("a source needs at least one start URL")
        return cls(seeds, [_compile(p) for p in include], [_compile(p) for p in exclude])

    @property
    def extent(self) -> str:
        """What is inside, in words."""
        if self._include:
            return f"included: {_listed(each.text for each in self._include)}; of {_listed(sorted(self._hosts))}"
        return f"inside: {_listed(host + directory for host, directory in self._directories)}"

    def verdict(self, url: str) -> Verdict:
        """Judge a canonical URL."""
        host, path = host_key(url), with_upper_escapes(path_of(url))
        if host not in self._hosts:
            return Verdict(False, f"host {host} is not in scope")
        if (hit := _first(self._exclude, host, path)) is not None:
            return Verdict(False, f"excluded by {hit.text}")
        if _schemeless(url) in self._seeds:
            return Verdict(True, "start URL")
        return self._by_include(host, path) if self._include else self._by_directory(host, path)

    def _by_include(self, host: str, path: str) -> Verdict:
        hit = _first(self._include, host, path)
        return Verdict(True, f"included by {hit.text}") if hit else Verdict(False, "no include pattern matches")

    def _by_directory(self, host: str, path: str) -> Verdict:
        for seed_host, directory in self._directories:
            if host == seed_host and (path.startswith(directory) or path == directory[:-1]):
                return Verdict(True, f"under {host}{directory}")
        return Verdict(False, "outside the directories of the start URLs")


def _listed(texts: Iterable[str], most: int = 10) -> str:
    distinct = list(dict.fromkeys(texts))
    return ", ".join(distinct[:most]) + (f" and {len(distinct) - most} more" if len(distinct) > most else "")


def _schemeless(url: str) -> str:
    return url.partition("://")[2]


def _directory(seed: str) -> tuple[str, str]:
    return host_key(seed), with_upper_escapes(path_of(seed)).rpartition("/")[0] + "/"


def _first(patterns: tuple[_Pattern, ...], host: str, path: str) -> _Pattern | None:
    return next((p for p in patterns if p.matches(host, path)), None)


def _compile(pattern: str) -> _Pattern:
    """Raises ScopeError on an empty, overlong or malformed pattern."""
    text = pattern.strip()
    if not 0 < len(text) <= MAX_PATTERN_CHARS:
        raise ScopeError(f"a pattern has 1 to {MAX_PATTERN_CHARS} characters{quoted(text)}")
    host, glob = _split_host(text)
    return _Pattern(text, host, compile_glob(glob))


def _split_host(pattern: str) -> tuple[str | None, str]:
    if "://" not in pattern:
        return None, pattern
    scheme_and_host, slash, rest = pattern.partition("://")[2].partition("/")
    if "*" in scheme_and_host or not scheme_and_host:
        raise ScopeError(f"a pattern's host can't hold wildcards{quoted(pattern)}")
    try:
        base = canonical(pattern.partition("://")[0] + "://" + scheme_and_host + "/")
    except UrlError as error:
        raise ScopeError(f"pattern{quoted(pattern)}: {error}") from error
    return host_key(base), "/" + rest if slash else "/"
