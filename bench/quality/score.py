"""Token F1: words of the extracted text against words of the labelled one, each as often as it stands there."""

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

_WORD = re.compile(r"\w+")
_MARKS = re.compile(r"^[ >]*`{3,}.*$|^[ >#]*\d+\. |[`*]", re.MULTILINE)
"""What Markdown adds: a fence names its code's language, a list's items are numbered; `Type`s is one word."""


class Score(msgspec.Struct, frozen=True):
    """Shares between 0 and 1."""

    precision: float
    recall: float
    f1: float


def ordered_words(text: str) -> list[str]:
    return _WORD.findall(_MARKS.sub("", text).lower())


def words(text: str) -> Counter[str]:
    return Counter(ordered_words(text))


def score(extracted: str, labelled: str) -> Score:
    found, wanted = words(extracted), words(labelled)
    common = (found & wanted).total()
    precision = common / found.total() if found else 0.0
    recall = common / wanted.total() if wanted else 0.0
    return Score(precision, recall, 2 * precision * recall / (precision + recall) if common else 0.0)


def mean(scores: Iterable[Score]) -> Score:
    """The mean over pages, each counting the same."""
    each = list(scores)
    return Score(*(sum(getattr(one, name) for one in each) / len(each) for name in ("precision", "recall", "f1")))
