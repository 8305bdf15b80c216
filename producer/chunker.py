"""A document to chunks: by tokens, on the borders of its structure.

How `structure` cuts, in this order:

1. A heading starts a section. A section stays whole when it fits.
2. Neighbouring small sections share a chunk (`_may_join`); its heading path is what their paths have in common.
3. A section over the limit is cut between blocks, into pieces of about equal size; a heading or term stays with what
   follows it, a code block or table with room in one chunk is not cut.
4. A block over the limit is cut between lines, then sentences, then words, then tokens, never inside a character.
5. Pieces of one section begin with the end of the piece before (`overlap_tokens`), where that fits.

The limit holds for what is embedded: title and heading path count too. Joined without overlap, chunks give the
document's text back, whitespace apart. The same input gives the same chunks.
"""

from collections.abc import Iterator, Sequence

import msgspec

from producer.content.document import Block, BlockKind, Document
from producer.splitting import Unit, units_of
from producer.tokens import count, count_short, cut, head, tail
from schemas.identity import embedding_input

MIN_MAX_TOKENS = 32
STRATEGIES = ("structure",)
RUNT_SHARE = 4
"""A section under a quarter of the limit is a runt: too little context to be found by."""
PREFIX_SHARE = 4
"""Title and heading path get at most a quarter of the limit each; longer ones are shortened from outside in."""
_SEPARATOR = "\n\n"
_KEPT_WITH_NEXT = (BlockKind.HEADING, BlockKind.TERM)


class ChunkText(msgspec.Struct, frozen=True):
    """One chunk. `tokens` counts `embedding_input(title, heading_path, text)`; `ordinal` is its place on the page.

    `title` is the document's, shortened when it would fill the chunk.
    """

    text: str
    title: str
    heading_path: tuple[str, ...]
    ordinal: int
    tokens: int


def chunk(
    document: Document, url: str, max_tokens: int = 512, overlap_tokens: int = 50, strategy: str = "structure"
) -> list[ChunkText]:
    """Cut a document. Raises ValueError for limits that make no sense or an unknown strategy.

    `url` takes no part in the cutting; it names the page in errors.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown chunking strategy {strategy!r} (known: {', '.join(STRATEGIES)})")
    if max_tokens < MIN_MAX_TOKENS or not 0 <= overlap_tokens <= max_tokens // 2:
        raise ValueError(
            f"max_tokens must be at least {MIN_MAX_TOKENS}, overlap_tokens between 0 and half of it: "
            f"{max_tokens}, {overlap_tokens} for {url}"
        )
    title = head(document.title, max_tokens // PREFIX_SHARE)
    return _Cutter(title, max_tokens, overlap_tokens).cut(document.blocks)


class _Section(msgspec.Struct):
    """Blocks from one heading to the next, or several such that share a chunk. `size`: tokens, separators included."""

    path: tuple[str, ...]
    level: int
    blocks: list[Block]
    counts: list[int]

    @property
    def size(self) -> int:
        return sum(self.counts)

    @property
    def is_bare(self) -> bool:
        return all(block.kind is BlockKind.HEADING for block in self.blocks)


class _Cutter:
    def __init__(self, title: str, max_tokens: int, overlap_tokens: int) -> None:
        self._title, self._max, self._overlap = title, max_tokens, overlap_tokens
        self._chunks: list[ChunkText] = []

    def cut(self, blocks: Sequence[Block]) -> list[ChunkText]:
        for section in self._joined(_sections(blocks)):
            path = self._fitting_path(section.path)
            room = self._max - count_short(_prefix(self._title, path))
            if section.size <= room:
                self._add(path, _SEPARATOR.join(block.text for block in section.blocks), _exact(section))
            else:
                self._cut_section(path, section, room)
        return self._chunks

    def _joined(self, sections: Iterator[_Section]) -> Iterator[_Section]:
        """Small neighbours in one; see `_may_join`."""
        current: _Section | None = None
        for section in sections:
            if current is not None and self._may_join(current, section):
                current = _join(current, section)
                continue
            if current is not None:
                yield current
            current = section
        if current is not None:
            yield current

    def _may_join(self, current: _Section, following: _Section) -> bool:
        """Runts join a sibling or descendant; they join a section further out only when both are runts.

        A heading without text of its own always joins its first descendant: alone it says nothing.
        """
        if current.is_bare and following.level > current.level:
            return True
        runt = self._max // RUNT_SHARE
        path = self._fitting_path(_join(current, following).path)
        if current.size + following.size > self._max - count_short(_prefix(self._title, path)):
            return False
        if following.level < current.level:
            return current.size < runt and following.size < runt
        return current.size < runt or following.size < runt

    def _fitting_path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """The path within its share: outer headings go first, then the end of the innermost."""
        limit = self._max // PREFIX_SHARE
        while path and count_short(" > ".join(path)) > limit:
            path = path[1:] if len(path) > 1 else (head(path[0], limit - 1),)
            if len(path) == 1 and count_short(path[0]) > limit:
                return ()
        return path

    def _cut_section(self, path: tuple[str, ...], section: _Section, room: int) -> None:
        """Pieces of about equal size, each within `room`."""
        pieces = -(-section.size // max(room - self._overlap, 1))
        target = -(-section.size // pieces)
        units = [
            unit
            for block, tokens in zip(section.blocks, section.counts, strict=True)
            for unit in units_of(block, tokens, room, max(room - self._overlap, room // 2))
        ]
        held: list[Unit] = []
        size, before = 0, ""
        for unit in units:
            if held and (size + unit.tokens > room or (size >= target and held[-1].may_end)):
                carried = _carried(held)
                before = self._close(path, before, held[: len(held) - len(carried)], room)
                held, size = carried, sum(one.tokens for one in carried)
                if size + unit.tokens > room:
                    before = self._close(path, before, held, room)
                    held, size = [], 0
            held.append(unit)
            size += unit.tokens
        self._close(path, before, held, room)

    def _close(self, path: tuple[str, ...], before: str, units: Sequence[Unit], room: int) -> str:
        """Add a chunk of these units, with the overlap where it fits; returns the text that the next may repeat."""
        text = _text_of(units)
        if not text:
            return before
        overlap = tail(before, self._overlap) if before else ""
        if overlap and count(overlap + _SEPARATOR + text) <= room:
            self._add(path, overlap + _SEPARATOR + text, None)
        else:
            self._add_within(path, text, room)
        return text

    def _add_within(self, path: tuple[str, ...], text: str, room: int) -> None:
        """Sums of parts can be a token or two below the whole: cut again where that crosses the limit."""
        if count(text) <= room:
            self._add(path, text, None)
            return
        for piece in cut(text, max(room * 3 // 4, 4)):
            self._add(path, piece.strip("\n").rstrip(), None)

    def _add(self, path: tuple[str, ...], text: str, text_tokens: int | None) -> None:
        if not text.strip():
            return
        prefix = _prefix(self._title, path)
        if text_tokens is None or not prefix:
            tokens = count(prefix + text)
        else:
            tokens = count_short(prefix) + text_tokens
        self._chunks.append(ChunkText(text, self._title, path, len(self._chunks), tokens))


def _prefix(title: str, heading_path: Sequence[str]) -> str:
    return embedding_input(title, heading_path, "")


def _sections(blocks: Sequence[Block]) -> Iterator[_Section]:
    headings: list[tuple[int, str]] = []
    current = _Section((), 0, [], [])
    for block in blocks:
        if block.kind is BlockKind.HEADING:
            if current.blocks:
                yield current
            headings = [outer for outer in headings if outer[0] < block.level]
            headings.append((block.level, block.heading))
            current = _Section(tuple(words for _, words in headings), block.level, [], [])
        current.blocks.append(block)
        current.counts.append(count(block.text + _SEPARATOR))
    if current.blocks:
        yield current


def _join(current: _Section, following: _Section) -> _Section:
    path = following.path if current.is_bare else _common(current.path, following.path)
    return _Section(
        path,
        min(current.level, following.level) if current.level else following.level,
        current.blocks + following.blocks,
        current.counts + following.counts,
    )


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The shared beginning of two paths; text before the first heading takes the path of what follows it."""
    if not one:
        return other
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _carried(held: Sequence[Unit]) -> list[Unit]:
    """The headings and terms at the end, which go with what follows; none if there is nothing else."""
    index = len(held)
    while index > 0 and not held[index - 1].may_end:
        index -= 1
    return list(held[index:]) if index else []


def _text_of(units: Sequence[Unit]) -> str:
    return "".join(unit.text + unit.glue for unit in units).strip("\n").rstrip()


def _exact(section: _Section) -> int:
    """Tokens of the joined blocks: the sum, less the last separator.

    Blocks end in a visible character and begin with one, so the tokenizer's pattern always parts them after the
    separator, and the sum is exact. The last separator may share a token with punctuation before it, so the last
    word is counted with and without.
    """
    last = section.blocks[-1].text
    word = last[max(last.rfind(" "), last.rfind("\n")) + 1 :]
    if len(word) < len(last) and last[len(last) - len(word) - 1] == " ":
        word = " " + word
    return section.size - count_short(word + _SEPARATOR) + count_short(word)
