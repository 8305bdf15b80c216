"""Words of a text, for people and not for an index: which of them are alike, and where they stand."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import msgspec

_WORD = re.compile(
    r"[^\s\x00-/:-@\[-`{-\u00bf\u00d7\u00f7\u060c\u061b\u061f\u06d4\u0964\u0965\u2000-\u206f\u3000-\u303f\ufe30-\ufe4f"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]+"
)
"""All but blanks and punctuation: so marks stay with their letters, in any script. `read_text` is two words."""
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Scripts that put no blanks between words: each two neighbouring characters are taken for one."""
_ENDINGS = (
    ("ies", "y", 3), ("s", "", 3), ("d", "", 3),
    *((ending, "", 4) for ending in ("e", "es", "ed", "er", "ing", "ion", "ly")),
)  # fmt: skip
"""Ending, what stands for it, and how much of the word must be left."""

STOP_WORDS = frozenset(
    "a an and any are as at be been but by can could did do does for from had has have how i if in into is it its me "
    "my no not of on one or should so some that the their them then there these they this those to was we were what "
    "when where which while who why will with would you your".split()
)


class Word(msgspec.Struct, frozen=True, gc=False):
    """Its place in the text, in code points, and how it is compared: case-folded, in one normal form."""

    start: int
    end: int
    key: str


def words(text: str) -> Iterator[Word]:
    for found in _WORD.finditer(text):
        start, end = found.span()
        for run in _UNSPACED.finditer(text, start, end):
            if start < run.start():
                yield _word(text, start, run.start())
            for at in range(run.start(), max(run.end() - 1, run.start() + 1)):
                yield _word(text, at, min(at + 2, run.end()))
            start = run.end()
        if start < end:
            yield _word(text, start, end)


def telling(query: str) -> list[str]:
    """The distinct words of a question that say what it is about; all of them where none does."""
    keys = list(dict.fromkeys(word.key for word in words(query)))
    return [key for key in keys if key not in STOP_WORDS] or keys


@lru_cache(maxsize=20_000)
def stems(key: str) -> frozenset[str]:
    """Two words are alike that share one: `closing` and `closes`, `stopped` and `stop`. By English endings."""
    found = {key}
    for ending, instead, left in _ENDINGS:
        if key.endswith(ending) and len(key) - len(ending) >= left:
            stem = key.removesuffix(ending) + instead
            found |= {stem, stem[:-1]} if len(stem) > left and stem[-1:] == stem[-2:-1] else {stem}
    return frozenset(found)


def _word(text: str, start: int, end: int) -> Word:
    piece = text[start:end]
    return Word(start, end, piece.lower() if piece.isascii() else unicodedata.normalize("NFKC", piece).casefold())
