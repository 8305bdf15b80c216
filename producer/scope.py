"""Which URLs belong to a knowledge base.

Patterns of `include` and `exclude` are globs over the URL's path (the query takes no part):

* `*` is any run of characters within one path segment, `?` is one such character;
* `**` is any run of characters, slashes included; `/a/**/b` also matches `/a/b`;
* all else stands for itself, spelled with or without percent-encoding;
* a pattern that ends in `/` means everything beneath it, and the directory itself;
* `/docs/**` counts from the root of each start URL's host, `*.pdf` or `old/**` at any depth,
  `https://other.example/docs/**` names another host and thereby adds it to the scope.

`exclude` wins over `include`. A start URL is inside unless it is excluded, even when no `include` matches it:
it is where links are found. http and https, and only these, are the same place.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

import msgspec

from producer.urls import UrlError, canonical, host_key, path_of, quoted

MAX_PATTERN_CHARS = 500

_ANY_RUN = re.compile(r"(?<=/)(?P<directories>\*\*/)|\*\*")
_ESCAPE = re.compile("%[0-9a-fA-F]{2}")
_KEPT = "/%!$&'()+,;=:@-._~|[]"
"""What the URL standard leaves as it is in a path, besides letters and digits."""


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
        host, path = host_key(url), _with_upper_escapes(path_of(url))
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
    return host_key(seed), _with_upper_escapes(path_of(seed)).rpartition("/")[0] + "/"


def _first(patterns: tuple[_Pattern, ...], host: str, path: str) -> _Pattern | None:
    return next((p for p in patterns if p.matches(host, path)), None)


def _compile(pattern: str) -> _Pattern:
    """Raises ScopeError on an empty, overlong or malformed pattern."""
    text = pattern.strip()
    if not 0 < len(text) <= MAX_PATTERN_CHARS:
        raise ScopeError(f"a pattern has 1 to {MAX_PATTERN_CHARS} characters{quoted(text)}")
    host, glob = _split_host(text)
    body = glob if glob.startswith("/") else "/**/" + glob
    under = body.endswith("/")
    regex = _regex_of(body.removesuffix("/") if under else body) + ("(?:/.*)?" if under else "")
    return _Pattern(text, host, re.compile(regex, re.DOTALL))


def _regex_of(glob: str) -> str:
    """One that takes time by the length of the path, and not by powers of it.

    Between two `**` the first match is as good as any, and so is, behind a `*`, the first match in the segment: what
    matches further on leaves less for the rest. So each is an atomic group, to which the search does not come back;
    save those behind the last wildcard, which the path's end holds.
    """
    first, *others = _runs(glob)
    runs = [first, *("(?:[^/]*+/)*?" + run for run in others)]
    return "".join([*(f"(?>{run})" for run in runs[:-1]), runs[-1]])


def _runs(glob: str) -> Iterator[str]:
    """What stands between the `**`, as regexes. Behind `**/` a run begins with a segment, behind `**` within one."""
    start, within = 0, False
    for gap in _ANY_RUN.finditer(glob):
        yield _run(glob[start : gap.start()], within=within, last=False)
        start, within = gap.end(), gap["directories"] is None
    yield _run(glob[start:], within=within, last=True)


def _run(glob: str, *, within: bool, last: bool) -> str:
    head, *pieces = map(_literal, (("*" if within else "") + glob).split("*"))
    end = "[^/]*" + pieces.pop() if last and pieces else ""
    return head + "".join(f"(?>[^/]*?{piece})" for piece in pieces) + end


def _literal(text: str) -> str:
    return "[^/]".join(re.escape(_with_upper_escapes(quote(part, safe=_KEPT))) for part in text.split("?"))


def _with_upper_escapes(path: str) -> str:
    """`%c3` as `%C3`, which names the same page (RFC 3986, 6.2.2.1), though not always the same to a server."""
    return _ESCAPE.sub(lambda found: found[0].upper(), path) if "%" in path else path


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
