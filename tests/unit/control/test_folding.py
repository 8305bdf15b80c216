"""Which hits are one."""

import itertools
import random

import pytest

from control.answers.search import Hit
from control.folding import ALIKE, fold

LONG = " ".join(f"word{number}" for number in range(80))


def hit(number: int, text: str, url: str | None = None) -> Hit:
    return Hit(
        chunk_id=str(number), url=url or f"https://h.example/{number}", title=f"T{number}", heading_path=["A"],
        text=text, score=1 / (number + 1),
    )  # fmt: skip


def folded(hits: list[Hit], k: int = 10) -> list[tuple[str, list[str]]]:
    return [(each.chunk_id, [twin.url.rpartition("/")[2] for twin in each.duplicates]) for each in fold(hits, k)]


def test_equal_texts_are_one_hit_that_lists_the_other_pages() -> None:
    hits = [hit(0, "# Top\n\nClose the gate."), hit(1, "Turn the wheel."), hit(2, "## Else\nClose  the\ngate.")]
    assert folded(hits) == [("0", ["2"]), ("1", [])]
    (first, _) = fold(hits, 2)
    assert first.duplicates[0].title == "T2" and first.duplicates[0].heading_path == ["A"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LONG, LONG.replace("word40", "another"), True),
        (LONG, LONG.replace("word40", "x").replace("word60", "y").replace("word20", "z"), False),
        (LONG, LONG + " and then five more words", True),
        ("Returns True if all are.", "Returns False if all are.", False),
        ("gate", "wheel", False),
        ("", "gate", False),
        ("# Only a heading", "# Another heading", False),
    ],
)
def test_nearly_equal_texts_of_several_pages(one: str, other: str, same: bool) -> None:
    assert len(fold([hit(0, one), hit(1, other)], 5)) == (1 if same else 2)


def test_nearly_equal_entries_of_one_page_are_about_different_things() -> None:
    page = "https://h.example/api"
    assert folded([hit(0, LONG, page), hit(1, LONG.replace("word40", "x"), page)]) == [("0", []), ("1", [])]
    assert folded([hit(0, LONG, page), hit(1, LONG, page)]) == [("0", ["api"])]


def test_k_differing_hits_are_given_with_the_duplicates_of_all_candidates() -> None:
    hits = [hit(0, "a"), hit(1, "a"), hit(2, "b"), hit(3, "c"), hit(4, "b"), hit(5, "c")]
    assert folded(hits, 2) == [("0", ["1"]), ("2", ["4"])]


def test_who_is_alike_is_found_as_by_comparing_each_with_each() -> None:
    drawn = random.Random(6)
    texts = [[f"w{at}" if drawn.random() < 0.98 else "x" for at in range(100)] for _ in range(60)]
    runs = [set(itertools.pairwise(itertools.pairwise(words))) for words in texts]
    first: list[int] = []
    for number, mine in enumerate(runs):
        if not any(len(mine & runs[each]) >= ALIKE * len(mine | runs[each]) for each in first):
            first.append(number)
    assert 1 < len(first) < len(texts)
    assert [int(each.chunk_id) for each in fold([hit(n, " ".join(t)) for n, t in enumerate(texts)], 100)] == first
