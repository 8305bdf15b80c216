"""Chunking: properties that hold for any document, and how structure decides."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer import tokens
from producer.chunker import chunk
from producer.content.document import Block, BlockKind, Document
from schemas.identity import embedding_input

WORDS = "the gate wheel mill water, runs (slowly) f(x)=1; Größe 日本語 🦀🦀 naïve 0x7f --- ``` ... !!! a_b_c".split()


def document(*blocks: Block, title: str = "Mill") -> Document:
    return Document(title, "en", list(blocks), [], "")


def heading(level: int, words: str) -> Block:
    return Block(BlockKind.HEADING, "#" * level + " " + words, level)


def prose(words: int, kind: BlockKind = BlockKind.PARAGRAPH) -> Block:
    sentence = "Water turns the wheel today. "
    return Block(kind, (sentence * (words // 5 + 1)).strip())


def squeezed(text: str) -> str:
    return "".join(text.split())


texts = st.lists(st.sampled_from([*WORDS, "\n", "\n\n", "  "]) | st.text(max_size=12), min_size=1, max_size=120).map(
    lambda parts: " ".join(parts).strip()
)
blocks = st.builds(
    Block,
    st.sampled_from([k for k in BlockKind if k is not BlockKind.HEADING]),
    texts.filter(bool),
)
headings = st.builds(heading, st.integers(1, 6), texts.map(lambda t: " ".join(t.split())).filter(bool))
documents = st.builds(
    lambda title, found: document(*found, title=title), st.text(max_size=80), st.lists(headings | blocks, max_size=14)
)


@given(documents, st.integers(32, 200))
def test_joined_chunks_give_the_text_back(doc: Document, limit: int) -> None:
    found = chunk(doc, "u", limit, 0)
    assert squeezed("".join(c.text for c in found)) == squeezed(doc.text)


@given(documents, st.integers(32, 200), st.integers(0, 16))
def test_no_chunk_is_over_the_limit_and_the_count_is_exact(doc: Document, limit: int, overlap: int) -> None:
    for one in chunk(doc, "u", limit, overlap):
        assert one.tokens == tokens.count(embedding_input(one.title, one.heading_path, one.text)) <= limit
        assert one.text.strip()


@given(documents, st.integers(32, 200), st.integers(0, 16))
def test_the_same_input_gives_the_same_chunks(doc: Document, limit: int, overlap: int) -> None:
    first = chunk(doc, "u", limit, overlap)
    assert first == chunk(doc, "u", limit, overlap)
    assert [one.ordinal for one in first] == list(range(len(first)))


@given(st.text(alphabet="🦀é日a \n", min_size=1, max_size=300), st.integers(4, 30))
def test_cutting_never_breaks_a_character(text: str, limit: int) -> None:
    pieces = tokens.cut(text, limit)
    assert "".join(pieces) == text
    assert all(pieces)


def test_a_heading_starts_a_chunk_and_names_it() -> None:
    doc = document(heading(1, "Mill"), prose(150), heading(2, "Gate"), prose(150), heading(2, "Wheel"), prose(150))
    found = chunk(doc, "u", 256, 0)
    assert [c.heading_path for c in found] == [("Mill",), ("Mill", "Gate"), ("Mill", "Wheel")]
    assert [c.text.splitlines()[0] for c in found] == ["# Mill", "## Gate", "## Wheel"]


def test_small_siblings_share_a_chunk_under_their_parent() -> None:
    sections = [block for n in range(6) for block in (heading(3, f"f{n}"), prose(10))]
    found = chunk(document(heading(1, "Mill"), heading(2, "API"), *sections), "u", 256, 0)
    assert [c.heading_path for c in found] == [("Mill", "API")]


def test_code_and_terms_keep_together() -> None:
    code = Block(BlockKind.CODE, "```\n" + "x = 1\n" * 40 + "```")
    doc = document(heading(1, "A"), prose(150), Block(BlockKind.TERM, "term"), code, prose(150))
    found = chunk(doc, "u", 256, 0)
    assert sum("x = 1" in c.text for c in found) == 1
    assert next(c for c in found if "term" in c.text).text.count("x = 1") == 40


def test_long_code_is_cut_between_lines_and_rows_stay_whole() -> None:
    code = Block(BlockKind.CODE, "```\n" + "\n".join(f"    call({n}, {n})" for n in range(200)) + "\n```")
    rows = Block(BlockKind.TABLE, "\n".join(f"| row {n} | value {n} |" for n in range(200)))
    found = chunk(document(code, rows), "u", 128, 0)
    lines = [line for c in found for line in c.text.splitlines() if line.strip()]
    assert [line for line in lines if line.startswith("|")] == rows.text.splitlines()
    assert [line for line in lines if "call" in line] == code.text.splitlines()[1:-1]


def test_pieces_of_one_section_overlap_by_whole_sentences() -> None:
    text = " ".join(f"Sentence number {n} is about water." for n in range(100))
    found = chunk(document(Block(BlockKind.PARAGRAPH, text)), "u", 128, 24)
    for before, after in pairwise(found):
        repeated = after.text.split("\n\n")[0]
        assert repeated.startswith("Sentence number")
        assert before.text.endswith(repeated)


def test_no_overlap_across_sections() -> None:
    doc = document(heading(1, "A"), prose(200), heading(1, "B"), prose(200))
    assert chunk(doc, "u", 512, 50)[1].text.startswith("# B")


def test_a_section_is_cut_into_even_pieces() -> None:
    sizes = [c.tokens for c in chunk(document(*[prose(40) for _ in range(14)]), "u", 512, 0)]
    assert len(sizes) == 2
    assert min(sizes) > 200


def test_an_endless_title_or_heading_does_not_fill_the_chunk() -> None:
    doc = document(heading(1, "日本 " * 200), prose(50), title="🦀" * 300)
    found = chunk(doc, "u", 64, 8)
    assert all(c.tokens <= 64 for c in found)
    assert squeezed("".join(c.text for c in chunk(doc, "u", 64, 0))) == squeezed(doc.text)


def test_the_embedding_input_names_each_heading_once() -> None:
    assert embedding_input("Mill", ("Mill", "Gate"), "x") == "Mill > Gate\n\nx"
    assert embedding_input("", (), "x") == "x"


@pytest.mark.parametrize("limits", [(31, 0), (64, 33), (64, -1)])
def test_limits_that_make_no_sense(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        chunk(document(), "u", *limits)


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(ValueError, match="'magic'"):
        chunk(document(), "u", strategy="magic")


def test_token_counts_of_the_offline_encoding() -> None:
    assert tokens.encoding().encode_ordinary("hello world") == [15339, 1917]
