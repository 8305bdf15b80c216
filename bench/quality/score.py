"""Token F1: words of the extracted text against words of the labelled one, each as often as it stands there."""

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

_WORD = re.compile(r"\w+")
_FENCE = re.compile(r"^[ >]*`{3,}.*$", re.MULTILINE)
"""A fence names its code's language, which is no word of the page."""


class Score(msgspec.Struct, frozen=True):
    """Shares between 0 and 1."""

    precision: float
    recall: float
    f1: float


def words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(_FENCE.sub("", text).lower()))


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
