"""Preconditions of what replaces or drops a definition (RFC 9110, section 13): nobody does so to one not seen.

The tag is of the definition alone: jobs come and go without refusing who edits it. So a GET answers no 304 by it, for
the rest of the answer may have changed.
"""

import hashlib
import re
from dataclasses import dataclass

import msgspec
from aiohttp import web

from control.problems import Invalid, PreconditionFailed
from schemas.identity import canonical_json
from schemas.kb import Definition, KbDefined, differences

ANY = "*"
TAG_CHARS = 16
_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\U0010ffff]*"')
_TAGS = re.compile(rf"{_TAG.pattern}(?:[ \t]*,[ \t]*{_TAG.pattern})*")
MOST_CHARS = 300
"""Of the URLs and fields that a refusal names."""


def tag_of(definition: Definition) -> str:
    """Equal definitions, equal tags; in its quotes, as `ETag`, `If-Match` and `If-None-Match` carry it."""
    text = canonical_json(msgspec.to_builtins(definition))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:TAG_CHARS]}"'


@dataclass(frozen=True)
class Precondition:
    """`match`, `none_match`: tags in their quotes, or `*`; None where the header is not given."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def check(self, kb_id: str, known: KbDefined | None, wanted: Definition | None) -> None:
        """Raises PreconditionFailed, which says what differs; `wanted` is the definition that comes with the call."""
        there = known is not None and not known.deleted
        if self.match is not None and not there:
            raise PreconditionFailed(f"there is no knowledge base {kb_id!r} (any more)", code="kb-missing")
        if known is None or not there:
            return
        tag = tag_of(known.definition)
        if self.match is not None and self.match.isdisjoint((ANY, tag)):
            raise PreconditionFailed(
                f"the definition of {kb_id} was changed meanwhile{_what_differs(known, wanted)}; "
                f"GET it anew, and send its ETag, which is {tag} now, as If-Match",
                code="kb-changed",
            )
        if self.none_match is not None and not self.none_match.isdisjoint((ANY, tag)):
            raise PreconditionFailed(
                f"there is a knowledge base {kb_id!r} already, of {_short(known.definition.source.urls)}"
                f"{_what_differs(known, wanted)}; choose another name, or replace its definition by sending its ETag, "
                f"which is {tag}, as If-Match",
                code="kb-exists",
            )


ALWAYS = Precondition()


def precondition(request: web.Request) -> Precondition:
    """Raises Invalid for a header that can't be read: ignored, it would let through what it was to refuse."""
    match, none_match = _tags(request, "If-Match"), _tags(request, "If-None-Match")
    # If-Match compares strongly, so that a weak tag equals none (section 8.8.3.2); If-None-Match weakly
    return Precondition(
        None if match is None else frozenset(tag for tag in match if not tag.startswith("W/")),
        None if none_match is None else frozenset(tag.removeprefix("W/") for tag in none_match),
    )


def _tags(request: web.Request, name: str) -> list[str] | None:
    """All, or Invalid: aiohttp's own `if_match` ends at the first that it can't read, and with the first line."""
    if name not in request.headers:
        return None
    text = ", ".join(request.headers.getall(name)).strip(" \t")
    if text == ANY:
        return [ANY]
    if not _TAGS.fullmatch(text):
        raise Invalid(
            f"{name} is {text[:80]!r}; write * or an ETag in its quotes, as GET gives it", code="invalid-precondition"
        )
    return _TAG.findall(text)


def _what_differs(known: KbDefined, wanted: Definition | None) -> str:
    if wanted is None:
        return ""
    fields = differences(msgspec.to_builtins(known.definition), msgspec.to_builtins(wanted))
    return f", and differs from yours in {_short(tuple(fields))}" if fields else ", by the same definition as yours"


def _short(words: tuple[str, ...]) -> str:
    text = ", ".join(words)
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + "…"
