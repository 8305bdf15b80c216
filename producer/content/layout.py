"""Lines on pages, as a PDF has them, to blocks: what typesetting did to a text is undone.

1. Page numbers, running heads and tables of contents go.
2. Lines that the outline names become headings; without an outline, lines in letters larger than the text's.
3. Lines are joined to paragraphs by distance, letter size and font; lines in a typewriter font stay lines of code.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from statistics import median
from typing import Final

import msgspec

from producer.content.codeblock import fenced
from producer.content.document import Block, BlockKind

RUNNING_HEADS: Final = 3
"""A line that stands so often at the same edge of pages, one number apart, is a running head."""
EDGE_LINES: Final = 2
MAX_NUMBERS: Final = 8
"""In a line that may be a running head."""
PARAGRAPH_GAP: Final = 1.25
"""Of the usual distance of lines: above it a paragraph ends. TeX's are 1.35 and more."""
CODE_GAP: Final = 2.6
"""Blank lines in code are kept up to this."""
OTHER_SIZE: Final = 1.12
LARGE: Final = 1.15
MAX_HEADING_CHARS: Final = 200
MAX_NUMBER_CHARS: Final = 8
"""Of a section, dots apart: `Chapter 1`, `A.2.1`."""
MAX_LEVELS: Final = 3
"""Of headings that are told by their size alone."""
SHORT_LINE: Final = 0.75
"""Of the page's width: a line that ends before it was ended by the author, and not by the margin."""

_OUTER_NUMBER = re.compile(r"^\d{1,5}\b|\b\d{1,5}$")
_ROMAN = re.compile(r"[ivxlc]{1,7}")
_LEADER = re.compile(r"(?<![\s.])(?:(?:\s*+\.){4,}+\s*+(?:\d{1,4}|[ivxlc]{1,7})|(?:\s*+\.){8,}+)$")
_LABEL = re.compile(r"(?:chapter|appendix|part)\s+[\dA-Z]{1,5}", re.IGNORECASE)
_BULLET = re.compile(r"[•▪◦‣●■∙·–*-]\s+(?=\S)")
_ORDERED = re.compile(r"\d{1,3}[.)]\s+(?=\S)")
_DIGITS = re.compile(r"\d+")
_ENDS = (".", "!", "?", ":", ";")


class Line(msgspec.Struct):
    """Points from the page's lower left corner. `y` and `end_y` are the baselines of its first and last character:
    a hyphenated word joins two lines of the page. `level`: of a heading, else 0."""

    text: str
    x: float
    right: float
    y: float
    end_y: float
    size: float
    code: bool = False
    level: int = 0


class Bookmark(msgspec.Struct, frozen=True):
    """Of a page's outline. `y`: where it points to on the page; None for the page as a whole."""

    title: str
    level: int
    y: float | None = None


def blocks_of_pages(pages: Sequence[Sequence[Line]], outline: Mapping[int, Sequence[Bookmark]]) -> list[Block]:
    """`outline`: bookmarks by the page's index, in their order."""
    kept = _without_running_heads(pages)
    body = _body_size(kept)
    if outline:
        kept = [_with_headings(lines, outline.get(index, ())) for index, lines in enumerate(kept)]
    else:
        _mark_large(kept, body)
    return list(_listed(_Flow(_usual_gap(kept)).blocks(kept)))


def largest(lines: Sequence[Line]) -> str | None:
    """The words in the largest letters: a first page's title. None where all are about equal."""
    if not lines:
        return None
    top = max(line.size for line in lines)
    if top < LARGE * median(line.size for line in lines):
        return None
    found = " ".join(line.text for line in lines if line.size > top - 0.5)
    return found if len(found) <= MAX_HEADING_CHARS else None


def _without_running_heads(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    edges = [_edges(lines) for lines in pages]
    times = Counter(key for edge in edges for key in set().union(*edge.values()))
    heads = {key for key, count in times.items() if count >= RUNNING_HEADS}
    shift = _numbering(pages, edges)
    kept: list[list[Line]] = []
    for page, (lines, edge) in enumerate(zip(pages, edges, strict=True)):
        at_edge = {
            index
            for index, keys in edge.items()
            if not heads.isdisjoint(keys) or _is_numbered(lines[index], page, shift)
        }
        inner = [line for index, line in enumerate(lines) if index not in at_edge]
        kept.append([line for line in inner if not _LEADER.search(line.text)])
    return kept


def _numbering(pages: Sequence[Sequence[Line]], edges: Sequence[Iterable[int]]) -> int | None:
    """What the printed page numbers are ahead of the pages' places; None where no pages are numbered."""
    shifts = Counter(
        number - page
        for page, (lines, edge) in enumerate(zip(pages, edges, strict=True))
        for index in edge
        for number in _outer_numbers(lines[index].text)
    )
    shift, count = shifts.most_common(1)[0] if shifts else (0, 0)
    return shift if count >= RUNNING_HEADS else None


def _is_numbered(line: Line, page: int, shift: int | None) -> bool:
    if shift is None or _is_row(line.text):
        return False
    return page + shift in _outer_numbers(line.text) or _ROMAN.fullmatch(line.text) is not None


def _outer_numbers(text: str) -> set[int]:
    """The numbers that a line begins and ends with."""
    return {int(match) for match in _OUTER_NUMBER.findall(text)}


def _edges(lines: Sequence[Line]) -> dict[int, set[tuple[str, int]]]:
    """The uppermost and lowest lines by index: what they have in common with those of other pages, and their height."""
    order = sorted(range(len(lines)), key=lambda index: lines[index].y)
    chosen = {*order[:EDGE_LINES], *order[-EDGE_LINES:]}
    return {index: {(key, round(lines[index].y / 4)) for key in _head_keys(lines[index].text)} for index in chosen}


def _head_keys(text: str) -> Iterator[str]:
    """As it is, and without each one of its numbers; in rows of a table more than one changes."""
    if not _is_row(text):
        yield text
        for number in islice(_DIGITS.finditer(text), MAX_NUMBERS):
            yield f"{text[: number.start()]}#{text[number.end() :]}"


def _is_row(text: str) -> bool:
    return not any(map(str.isalpha, text)) and len(_DIGITS.findall(text)) > 2


def _body_size(pages: Iterable[Iterable[Line]]) -> float:
    """Of the letters of which there are most."""
    chars: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            chars[round(line.size * 2) / 2] += len(line.text)
    return chars.most_common(1)[0][0] if chars else 0.0


def _usual_gap(pages: Iterable[Sequence[Line]]) -> float:
    """Between baselines, in letter sizes."""
    gaps: Counter[float] = Counter()
    for lines in pages:
        for above, below in pairwise(lines):
            if above.size == below.size > 0 and 0 < (gap := above.end_y - below.y) < 3 * below.size:
                gaps[round(gap / below.size, 1)] += 1
    return gaps.most_common(1)[0][0] if gaps else 1.2


def _with_headings(lines: Sequence[Line], bookmarks: Sequence[Bookmark]) -> list[Line]:
    """The page with its bookmarks' lines as headings; one without a line of its own gets one."""
    out = list(lines)
    for bookmark in bookmarks:
        found = _line_of(out, bookmark)
        if found is None:
            out.insert(_place_of(out, bookmark), _line(bookmark))
            continue
        first, end = found
        words, end_y = " ".join(line.text for line in out[first:end]), out[end - 1].end_y
        out[first:end] = [msgspec.structs.replace(out[first], text=words, end_y=end_y, level=bookmark.level)]
        if first and _LABEL.fullmatch(out[first - 1].text):
            del out[first - 1]
    return out


def _line_of(lines: Sequence[Line], bookmark: Bookmark) -> tuple[int, int] | None:
    """First and end index of the line, or of two, that hold the bookmark's words; of several the nearest."""
    wanted = _letters(bookmark.title)
    found = [
        (first, end)
        for first in range(len(lines))
        for end in (first + 1, first + 2)
        if end <= len(lines) and _may_be_title(lines[first:end], wanted)
    ]
    if not wanted or not found:
        return None
    return min(found, key=lambda span: abs(lines[span[0]].y - bookmark.y) if bookmark.y is not None else span[0])


def _may_be_title(lines: Sequence[Line], wanted: str) -> bool:
    """Whether they have these letters; either may have the section's number in front."""
    if _LABEL.fullmatch(lines[0].text) or any(line.level for line in lines):
        return False
    letters = _letters("".join(line.text for line in lines))
    shorter, longer = sorted((letters, wanted), key=len)
    number = longer[: len(longer) - len(shorter)]
    is_number = len(number) <= 1 or (len(number) <= MAX_NUMBER_CHARS and any(map(str.isdecimal, number)))
    return bool(shorter) and longer.endswith(shorter) and is_number


def _place_of(lines: Sequence[Line], bookmark: Bookmark) -> int:
    if bookmark.y is None:
        return 0
    return next((index for index, line in enumerate(lines) if line.y <= bookmark.y), len(lines))


def _line(bookmark: Bookmark) -> Line:
    y = bookmark.y or 0.0
    return Line(bookmark.title, 0.0, 0.0, y, y, 0.0, level=bookmark.level)


def _mark_large(pages: Iterable[Iterable[Line]], body: float) -> None:
    sizes = {round(line.size * 2) / 2 for lines in pages for line in lines if _is_large(line, body)}
    levels = {size: min(rank, MAX_LEVELS) for rank, size in enumerate(sorted(sizes, reverse=True), 1)}
    for lines in pages:
        for line in lines:
            if _is_large(line, body):
                line.level = levels[round(line.size * 2) / 2]


def _is_large(line: Line, body: float) -> bool:
    return line.size > LARGE * body and not line.code and len(line.text) <= MAX_HEADING_CHARS and any(
        map(str.isalpha, line.text)
    )  # fmt: skip


class _Flow:
    """Joins lines to blocks, over the ends of columns and pages where a sentence goes on."""

    def __init__(self, usual_gap: float) -> None:
        self._gap = usual_gap
        self._held: list[Line] = []
        self._width = 0.0

    def blocks(self, pages: Iterable[Sequence[Line]]) -> Iterator[Block]:
        for lines in pages:
            for line in lines:
                if self._held and not self._goes_on(self._held[-1], line):
                    yield self._block()
                    self._held = []
                self._held.append(line)
        if self._held:
            yield self._block()

    def _goes_on(self, above: Line, line: Line) -> bool:
        if above.level or line.level:
            return above.level == line.level and above.size == line.size > 0 and self._is_near(above, line)
        if above.code != line.code or not 1 / OTHER_SIZE < line.size / (above.size or 1) < OTHER_SIZE:
            return False
        if line.code:
            return 0 < above.end_y - line.y <= CODE_GAP * self._gap * line.size
        if _BULLET.match(line.text) or _ORDERED.match(line.text):
            return False
        if above.end_y - line.y <= 0:  # a column or page further
            return not above.text.endswith(_ENDS) and line.text[:1].islower()
        return self._is_near(above, line)

    def _is_near(self, above: Line, line: Line) -> bool:
        return 0 < above.end_y - line.y <= PARAGRAPH_GAP * self._gap * line.size

    def _block(self) -> Block:
        first = self._held[0]
        if first.level:
            words = " ".join(line.text for line in self._held)
            return Block(BlockKind.HEADING, "#" * first.level + " " + words, first.level)
        if first.code:
            return Block(BlockKind.CODE, fenced(self._code(), None))
        text = self._prose()
        if bullet := _BULLET.match(text):
            return Block(BlockKind.LIST, "- " + text[bullet.end() :])
        return Block(BlockKind.LIST if _ORDERED.match(text) else BlockKind.PARAGRAPH, text)

    def _prose(self) -> str:
        right = max(line.right for line in self._held)
        left = min(line.x for line in self._held)
        short = left + SHORT_LINE * (right - left)
        parts = [line.text + ("\n" if line.right < short else " ") for line in self._held]
        return "".join(parts).strip()

    def _code(self) -> str:
        """With its indentation and blank lines; a typewriter's letters are 0.6 of their size wide."""
        left = min(line.x for line in self._held)
        out = ""
        for index, line in enumerate(self._held):
            if index:
                above = self._held[index - 1]
                out += "\n\n" if above.end_y - line.y > PARAGRAPH_GAP * self._gap * line.size else "\n"
            out += " " * round((line.x - left) / (0.6 * (line.size or 10))) + line.text
        return out


def _listed(blocks: Iterable[Block]) -> Iterator[Block]:
    """Items that follow each other as one list."""
    items: list[str] = []
    for block in blocks:
        if block.kind is BlockKind.LIST:
            items.append(block.text.replace("\n", "\n  "))
            continue
        if items:
            yield Block(BlockKind.LIST, "\n".join(items))
            items = []
        yield block
    if items:
        yield Block(BlockKind.LIST, "\n".join(items))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()
