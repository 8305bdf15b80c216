"""Passages that hold a question's words: which, where they are cut, and what is marked in them."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.answers.search import Part
from control.highlights import PASSAGE_CHARS, highlights


def marked(text: str, query: str, most: int = 1) -> list[str]:
    """Passages with what is marked between brackets."""
    return ["".join(f"[{p.text}]" if p.match else p.text for p in found) for found in highlights(text, query, most)]


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Closing a file: it closes.", "how do I close files?", "[Closing] a [file]: it [closes]."),
        ("A trie is tried.", "try", "A trie is tried."),
        ("Directories, stopped.", "directory stop", "[Directories], [stopped]."),
        ("An important listener.", "import list", None),
        ("Path.read_text() reads.", "read text", "Path.[read]_[text]() [reads]."),
        ("STRASSE und Straße", "strasse", "[STRASSE] und [Straße]"),
        ("Cafe\u0301 au lait", "café", "[Cafe\u0301] au lait"),
        ("हिन्दी में लिखें।", "हिन्दी", "[हिन्दी] में लिखें।"),
        ("東京都に住む。京都は寒い。", "京都", "東[京都]に住む。[京都]は寒い。"),
        ("コンテキスト管理", "コンテ", "[コンテ]キスト管理"),
        ("to be or not", "to be", "[to] [be] or not"),
        ("with the file", "with the file", "with the [file]"),
        ("<b>file</b> & co", "file", "<b>[file]</b> & co"),
        ("nothing of it", "file", None),
        ("", "file", None),
        ("file", "?!", None),
    ],
)
def test_words_are_marked(text: str, query: str, expected: str | None) -> None:
    if expected == text:
        expected = None
    assert marked(text, query) == ([] if expected is None else [expected])


def test_passages_begin_with_their_sentence_and_end_with_a_word() -> None:
    text = "Other things stand here. " * 20 + "The sluice gate holds the water. " + "More of that follows. " * 20
    (passage,) = marked(text, "sluice gate")
    assert passage.startswith("The [sluice] [gate] holds the water.")
    assert passage.endswith("follows.") and len(passage) <= PASSAGE_CHARS + 4


def test_far_inside_a_long_sentence_a_passage_begins_shortly_before_the_word() -> None:
    (passage,) = marked("word " * 200 + "sluice " + "word " * 200, "sluice")
    assert passage.startswith("word ") and passage.index("[sluice]") <= 60 and passage.endswith("word")


def test_the_passages_with_most_of_the_words_are_chosen_and_stand_in_their_order() -> None:
    filler = "Nothing to see in this one. " * 20
    text = f"One gate. {filler}A gate and a wheel. {filler}Gate, wheel and water. {filler}Some gate."
    found = marked(text, "gate wheel water", 2)
    assert [passage.partition(".")[0] for passage in found] == ["A [gate] and a [wheel]", "[Gate], [wheel] and [water]"]
    assert len(marked(text, "gate", 10)) == 4
    assert highlights(text, "gate", 0) == []


def test_no_character_is_cut() -> None:
    text = "e\u0301" * 400 + "x gate"
    for passage in highlights("gate " + text, "gate", 10):
        assert not unicodedata.combining(passage[0].text[0])
    text = "gate" + "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}" * 200
    (passage,) = highlights("gate " + text, "gate", 1)
    assert not passage[-1].text.endswith("\N{ZERO WIDTH JOINER}")


PIECES = ["a", "gate ", "wheel", "s", " ", "\n", ".", "# ", "京", "都", "e\u0301", "😀", "_"]
WORDS = st.lists(st.sampled_from(PIECES), max_size=15).map("".join)


@given(WORDS, WORDS, st.integers(0, 4))
def test_passages_are_pieces_of_the_text_apart_from_each_other(text: str, query: str, most: int) -> None:
    found = highlights(text * 20, query, most)
    assert len(found) <= most
    at = 0
    for passage in found:
        assert any(part.match for part in passage)
        assert all(part.text for part in passage)
        assert not any(one.match and two.match for one, two in pairwise(passage))
        joined = "".join(part.text for part in passage)
        at = (text * 20).index(joined, at) + len(joined)
        assert len(joined) <= PASSAGE_CHARS + 2
    assert not found or isinstance(found[0][0], Part)
