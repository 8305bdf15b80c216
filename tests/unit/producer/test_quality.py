"""The labelled set of `bench/quality`: whole, and read well."""

from collections import Counter

import pytest

from bench.quality.contestants import ours
from bench.quality.labels import Page, labelled_pages, main_text
from bench.quality.score import score, words

PAGES = labelled_pages()
FLOOR = 0.97
"""Below it a page has lost a part or gained a frame; how good exactly is for `python -m bench quality` to say."""


def test_the_set_is_60_small_pages_of_12_generators() -> None:
    assert Counter(Counter(page.generator for page in PAGES).values()) == {5: 12}
    assert len({page.name for page in PAGES}) == 60
    assert max(len(page.body) for page in PAGES) < 150_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_labelled_page_is_read_well(page: Page) -> None:
    body = page.body
    assert score(ours(body), main_text(page, body)).f1 > FLOOR


def test_words_count_as_often_as_they_stand_and_marks_do_not() -> None:
    assert words("> **Note** a\n\n```python\nA = 1\n```\n") == {"note": 1, "a": 2, "1": 1}
    assert score("a b", "a a c") == score("b a", "c a a")
    assert (score("a b", "a a c").precision, score("a b", "a a c").recall) == (1 / 2, 1 / 3)
    assert score("", "a").f1 == 0
