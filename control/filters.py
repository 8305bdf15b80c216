"""What a search is narrowed to: Weaviate lets through all that fits and perhaps more, and the exact rule decides."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import ada_url
import msgspec
from weaviate.classes.query import Filter

from control.problems import Invalid
from headrace.globs import MAX_PATTERN_CHARS, compile_glob, like_pattern, with_upper_escapes

MAX_GLOBS = 20
MAX_HEADING_CHARS = 200

Glob = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATTERN_CHARS)]


class Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A hit fits all that is given.

    `path`: one of these globs, as in a definition's `include`: `/docs/**` from the root of any host, `*.html` or
    `api/**` at any depth, `/docs/` everything beneath, `https://example.org/docs/**` of one host; `*` stays within a
    segment. The query of a URL takes no part.

    `heading`: one heading of the hit's path contains this text; case does not count, nor how words are parted.
    """

    path: Glob | Annotated[list[Glob], msgspec.Meta(max_length=MAX_GLOBS)] | None = None
    heading: Annotated[str, msgspec.Meta(max_length=MAX_HEADING_CHARS)] | None = None


class Narrowing:
    """Filters, ready for use: `conditions` for Weaviate, and `passes`, which decides."""

    def __init__(self, filters: Filters) -> None:
        """Raises Invalid."""
        given = [filters.path] if isinstance(filters.path, str) else filters.path or []
        self._paths = list(map(_Path, given))
        self._heading = _flat(filters.heading or "")
        if filters.heading is not None and not self._heading:
            raise Invalid("filters.heading is empty: leave it out, or name a part of a heading", code="invalid-query")

    def __bool__(self) -> bool:
        return bool(self._paths or self._heading)

    @property
    def conditions(self) -> list[Any]:
        url, heading = Filter.by_property("url"), Filter.by_property("heading_path")
        found = [heading.like(f"*{word}*") for word in _indexed(self._heading)]
        likes = list(dict.fromkeys(like for path in self._paths for like in path.likes))
        return [*found, Filter.any_of([url.like(like) for like in likes])] if likes else found

    def passes(self, url: str, heading_path: Sequence[str]) -> bool:
        if self._paths and not any(path.matches(url) for path in self._paths):
            return False
        return not self._heading or any(self._heading in _flat(each) for each in heading_path)


class _Path:
    def __init__(self, pattern: str) -> None:
        text = pattern.strip()
        self._host, glob = _parted(text)
        if not glob:
            raise Invalid("filters.path holds an empty pattern", code="invalid-query")
        self._fits: Callable[[str], object] = compile_glob(glob).fullmatch
        like = f"*://{self._host or '*'}{like_pattern(glob)}"
        self.likes = [like] if like.endswith("*") else [like, like + "?*"]
        """The second is of those with a query: Weaviate can't escape a question mark, nor need it."""

    def matches(self, url: str) -> bool:
        host, _, rest = url.partition("://")[2].partition("/")
        return self._host in (None, host) and bool(self._fits(with_upper_escapes("/" + rest.partition("?")[0])))


def _parted(pattern: str) -> tuple[str | None, str]:
    """Host, as URLs are stored with it, and glob. `https://example.org` is all of that host."""
    scheme, mark, rest = pattern.partition("://")
    if not mark:
        return None, pattern
    host, _, glob = rest.partition("/")
    try:
        parsed = ada_url.URL(f"{scheme}://{host}/") if host and set(host).isdisjoint("*?@") else None
    except ValueError:
        parsed = None
    if parsed is None or parsed.protocol not in ("http:", "https:"):
        raise Invalid("filters.path: write a host as in https://example.org/**, no wildcards", code="invalid-query")
    return parsed.host, "/" + glob


def _flat(text: str) -> str:
    return " ".join(text.lower().split())


def _indexed(text: str) -> list[str]:
    """The words as Weaviate parts them, at all that is neither letter nor digit; save those with a sigma, whose case it
    changes otherwise."""
    return [word for word in dict.fromkeys(re.findall(r"[^\W_]+", text)) if set(word).isdisjoint("σς")]
