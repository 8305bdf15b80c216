"""Globs over the path of a canonical URL: those of `include` and `exclude` in a definition, and of a search's filters.

* `*` is any run of characters within one path segment, `?` is one such character;
* `**` is any run of characters, slashes included; `/a/**/b` also matches `/a/b`;
* all else stands for itself, spelled with or without percent-encoding;
* one that ends in `/` means everything beneath it, and the directory itself;
* `/docs/**` counts from the root, `*.pdf` or `old/**` at any depth.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

MAX_PATTERN_CHARS = 500

_ANY_RUN = re.compile(r"(?<=/)(?P<directories>\*\*/)|\*\*")
_ESCAPE = re.compile("%[0-9a-fA-F]{2}")
_KEPT = "/%!$&'()+,;=:@-._~|[]"
"""What the URL standard leaves as it is in a path, besides letters and digits."""


def compile_glob(glob: str) -> re.Pattern[str]:
    """What fully matches the paths, once their escapes are in upper case (`with_upper_escapes`)."""
    body, under = _rooted(glob)
    return re.compile(_regex_of(body) + ("(?:/.*)?" if under else ""), re.DOTALL)


def like_pattern(glob: str) -> str:
    """Weaviate's Like, where `*` is any run and `?` any character: of all paths that fit the glob, and of others."""
    body, under = _rooted(glob)
    literal = quote(body.replace("**/", "*"), safe=_KEPT + "*?") + ("*" if under else "")
    return re.sub(r"\*+", "*", _ESCAPE.sub("*", literal))


def with_upper_escapes(path: str) -> str:
    """`%c3` as `%C3`, which names the same page (RFC 3986, 6.2.2.1), though not always the same to a server."""
    return _ESCAPE.sub(lambda found: found[0].upper(), path) if "%" in path else path


def _rooted(glob: str) -> tuple[str, bool]:
    """From the root on, without the last slash; and whether there was one."""
    body = glob if glob.startswith("/") else "/**/" + glob
    return body.removesuffix("/"), body.endswith("/")


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
    return "[^/]".join(re.escape(with_upper_escapes(quote(part, safe=_KEPT))) for part in text.split("?"))
