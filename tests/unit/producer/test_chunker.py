"""Chunking: properties that hold for any document, and how structure decides."""

import re
from itertools import pairwise
from typing import Any, get_args

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from producer import tokens
from producer.chunker import PREFIX_SHARE, RUNT_SHARE, STRATEGIES, ChunkText, chunk
from producer.content.codeblock import fenced
from producer.content.document import Block, BlockKind, Document
from schemas import kb
from schemas.identity import embedding_input

SLACK = 8
"""Tokens of separators, and of what a heading path takes."""
WORDS = "the gate wheel mill water, runs (slowly) f(x)=1; Größe 日本語 🦀🦀 naïve 0x7f --- ``` ... !!! a_b_c".split()


def document(*blocks: Block, title: str = "Mill") -> Document:
    return Document(title, "en", list(blocks), [], "")


def heading(level: int, words: str) -> Block:
    return Block(BlockKind.HEADING, "#" * level + " " + words, level)


def prose(words: int, kind: BlockKind = BlockKind.PARAGRAPH) -> Block:
    sentence = "Water turns the wheel today. "
    return Block(kind, (sentence * (words // 5 + 1)).strip())


def own(chunk: ChunkText) -> str:
    """Its text without what it repeats or adds."""
    return chunk.text[chunk.repeated : len(chunk.text) - chunk.closing]


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


short_headings = st.builds(heading, st.integers(1, 4), st.sampled_from(["Gate", "Wheel", "Mill race", "Water"]))
codes = st.builds(
    lambda n, language, words: Block(BlockKind.CODE, fenced(f"call({n}, a)\n" * n + words, language)),
    st.integers(1, 90),
    st.sampled_from([None, "py"]),
    st.sampled_from(["", "end", "\n\nx = 1", "a long last line " * 20]),
)
endless_words = st.builds(lambda n: Block(BlockKind.CODE, fenced("0123456789abcdef" * n, None)), st.integers(1, 90))
tables = st.builds(
    lambda n, header: Block(BlockKind.TABLE, "\n".join([*header, *(f"| row {n} | value {row} |" for row in range(n))])),
    st.integers(1, 60),
    st.sampled_from([(), ("| name | value |", "| --- | --- |"), ("Caption", "", "| name | value |", "| --- | --- |")]),
)
proses = st.builds(prose, st.integers(1, 300), st.sampled_from([BlockKind.PARAGRAPH, BlockKind.QUOTE, BlockKind.LIST]))
manuals = st.lists(short_headings | proses | codes | tables, max_size=12).map(lambda found: document(*found))
strategies = st.sampled_from(STRATEGIES)
tokenizers = st.sampled_from(get_args(kb.Tokenizer))


@given(documents | manuals, st.integers(32, 200), st.integers(0, 16), strategies, tokenizers)
def test_what_holds_of_all_chunks(doc: Document, limit: int, overlap: int, strategy: Any, tokenizer: Any) -> None:
    found = chunk(doc, "u", limit, overlap, strategy, tokenizer)
    assert squeezed("".join(map(own, found))) == squeezed(doc.text)
    assert found == chunk(doc, "u", limit, overlap, strategy, tokenizer)
    assert [c.ordinal for c in found] == list(range(len(found)))
    count = tokens.tokens_for(tokenizer).count
    for c in found:
        assert c.tokens == count(embedding_input(c.title, c.heading_path, c.text)) <= limit
        assert c.text.strip()


@given(manuals | endless_words.map(document), st.integers(64, 256), st.integers(0, 30), strategies, tokenizers)
def test_all_code_is_fenced_and_nothing_else_is(
    doc: Document, limit: int, overlap: int, strategy: Any, tokenizer: Any
) -> None:
    for c in chunk(doc, "u", limit, overlap, strategy, tokenizer):
        parts = re.split(r"^```.*$", c.text, flags=re.MULTILINE)
        assert len(parts) % 2 == 1, c.text
        assert "call(" not in "".join(parts[::2])
        assert "turns" not in "".join(parts[1::2])
        assert all(code.strip() for code in parts[1::2])


@given(manuals, st.integers(64, 256), strategies, tokenizers)
def test_no_chunk_is_a_runt_whose_neighbour_had_room(doc: Document, limit: int, strategy: Any, tokenizer: Any) -> None:
    """Of the neighbours' common path is known here that it is no longer than either's."""
    count = tokens.tokens_for(tokenizer).count
    for one, other in pairwise(chunk(doc, "u", limit, 0, strategy, tokenizer)):
        if min(count(one.text), count(other.text)) < limit // RUNT_SHARE - SLACK:
            longest = max(one.heading_path, other.heading_path, key=len)
            assert count(embedding_input(doc.title, longest, f"{one.text}\n\n{other.text}")) > limit - SLACK


@given(manuals, st.integers(64, 256), st.integers(0, 30), strategies, tokenizers)
def test_code_and_rows_are_whole_where_they_fit(
    doc: Document, limit: int, overlap: int, strategy: Any, tokenizer: Any
) -> None:
    found = chunk(doc, "u", limit, overlap, strategy, tokenizer)
    count = tokens.tokens_for(tokenizer).count
    room = limit - limit // PREFIX_SHARE - SLACK
    lines = {line for c in found for line in c.text.split("\n")}
    for block in doc.blocks:
        if block.kind is BlockKind.CODE and count(block.text) <= room:
            assert any(block.text in c.text for c in found)
        if block.kind is BlockKind.TABLE:
            assert set(block.text.split("\n")) <= lines | {""}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("words", range(100, 3_000, 171))
def test_chunks_of_one_text_are_about_equal(strategy: Any, words: int) -> None:
    sizes = [c.tokens for c in chunk(document(prose(words)), "u", 256, 0, strategy)]
    assert min(sizes) > 0.6 * max(sizes)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_table_that_is_cut_repeats_its_first_rows(strategy: Any) -> None:
    rows = [f"| row {n} | value {n} |" for n in range(100)]
    table = Block(BlockKind.TABLE, "\n".join(["The gates", "", "| name | value |", "| --- | --- |", *rows]))
    first, *others = chunk(document(heading(1, "Gates"), prose(20), table), "u", 200, 20, strategy)
    assert len(others) > 3
    for c in others:
        assert c.text.startswith("The gates\n\n| name | value |\n| --- | --- |\n| row ")
        assert c.text[c.repeated :].startswith("| row ")
    assert [line for c in (first, *others) for line in c.text[c.repeated :].split("\n") if "row" in line] == rows


def test_sentences_end_where_sentences_end_and_tokens_where_the_limit_is() -> None:
    text = " ".join(f"Sentence number {n} of the miller's {'very ' * (n % 7)}winding tale is here." for n in range(100))
    doc = document(Block(BlockKind.PARAGRAPH, text))
    by_sentence = chunk(doc, "u", 100, 0, "sentences")
    assert all(c.text.startswith("Sentence") and c.text.endswith("here.") for c in by_sentence)
    by_token = chunk(doc, "u", 100, 0, "tokens")
    assert not all(c.text.endswith("here.") for c in by_token)
    assert all(c.text[-1].isalnum() or c.text[-1] in ".'" for c in by_token)
    assert min(c.tokens for c in by_token[:-1]) > 80


@pytest.mark.parametrize("strategy", ["tokens", "sentences"])
def test_sections_share_chunks_under_what_their_paths_have_in_common(strategy: Any) -> None:
    doc = document(
        prose(10), heading(1, "Mill"), prose(40), heading(2, "Gate"), prose(40), heading(2, "Wheel"), prose(40),
        heading(1, "River"), prose(600), heading(1, "Sea"), prose(20),
    )  # fmt: skip
    found = chunk(doc, "u", 150, 10, strategy)
    assert found[0].heading_path == ("Mill",)
    assert [c.heading_path for c in found][-1] == ()
    assert ("River",) in [c.heading_path for c in found]


def test_sections_without_a_common_heading_have_no_path() -> None:
    doc = document(heading(1, "A"), prose(10), heading(1, "B"), prose(10), heading(1, "C"), prose(10))
    assert [c.heading_path for c in chunk(doc, "u", 256, 0)] == [()]


def test_the_word_pieces_are_those_of_the_model() -> None:
    """Counted by the model's own tokenizer file, without its two marks of beginning and end."""
    counts = {
        "hello world": 2, "embeddings": 4, "Größe": 3, "日本語": 3, "naïve café": 2, "f(x) = 0x7f": 9, "x" * 150: 37,
        "🦀🦀": 1, "don't": 3, "asyncio.Queue": 5, "": 0,
    }  # fmt: skip
    assert {text: tokens.word_pieces().count(text) for text in counts} == counts


@given(texts, st.integers(4, 60))
def test_word_pieces_are_cut_like_all_else(text: str, limit: int) -> None:
    pieces = tokens.word_pieces().cut(text, limit)
    assert "".join(pieces) == text
    assert all(tokens.word_pieces().count(piece) <= limit for piece in pieces)
    assert text.endswith(tokens.word_pieces().end_of(text, limit))


def test_models_and_their_tokens() -> None:
    assert kb.tokenizer_of("all-MiniLM-L6-v2") == "wordpiece"
    assert {kb.tokenizer_of(model) for model in ("text-embedding-3-small", "elsewhere", None)} == {"cl100k"}


@given(st.text(alphabet="🦀é日a \n", min_size=1, max_size=300), st.integers(4, 30))
def test_cutting_never_breaks_a_character(text: str, limit: int) -> None:
    pieces = tokens.cl100k().cut(text, limit)
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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_code_that_is_cut_has_its_fences_in_each_chunk(strategy: Any) -> None:
    lines = [f"    call({n}, {n})" for n in range(200)]
    code = Block(BlockKind.CODE, fenced("````\n" + "\n".join(lines), "python"))
    found = chunk(document(heading(1, "A"), code), "u", 300, 50, strategy)
    assert len(found) > 5
    assert all(c.text.removeprefix("# A\n\n").startswith("`````python\n") and c.text.endswith("\n`````") for c in found)
    assert [c.text[: c.repeated] for c in found] == ["", *["`````python\n"] * (len(found) - 1)]
    assert [c.closing for c in found] == [*[6] * (len(found) - 1), 0]
    assert [line for c in found for line in c.text.split("\n") if "call" in line] == lines


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_goes_on_after_code_repeats_none_of_it(strategy: Any) -> None:
    code = Block(BlockKind.CODE, fenced("\n".join(f"call({n})" for n in range(20)), "py"))
    after = prose(300)
    found = chunk(document(prose(20), code, after), "u", 200, 50, strategy)
    assert not any("call" in c.text[: c.repeated] for c in found)
    assert any(c.repeated for c in found)
    assert all(c.text.count("```") % 2 == 0 for c in found)


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
        chunk(document(), "u", strategy="magic")  # type: ignore[arg-type]


SPACED = st.sampled_from(
    [" ", "  ", "\n", "\n\n", "\n  ", "\n- ", "\r", "\t", "\xa0", "\u3000", "\x85", "\x1c", *WORDS]
)


@given(st.lists(SPACED, max_size=14).map("".join))
def test_words_counted_by_themselves_add_up(text: str) -> None:
    assert tokens.cl100k().count(text) == len(tiktoken.get_encoding(tokens.ENCODING).encode_ordinary(text))


def test_words_are_counted_again_once_too_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED_WORDS", 3)
    counted = tokens.Cl100k()
    text = " ".join(f"gate{number}" for number in range(20))
    assert counted.count(text) == counted.count(text) == len(tiktoken.get_encoding(tokens.ENCODING).encode(text))


def test_token_counts_of_the_offline_encoding() -> None:
    assert tokens.cl100k().cut("hello world", 4) == ["hello world"]
