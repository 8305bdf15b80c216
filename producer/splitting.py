"""Cuts one block that is over the limit into units: between lines, then sentences, then words, then tokens."""

import re
from collections.abc import Callable, Iterator

import msgspec

from producer.content.document import Block, BlockKind
from producer.tokens import count, cut

SLACK_TOKENS = 2
"""What the sum of a unit's parts may lie below its own count, for separators that merge with their neighbours."""

_LINES = re.compile(r"[^\n]*\n+|[^\n]+")
_SENTENCES = re.compile(r".+?(?:[.!?](?=\s)\s*|[。！？]|$)", re.DOTALL)


class Unit(msgspec.Struct, frozen=True):
    """A part of a section that isn't cut further. `glue` follows it in the text; `tokens` includes the glue.

    `may_end`: whether a chunk may end after it; not so for headings and terms.
    """

    text: str
    glue: str
    tokens: int
    may_end: bool


def units_of(block: Block, tokens: int, whole: int, piece: int) -> Iterator[Unit]:
    """One unit when the block's `tokens` fit in `whole`, else units of at most about `piece` tokens."""
    may_end = block.kind not in (BlockKind.HEADING, BlockKind.TERM)
    if tokens <= whole:
        yield Unit(block.text, "\n\n", tokens, may_end)
        return
    parts = list(split(block.text, max(piece - SLACK_TOKENS, 4)))
    for index, (text, size) in enumerate(parts):
        last = index == len(parts) - 1
        yield Unit(text, "\n\n" if last else "", size + last, may_end or not last)


def split(text: str, max_tokens: int) -> Iterator[tuple[str, int]]:
    """(piece, tokens): consecutive pieces that give the text back, as full as `max_tokens` allows."""
    yield from _packed(text, max_tokens, (_lines, _sentences))


def _packed(text: str, max_tokens: int, finer: tuple[Callable[[str], list[str]], ...]) -> Iterator[tuple[str, int]]:
    if not finer:
        yield from ((piece, count(piece)) for piece in cut(text, max_tokens))
        return
    held: list[str] = []
    size = 0
    for part in finer[0](text):
        tokens = count(part)
        if held and size + tokens > max_tokens:
            yield "".join(held), size
            held, size = [], 0
        if tokens > max_tokens:
            yield from _packed(part, max_tokens, finer[1:])
        else:
            held.append(part)
            size += tokens
    if held:
        yield "".join(held), size


def _lines(text: str) -> list[str]:
    """Lines with the line breaks that follow them."""
    return _LINES.findall(text)


def _sentences(text: str) -> list[str]:
    """Sentences with the space that follows them."""
    return _SENTENCES.findall(text)
