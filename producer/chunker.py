"""A document to chunks, within so many tokens of the embedding model.

`structure` goes by the document's own borders:

1. A heading starts a section. A section stays whole when it fits.
2. Neighbouring small sections share a chunk (`_may_join`); its heading path is what their paths have in common.
3. A section over the limit is cut between blocks, into pieces of about equal size; a heading or term stays with what
   follows it, a code block with room in one chunk is not cut, nor is a table.
4. A block over the limit is cut between lines, then sentences, then words, then tokens, never inside a character.

`sentences` and `tokens` take the document as one piece and cut it into chunks of about equal size, as full as they may
be: between sentences, list items and rows, or anywhere between words. Code and rows stay whole where they fit.

In all three:

* Pieces of one section (of the document, in the latter two) begin with the end of the piece before
  (`overlap_tokens`), where that fits, and back to the last code at most; one that goes on with a table begins with the
  table's first rows instead.
* Code that is cut has its fences in each chunk.
* A runt joins the neighbour that has room for it, or takes from the piece before.

The limit holds for what is embedded: title and heading path count too. Joined without what they repeat and the fences
that they add, chunks give the document's text back, whitespace apart. The same input gives the same chunks.
"""

from collections.abc import Iterator, Sequence
from typing import Final, get_args

import msgspec

from producer.content.document import Block, BlockKind, Document
from producer.splitting import SEPARATOR, Splitter, Unit
from producer.tokens import Tokens, head, tail, tokens_for
from schemas.identity import embedding_input
from schemas.kb import Strategy, Tokenizer

MIN_MAX_TOKENS: Final = 32
STRATEGIES: Final[tuple[str, ...]] = get_args(Strategy)
RUNT_SHARE: Final = 4
"""A section under a quarter of the limit is a runt: too little context to be found by."""
PREFIX_SHARE: Final = 4
"""Title and heading path get at most a quarter of the limit each; longer ones are shortened from outside in."""

Path = tuple[str, ...]


class ChunkText(msgspec.Struct, frozen=True):
    """One chunk. `tokens` counts `embedding_input(title, heading_path, text)`; `ordinal` is its place on the page.

    `title` is the document's, shortened when it would fill the chunk. `repeated`: so many characters at the text's
    beginning stand in the chunk before, or in the first rows or the fence of the table or code that it goes on with.
    `closing`: so many at its end close the code that the next chunk goes on with.
    """

    text: str
    title: str
    heading_path: Path
    ordinal: int
    tokens: int
    repeated: int = 0
    closing: int = 0


def chunk(
    document: Document,
    url: str,
    max_tokens: int = 512,
    overlap_tokens: int = 50,
    strategy: Strategy = "structure",
    tokenizer: Tokenizer = "cl100k",
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
    tokens = tokens_for(tokenizer)
    title = head(tokens, document.title, max_tokens // PREFIX_SHARE)
    return _Cutter(tokens, title, max_tokens, overlap_tokens, strategy).cut(document.blocks)


class _Section(msgspec.Struct):
    """Blocks from one heading to the next, or several such that share a chunk. `path`: None before the first heading.
    `size`: tokens, separators included."""

    path: Path | None
    level: int
    blocks: list[Block]
    counts: list[int]

    @property
    def size(self) -> int:
        return sum(self.counts)

    @property
    def is_bare(self) -> bool:
        return all(block.kind is BlockKind.HEADING for block in self.blocks)


class _Piece(msgspec.Struct):
    """What becomes a chunk. `goes_on`: it continues the section of the piece before. `room`: tokens of its text."""

    path: Path
    units: list[Unit]
    room: int
    goes_on: bool = False

    @property
    def size(self) -> int:
        return sum(unit.tokens for unit in self.units)

    @property
    def text(self) -> str:
        return _text_of(self.units)


class _Cutter:
    def __init__(self, tokens: Tokens, title: str, max_tokens: int, overlap_tokens: int, strategy: Strategy) -> None:
        self._tokens, self._strategy = tokens, strategy
        self._title, self._max, self._overlap = title, max_tokens, overlap_tokens
        self._runt = max_tokens // RUNT_SHARE
        self._chunks: list[ChunkText] = []
        self._fitting: dict[Path, Path] = {}
        self._rooms: dict[Path, int] = {}

    def cut(self, blocks: Sequence[Block]) -> list[ChunkText]:
        sections = self._sections(blocks)
        found = self._by_structure(sections) if self._strategy == "structure" else self._as_one(list(sections))
        before: _Piece | None = None
        for piece in self._without_runts(list(found)):
            self._add(piece, before if piece.goes_on else None)
            before = piece
        return self._chunks

    def _by_structure(self, sections: Iterator[_Section]) -> Iterator[_Piece]:
        for section in self._joined(sections):
            path = self._fitting_path(section.path)
            room = self._room(path)
            if section.size <= room:
                yield _Piece(path, self._units([section], room), room)
            else:
                yield from self._pieces([section], room)

    def _as_one(self, sections: list[_Section]) -> Iterator[_Piece]:
        """With room for the longest path there is, and for the beginnings of all: a piece may have any of them."""
        whole = {section.path or () for section in sections}
        paths = {path[:length] for path in whole for length in range(len(path) + 1)}
        room = min((self._room(self._fitting_path(path)) for path in paths), default=self._max)
        yield from self._pieces(sections, room)

    def _pieces(self, sections: list[_Section], room: int) -> Iterator[_Piece]:
        """Of about equal size, each within `room`."""
        for number, held in enumerate(self._packed(self._units(sections, room), room)):
            yield _Piece(self._fitting_path(_common_of(held)), held, room, goes_on=number > 0)

    def _units(self, sections: list[_Section], room: int) -> list[Unit]:
        splitter = Splitter(self._tokens, self._strategy, room)
        return [
            unit
            for section in sections
            for block, size in zip(section.blocks, section.counts, strict=True)
            for unit in splitter.units(block, size, section.path)
        ]

    def _packed(self, units: Sequence[Unit], room: int) -> Iterator[list[Unit]]:
        """Each piece is as near to an even share of what is left as its units let it be, if that makes no piece more.
        One that is to repeat the first rows of a table or a fence counts with those."""
        repeated = max(map(self._begin, units), default=0)
        net = max(room - max(self._overlap, repeated) - max(map(self._end, units), default=0), 1)
        left = sum(unit.tokens for unit in units)
        share = _even_share(left, net)
        held: list[Unit] = []
        size = 0
        for unit in units:
            far = 2 * size + unit.tokens > 2 * share and _pieces_of(left - size, net) < _pieces_of(left, net)
            added = unit.tokens + self._end(unit)
            if held and (size + added > room or (far and held[-1].may_end)):
                carried = _carried(held)
                done = held[: len(held) - len(carried)]
                yield done
                left -= sum(one.tokens for one in done)
                share = _even_share(left, net)
                held, size = carried, self._size(carried)
                if held and size + added > room:
                    yield held
                    left -= sum(one.tokens for one in held)
                    share = _even_share(left, net)
                    held, size = [], 0
            if not held:
                size = self._begin(unit)
            held.append(unit)
            size += unit.tokens
        if held:
            yield held

    def _begin(self, unit: Unit) -> int:
        """Tokens of what a chunk that begins with it repeats."""
        return self._tokens.count_short(unit.header + unit.opening)

    def _end(self, unit: Unit) -> int:
        return self._tokens.count_short(unit.closing)

    def _size(self, units: Sequence[Unit]) -> int:
        """Of a chunk that is to go on with these, what it repeats included."""
        return self._begin(units[0]) + sum(unit.tokens for unit in units) if units else 0

    def _fits(self, units: Sequence[Unit], room: int) -> bool:
        return self._size(units) + self._end(units[-1]) <= room

    def _without_runts(self, pieces: list[_Piece]) -> list[_Piece]:
        """Each runt in one with a neighbour that has room, or made larger at the cost of the piece before."""
        out: list[_Piece] = []
        for index, piece in enumerate(pieces):
            if out and (piece.size < self._runt or out[-1].size < self._runt):
                if (joined := self._united(out[-1], piece)) is not None:
                    out[-1] = joined
                    continue
                if piece.goes_on and piece.size < self._runt and not self._can_follow(piece, pieces[index + 1 :]):
                    self._take_from(out[-1], piece)
            out.append(piece)
        return out

    def _can_follow(self, piece: _Piece, later: Sequence[_Piece]) -> bool:
        return bool(later) and self._united(piece, later[0]) is not None

    def _united(self, one: _Piece, other: _Piece) -> _Piece | None:
        """Both in one chunk, if it has room."""
        units = one.units + other.units
        path = self._fitting_path(_common_of(units))
        room = self._room(path)
        return _Piece(path, units, room, one.goes_on) if self._fits(units, room) else None

    def _take_from(self, before: _Piece, piece: _Piece) -> None:
        """Units from the end of the piece before until this one is no runt, as long as that one does not become one."""
        while piece.size < self._runt and len(before.units) > 1:
            moved = before.units[-1]
            if before.size - moved.tokens < self._runt or not self._fits([moved, *piece.units], piece.room):
                return
            if not self._fits(before.units[:-1], before.room):
                return
            if not before.units[-2].may_end and len(before.units) > 2:
                return
            piece.units.insert(0, before.units.pop())

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
        path = self._fitting_path(_joined_path(current, following))
        if current.size + following.size > self._room(path):
            return False
        if following.level < current.level:
            return current.size < self._runt and following.size < self._runt
        return current.size < self._runt or following.size < self._runt

    def _fitting_path(self, path: Path | None) -> Path:
        """The path within its share: outer headings go first, then the end of the innermost."""
        whole = path or ()
        if whole not in self._fitting:
            self._fitting[whole] = self._shortened(whole)
        return self._fitting[whole]

    def _shortened(self, path: Path) -> Path:
        limit = self._max // PREFIX_SHARE
        while path and self._tokens.count_short(" > ".join(path)) > limit:
            path = path[1:] if len(path) > 1 else (head(self._tokens, path[0], limit - 1),)
            if len(path) == 1 and self._tokens.count_short(path[0]) > limit:
                return ()
        return path

    def _room(self, path: Path) -> int:
        if path not in self._rooms:
            self._rooms[path] = self._max - self._tokens.count_short(embedding_input(self._title, path, ""))
        return self._rooms[path]

    def _add(self, piece: _Piece, before: _Piece | None) -> None:
        """A chunk, with what it repeats where that fits."""
        text = piece.text
        if not text:
            return
        opening, closing = piece.units[0].opening, piece.units[-1].closing
        repeated, text = self._repeated(piece, before), text + closing
        if repeated and (tokens := self._count(piece.path, repeated + text)) <= self._max:
            self._close(piece.path, repeated + text, tokens, len(repeated), len(closing))
        elif (tokens := self._exact(piece) or self._count(piece.path, opening + text)) <= self._max:
            self._close(piece.path, opening + text, tokens, len(opening), len(closing))
        else:
            self._add_halves(piece)

    def _add_halves(self, piece: _Piece) -> None:
        """Sums of parts can be a token or two below the whole: cut again where that crosses the limit."""
        middle = len(piece.units) // 2
        if middle:
            self._add(_Piece(piece.path, piece.units[:middle], piece.room), None)
            self._add(_Piece(piece.path, piece.units[middle:], piece.room), None)
            return
        opening, closing = piece.units[0].opening, piece.units[0].closing
        for part in self._tokens.cut(piece.text, max(piece.room * 3 // 4, 4)):
            if part := part.strip("\n").rstrip():
                text = opening + part + closing
                self._close(piece.path, text, self._count(piece.path, text), len(opening), len(closing))

    def _close(self, path: Path, text: str, tokens: int, repeated: int = 0, closing: int = 0) -> None:
        self._chunks.append(ChunkText(text, self._title, path, len(self._chunks), tokens, repeated, closing))

    def _exact(self, piece: _Piece) -> int | None:
        """Tokens of whole blocks with title and path, without counting them again: the sum, less the last separator.

        Blocks end in a visible character and begin with one, so the tokenizer's pattern always parts them after the
        separator, and the sum is exact. The last separator may share a token with punctuation before it, so the last
        word is counted with and without.
        """
        if not all(unit.whole for unit in piece.units):
            return None
        last = piece.units[-1].text
        word = last[max(last.rfind(" "), last.rfind("\n")) + 1 :]
        if len(word) < len(last) and last[len(last) - len(word) - 1] == " ":
            word = " " + word
        count = self._tokens.count_short
        return self._max - self._room(piece.path) + piece.size - count(word + SEPARATOR) + count(word)

    def _repeated(self, piece: _Piece, before: _Piece | None) -> str:
        first = piece.units[0]
        if before is None or first.header or first.opening:
            return first.header
        overlap = tail(self._tokens, _after_code(before.units), self._overlap)
        return overlap + SEPARATOR if overlap else ""

    def _count(self, path: Path, text: str) -> int:
        return self._tokens.count(embedding_input(self._title, path, text))

    def _sections(self, blocks: Sequence[Block]) -> Iterator[_Section]:
        headings: list[tuple[int, str]] = []
        current = _Section(None, 0, [], [])
        for block in blocks:
            if block.kind is BlockKind.HEADING:
                if current.blocks:
                    yield current
                headings = [outer for outer in headings if outer[0] < block.level]
                headings.append((block.level, block.heading))
                current = _Section(tuple(words for _, words in headings), block.level, [], [])
            current.blocks.append(block)
            current.counts.append(self._tokens.count(block.text + SEPARATOR))
        if current.blocks:
            yield current


def _text_of(units: Sequence[Unit]) -> str:
    return "".join(unit.text + unit.glue for unit in units).strip("\n").rstrip()


def _after_code(units: Sequence[Unit]) -> str:
    """Part of a code block would be taken for prose, and what follows its one fence for code."""
    last_code = max((index for index, unit in enumerate(units) if unit.code), default=-1)
    return _text_of(units[last_code + 1 :])


def _pieces_of(tokens: int, room: int) -> int:
    return -(-tokens // room)


def _even_share(tokens: int, room: int) -> int:
    return -(-tokens // max(_pieces_of(tokens, room), 1))


def _joined_path(current: _Section, following: _Section) -> Path | None:
    if current.path is None or current.is_bare:
        return following.path
    return _common(current.path, following.path or ())


def _join(current: _Section, following: _Section) -> _Section:
    return _Section(
        _joined_path(current, following),
        min(current.level, following.level) if current.level else following.level,
        current.blocks + following.blocks,
        current.counts + following.counts,
    )


def _common(one: Path, other: Path) -> Path:
    """The shared beginning of two paths."""
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _common_of(units: Sequence[Unit]) -> Path:
    """Text before the first heading takes the path of what follows it."""
    path: Path | None = None
    for unit in units:
        if path is None:
            path = unit.path
        elif unit.path is not None and unit.path is not path:
            path = _common(path, unit.path)
    return path or ()


def _carried(held: Sequence[Unit]) -> list[Unit]:
    """The headings and terms at the end, which go with what follows; none if there is nothing else."""
    index = len(held)
    while index > 0 and not held[index - 1].may_end:
        index -= 1
    return list(held[index:]) if index else []
