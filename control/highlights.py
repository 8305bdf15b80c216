"""Passages of a text that hold a question's words."""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import msgspec

from control.answers.search import Part
from control.words import Word, stems, telling, words

MAX_PASSAGES = 10
PASSAGE_CHARS = 240
"""Two or three lines: enough to judge a hit by."""
LEAD_CHARS = 60
"""Shown before a word that stands far inside its sentence."""
_SENTENCE_ENDS = frozenset(".!?:;।")
_UNSPACED_ENDS = frozenset("\n。\uff01\uff1f")
"""What follows them is a new sentence, with or without a blank."""
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


class _Match(msgspec.Struct, frozen=True):
    start: int
    end: int
    term: int


class _Window(msgspec.Struct, frozen=True):
    start: int
    end: int
    terms: int
    matches: int


def highlights(text: str, query: str, most: int) -> list[list[Part]]:
    """At most `most` passages, those first chosen that hold the most of the query's words, in the order of the text.

    Each is a piece of `text` as it stands, in parts: joined they give it, and `match` marks the words. Empty where
    nothing of the query stands in the text, as with a hit that was found by its meaning alone.
    """
    matches = list(_matches(text, telling(query)))
    starts = [match.start for match in matches]
    windows = sorted((_window(text, matches, starts, at) for at in range(len(matches))), key=_worth)
    chosen: list[_Window] = []
    for window in windows:
        if len(chosen) == most:
            break
        if all(window.end <= other.start or other.end <= window.start for other in chosen):
            chosen.append(window)
    chosen.sort(key=lambda window: window.start)
    return [_parts(text, window, matches[bisect_left(starts, window.start) :]) for window in chosen]


def _worth(window: _Window) -> tuple[int, int, int]:
    return -window.terms, -window.matches, window.start


def _matches(text: str, terms: list[str]) -> Iterator[_Match]:
    by_stem = {stem: number for number, term in reversed(list(enumerate(terms))) for stem in stems(term)}
    for word in words(text):
        if (term := _term(word, by_stem)) is not None:
            yield _Match(word.start, word.end, term)


def _term(word: Word, by_stem: dict[str, int]) -> int | None:
    return next((by_stem[stem] for stem in (word.key, *stems(word.key)) if stem in by_stem), None)


def _window(text: str, matches: list[_Match], starts: list[int], at: int) -> _Window:
    """From the sentence's beginning, or a little before the match where that is far."""
    match = matches[at]
    start = _sentence_start(text, match.start)
    end = _cut_before(text, start + PASSAGE_CHARS, at_least=match.end)
    first, last = bisect_left(starts, start), bisect_right(starts, end)
    while last > at + 1 and matches[last - 1].end > end:
        last -= 1
    held = matches[first:last]
    return _Window(start, end, len({each.term for each in held}), len(held))


def _sentence_start(text: str, before: int) -> int:
    for at in range(before, max(before - PASSAGE_CHARS // 2, 0), -1):
        if text[at - 1] in _UNSPACED_ENDS or (text[at - 1].isspace() and text[at - 2 : at - 1] in _SENTENCE_ENDS):
            return at
    if before <= PASSAGE_CHARS // 2:
        return _skip_blanks(text, 0, before)
    return _cut_after(text, before - LEAD_CHARS, at_most=before)


def _skip_blanks(text: str, at: int, at_most: int) -> int:
    while at < at_most and text[at].isspace():
        at += 1
    return at


def _cut_after(text: str, at: int, *, at_most: int) -> int:
    """The next place where a word begins; without one, where a character does."""
    for place in range(at, at_most):
        if text[place - 1].isspace() and not text[place].isspace():
            return place
    while at < at_most and _is_inside(text, at):
        at += 1
    return at


def _cut_before(text: str, at: int, *, at_least: int) -> int:
    """The last place before `at` where a sentence ends, if that is near; else a word; else a character."""
    if at >= len(text):
        return max(len(text.rstrip()), at_least)
    ends = [end for end in range(at, at_least, -1) if text[end].isspace() and not text[end - 1].isspace()]
    sentences = (end for end in ends if end > at - PASSAGE_CHARS // 3 and text[end - 1] in _SENTENCE_ENDS)
    if ends:
        return next(sentences, ends[0])
    while at > at_least and _is_inside(text, at):
        at -= 1
    return max(at, at_least)


def _is_inside(text: str, at: int) -> bool:
    """What is read as one character would be cut at this place."""
    return unicodedata.category(text[at]).startswith("M") or text[at] in _JOINERS or text[at - 1] == "\u200d"


def _parts(text: str, window: _Window, matches: list[_Match]) -> list[Part]:
    """`matches` from the window on. Those that overlap or touch are one part."""
    parts: list[Part] = []
    at = window.start
    for start, end in _spans(match for match in matches if match.end <= window.end):
        if at < start:
            parts.append(Part(text=text[at:start]))
        parts.append(Part(text=text[start:end], match=True))
        at = end
    if at < window.end:
        parts.append(Part(text=text[at : window.end]))
    return parts


def _spans(matches: Iterator[_Match]) -> Iterator[tuple[int, int]]:
    open_: tuple[int, int] | None = None
    for match in matches:
        if open_ is not None and match.start <= open_[1]:
            open_ = (open_[0], max(open_[1], match.end))
            continue
        if open_ is not None:
            yield open_
        open_ = (match.start, match.end)
    if open_ is not None:
        yield open_
