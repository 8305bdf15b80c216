"""Cuts blocks into units, which are what chunks are made of: as coarse as the strategy lets them be.

A block of code and a row of a table are one unit wherever they fit in a chunk. What is over the limit is cut between
lines, then sentences, then words, then tokens.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from producer.content.document import Block, BlockKind
from producer.tokens import Tokens
from schemas.kb import Strategy

SLACK_TOKENS: Final = 2
"""What the sum of a unit's parts may lie below its own count, for separators that merge with their neighbours."""
STRIDE_TOKENS: Final = 8
"""Of prose that is cut by tokens alone: how near to the limit a chunk is filled."""
HEADER_SHARE: Final = 4
"""What repeats a table's first rows or a code block's fences gets at most a quarter of a chunk."""
SEPARATOR: Final = "\n\n"

_LINES = re.compile(r"[^\n]*\n+|[^\n]+")
_SENTENCES = re.compile(r".+?(?:[.!?](?=\s)\s*|[。！？]|$)", re.DOTALL)
_FENCED = re.compile(r"((`{3,})[^`\n]*\n).*(\n\2)", re.DOTALL)
_RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")
_PROSE = (BlockKind.PARAGRAPH, BlockKind.QUOTE, BlockKind.LIST)
_KEPT_WITH_NEXT = (BlockKind.HEADING, BlockKind.TERM)

Split = Callable[[str], list[str]]


class Unit(msgspec.Struct, frozen=True):
    """A part of a page that isn't cut further. `glue` follows it in the text; `tokens` includes the glue.

    `may_end`: whether a chunk may end after it; not so for headings, terms, a table's first rows, and where a fence
    would stand alone. `path`: of the headings above it; None before the first. `header`: the first rows of the table
    that it goes on with, which a chunk that begins here repeats. `opening` and `closing`: the fences of the code that
    it goes on with, for a chunk that begins or ends here. `code`: whether it is of a code block. `whole`: it is a
    block, and `tokens` exactly its own and its separator's.
    """

    text: str
    glue: str
    tokens: int
    may_end: bool
    path: tuple[str, ...] | None
    header: str = ""
    opening: str = ""
    closing: str = ""
    code: bool = False
    whole: bool = False


class Splitter:
    """`room`: tokens of a chunk's text; units are within it."""

    def __init__(self, tokens: Tokens, strategy: Strategy, room: int) -> None:
        self._tokens, self._strategy, self._room = tokens, strategy, room

    def units(self, block: Block, size: int, path: tuple[str, ...] | None) -> Iterator[Unit]:
        """`size`: the block's tokens, with its separator."""
        may_end, code = block.kind not in _KEPT_WITH_NEXT, block.kind is BlockKind.CODE
        if size <= self._room and not self._is_parted(block.kind):
            yield Unit(block.text, SEPARATOR, size, may_end, path, code=code, whole=True)
        elif code:
            yield from self._lines_of_code(block, path)
        else:
            yield from self._parts_of(block, may_end, path)

    def _parts_of(self, block: Block, may_end: bool, path: tuple[str, ...] | None) -> Iterator[Unit]:
        header, before = self._header(block), 0
        parts = list(self._parts(block, self._room))
        for index, (text, tokens) in enumerate(parts):
            last = index == len(parts) - 1
            in_header = before < len(header)
            ends = not in_header and (may_end or not last)
            yield Unit(text, SEPARATOR if last else "", tokens + last, ends, path, "" if in_header else header)
            before += len(text)

    def _lines_of_code(self, block: Block, path: tuple[str, ...] | None) -> Iterator[Unit]:
        opening, closing = self._fences(block.text)
        parts = list(self._parts(block, self._room - self._tokens.count(opening) - self._tokens.count(closing)))
        last_words = max((index for index, (text, _) in enumerate(parts[:-1]) if text.strip()), default=0)
        for index, (text, tokens) in enumerate(parts):
            first, last = index == 0, index == len(parts) - 1
            may_end = last or not opening or 0 < index < last_words
            yield Unit(
                text, SEPARATOR if last else "", tokens + last, may_end, path,
                opening="" if first else opening, closing="" if last else closing, code=True,
            )  # fmt: skip

    def _header(self, block: Block) -> str:
        """What chunks that go on with a table repeat; nothing of one whose first rows fill a quarter of a chunk."""
        header = first_rows(block.text) if block.kind is BlockKind.TABLE else ""
        return header if self._is_small(header) else ""

    def _fences(self, code: str) -> tuple[str, str]:
        """What chunks that go on with the code begin with, and what chunks that end in it end with."""
        match = _FENCED.fullmatch(code)
        opening, closing = match.group(1, 3) if match is not None else ("", "")
        return (opening, closing) if self._is_small(opening + closing) else ("", "")

    def _is_small(self, repeated: str) -> bool:
        return self._tokens.count(repeated) <= self._room // HEADER_SHARE

    def _is_parted(self, kind: BlockKind) -> bool:
        """Whether the strategy parts such blocks even where they fit."""
        match self._strategy:
            case "structure":
                return False
            case "sentences" | "tokens":
                return kind in _PROSE or kind is BlockKind.TABLE

    def _parts(self, block: Block, room: int) -> Iterator[tuple[str, int]]:
        """(text, tokens): consecutive, they give the block's text back."""
        largest = max(room - SLACK_TOKENS, 4)
        if self._strategy == "tokens" and block.kind in _PROSE:
            for piece in self._tokens.cut(block.text, min(STRIDE_TOKENS, largest)):
                yield piece, self._tokens.count(piece)
        else:
            running = block.kind in (BlockKind.PARAGRAPH, BlockKind.QUOTE)
            yield from self._finer(block.text, largest, (sentences, lines) if running else (lines, sentences))

    def _finer(self, text: str, largest: int, ways: tuple[Split, ...]) -> Iterator[tuple[str, int]]:
        if not ways:
            yield from ((piece, self._tokens.count(piece)) for piece in self._tokens.cut(text, largest))
            return
        space = ""
        for part in ways[0](text):
            # A space counts with the word that follows it.
            size = self._tokens.count(space + part.rstrip(" "))
            if size > largest:
                yield from self._finer(part, largest, ways[1:])
            else:
                yield part, size
            space = " " if part.endswith(" ") else ""


def lines(text: str) -> list[str]:
    """With the line breaks that follow them."""
    return _LINES.findall(text)


def sentences(text: str) -> list[str]:
    """With the space that follows them."""
    return _SENTENCES.findall(text)


def first_rows(table: str) -> str:
    """Caption, header row and rule, with their line breaks; empty where there are none."""
    above = ""
    for line in lines(table)[:4]:
        above += line
        if _RULE.fullmatch(line.strip()):
            return above
    return ""
