"""Hits that say the same: one stands for all of them."""

import heapq
import math
from collections.abc import Iterable

import msgspec

from control.answers.search import Duplicate, Hit
from control.words import words

RUN = 3
"""Words in a run: a word that differs changes three of them."""
ALIKE = 0.9
"""Share of common runs (Jaccard) from which on two texts are near-equal: one word in 57 differs, or none in fewer."""

Run = tuple[str, ...]
Runs = frozenset[Run]


class _Kept(msgspec.Struct):
    hit: Hit
    runs: Runs
    twins: list[Duplicate]


def fold(hits: Iterable[Hit], k: int) -> list[Hit]:
    """The first `k` that differ, in their order, each with its duplicates among all the others.

    A duplicate has the same words, wherever it stands, or nearly the same on another page: near-equal entries of one
    page, as of `ljust` and `rjust`, are about different things. What a text begins with as headings does not count.
    Takes half a millisecond of processor for a usual hit: not for the event loop, where there are many.
    """
    kept: list[_Kept] = []
    holders: dict[Run, list[int]] = {}
    for hit in hits:
        runs = _runs(hit.text)
        sample = _sample(runs)
        candidates = sorted({at for run in sample for at in holders.get(run, ())})
        twin = next((kept[at] for at in candidates if _same(kept[at], hit, runs)), None)
        if twin is not None:
            twin.twins.append(
                Duplicate(chunk_id=hit.chunk_id, url=hit.url, title=hit.title, heading_path=hit.heading_path)
            )
        elif len(kept) < k:
            for run in sample:
                holders.setdefault(run, []).append(len(kept))
            kept.append(_Kept(hit, runs, []))
    return [msgspec.structs.replace(each.hit, duplicates=each.twins) for each in kept]


def _same(one: _Kept, hit: Hit, runs: Runs) -> bool:
    if one.hit.url == hit.url:
        return one.runs == runs
    fewer, more = sorted((len(one.runs), len(runs)))
    if fewer < ALIKE * more:
        return False
    common = len(one.runs & runs)
    return common >= ALIKE * (fewer + more - common)


def _sample(runs: Runs) -> list[Run]:
    """So many, the least first, that texts which are `ALIKE` share one (prefix filtering: Chaudhuri et al., 2006)."""
    return heapq.nsmallest(len(runs) - math.ceil(ALIKE * len(runs)) + 1, runs)


def _runs(text: str) -> Runs:
    keys = [word.key for word in words(_without_headings(text))] or [word.key for word in words(text)]
    return frozenset(tuple(keys[at : at + RUN]) for at in range(max(1, len(keys) - RUN + 1)))


def _without_headings(text: str) -> str:
    rest = text.lstrip()
    while rest.startswith("#"):
        rest = rest.partition("\n")[2].lstrip()
    return rest
