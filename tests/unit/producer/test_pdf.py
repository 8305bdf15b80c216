"""PDF: text as a reader would read it, what the file says of itself, and files that are refused."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.content.document import Document, NotExtractable
from producer.content.layout import Bookmark, Line, blocks_of_pages
from producer.content.pdf import MAX_PAGES
from producer.extract import extract
from producer.work import ContentPool, PageInput
from tests.fakes.pdf import Text, assembled, pdf, unpacking_to

URL = "https://h.example/docs/mill.pdf"
FULL = "The gate holds the water back until the miller wants it, and"


def read(body: bytes, content_type: str = "application/pdf") -> Document:
    return extract(URL, body, content_type)


def column(top: float, *lines: str, size: float = 10, x: float = 50, gap: float = 1.2) -> list[Text]:
    return [(x, top - n * gap * size, size, line) for n, line in enumerate(lines)]


def found(document: Document) -> list[tuple[str, str]]:
    return [(block.kind.value, block.text) for block in document.blocks]


def test_lines_become_paragraphs_lists_and_code() -> None:
    page = [
        *column(750, FULL, "then lets it run."),
        *column(716, FULL, "stops."),
        *column(680, "• Wheel of oak,", "well made", "• Gate", "1. First"),
        *column(600, "`def mill(gate):", "`    return gate", size=9),
        (50, 570, 9, "`mill(1)"),
    ]
    page[-2] = (50 + 4 * 5.4, page[-2][1], 9, "`return gate")
    assert found(read(pdf([page]))) == [
        ("paragraph", f"{FULL} then lets it run."),
        ("paragraph", f"{FULL} stops."),
        ("list", "- Wheel of oak, well made\n- Gate\n1. First"),
        ("code", "```\ndef mill(gate):\n    return gate\n\nmill(1)\n```"),
    ]


def test_the_outline_s_headings_and_the_order_of_pages() -> None:
    one = [
        *column(750, "Chapter 1", size=10),
        *column(730, "Gates", size=18),
        *column(690, "Of oak."),
        *column(650, "Of iron."),
    ]
    two = [*column(750, "1.1 A long title that goes", "over two lines", size=14), *column(690, "Turns.")]
    bookmarks = [(0, "Gates", 0, 748.0), (1, "Iron, not named on the page", 0, 665.0),
                 (1, "A long title that goes over two lines", 1, 760.0), (0, "End", 1, None)]  # fmt: skip
    assert found(read(pdf([one, two], outline=bookmarks))) == [
        ("heading", "# Gates"),
        ("paragraph", "Of oak."),
        ("heading", "## Iron, not named on the page"),
        ("paragraph", "Of iron."),
        ("heading", "# End"),
        ("heading", "## 1.1 A long title that goes over two lines"),
        ("paragraph", "Turns."),
    ]


def test_without_an_outline_large_letters_are_headings() -> None:
    page = [*column(750, "Mill", size=20), *column(700, "Wheel", size=14), *column(670, FULL, "turns.")]
    assert [text for kind, text in found(read(pdf([page]))) if kind == "heading"] == ["# Mill", "## Wheel"]


def test_running_heads_and_page_numbers_go_and_sentences_go_on_over_pages() -> None:
    texts = [
        ("First", "the water runs over"),
        ("the wheel.", "The next one"),
        ("is turned, and", "goes on"),
        ("to turn.", "End."),
    ]
    pages = [
        [(50, 780, 8, f"Chapter {n}"), *column(700, *lines), (300, 30, 8, f"{n + 9}")] for n, lines in enumerate(texts)
    ]
    document = read(pdf(pages))
    assert "Chapter" not in document.text
    assert not any(str(n) in document.text for n in range(9, 13))
    assert "the water runs over the wheel." in document.text.replace("\n", " ")


def test_a_table_of_contents_is_no_text() -> None:
    assert found(read(pdf([column(700, "Gates . . . . . . . . . 12", "Wheels", "")]))) == [("paragraph", "Wheels")]


def test_rows_of_a_table_are_no_running_heads() -> None:
    rows = [[f"{page * 50 + row} {row * 3} {row * page}" for row in range(50)] for page in range(6)]
    named = [[f"Gate {page * 9 + row} {row * 3 + page} left" for row in range(9)] for page in range(4)]
    for table in (rows, named):
        pages = [[Line(row, 50, 300, 700 - 12 * n, 700 - 12 * n, 10) for n, row in enumerate(page)] for page in table]
        text = "\n".join(block.text for block in blocks_of_pages(pages, {}))
        assert text.replace("\n", " ").split() == " ".join(row for page in table for row in page).split()


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        ("It may take a while....", True),
        ("and so on . . . .", True),
        ("Gates . . . . . . . . .", False),
        ("Gates .... 12", False),
        ("Foreword....xii", False),
        ("x" + " ." * 20_000 + " y", True),
    ],
)
def test_lines_of_a_table_of_contents(text: str, is_kept: bool) -> None:
    started = time.process_time()
    assert bool(blocks_of_pages([[Line(text, 50, 300, 700, 700, 10)]], {})) == is_kept
    assert time.process_time() - started < 2


def test_metadata() -> None:
    info = {"Title": "The Mill", "Subject": "How it works.", "CreationDate": "D:20260203040506+01'00'"}
    document = read(pdf([column(700, "Words")], info=info, language="en-GB"))
    said = (document.title, document.description, document.published_on, document.language, document.method)
    assert said == ("The Mill", "How it works.", "2026-02-03", "en-GB", "pdf")


@pytest.mark.parametrize(
    ("title", "first_page", "expected"),
    [
        ("Microsoft Word - mill.doc", [*column(700, "The Mill", size=24), *column(600, "Words", "more")], "The Mill"),
        ("untitled", column(700, "Words"), "mill.pdf"),
        ("", column(700, "Words"), "mill.pdf"),
    ],
)
def test_a_title_that_is_none(title: str, first_page: Sequence[Text], expected: str) -> None:
    assert read(pdf([first_page], info={"Title": title})).title == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (pdf([column(700, "Secret")], encrypted=True), "a PDF that is encrypted"),
        (pdf([[]]), "a PDF without text"),
        (pdf([]), "a PDF (that can't be read|without text)"),
        (b"%PDF-1.7 and no more", "a PDF that can't be read"),
        (pdf([column(700, "Words")])[:200], "a PDF that can't be read"),
        (assembled([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R]/Count 1>>"]), "a PDF"),
    ],
)
def test_refusals(body: bytes, reason: str) -> None:
    with pytest.raises(NotExtractable, match=reason) as refused:
        read(body)
    assert not refused.value.limited


def test_too_many_pages_are_a_limit_of_ours() -> None:
    with pytest.raises(NotExtractable, match=f"a PDF of {MAX_PAGES + 1} pages") as refused:
        read(pdf([[]] * (MAX_PAGES + 1)))
    assert refused.value.limited


def test_it_is_told_by_its_first_bytes() -> None:
    assert read(pdf([column(700, "Words")]), "application/octet-stream").text == "Words"


async def test_a_file_that_unpacks_without_end_costs_its_worker_and_no_more() -> None:
    pool = ContentPool(workers=1)
    await pool.start()
    try:
        bad = await pool.process(PageInput(URL, unpacking_to(2_500), "application/pdf"))
        good = await pool.process(PageInput(URL, pdf([column(700, "Words")]), "application/pdf"))
    finally:
        await pool.stop()
    assert (bad.failure, bad.limited) == ("reading it crashed, 2 times", True)
    assert [chunk.text for chunk in good.chunks] == ["Words"]


@given(st.binary(max_size=300), st.integers(0, 900))
def test_damaged_files_give_a_document_or_a_reason(noise: bytes, at: int) -> None:
    whole = pdf([column(700, "Words", "more")], outline=[(0, "Words", 0, None)])
    try:
        document = read(whole[:at] + noise + whole[at + len(noise) :] if at else b"%PDF-" + noise)
    except NotExtractable:
        return
    assert all(block.text.strip() for block in document.blocks)


words = st.text("ab 1.•-", min_size=1).map(lambda text: " ".join(text.split())).filter(bool)
lines = st.builds(
    Line, words, st.floats(0, 600), st.floats(0, 600), st.floats(-9, 800), st.floats(-9, 800), st.floats(0, 40),
    st.booleans(),
)  # fmt: skip
bookmarks = st.builds(Bookmark, words, st.integers(1, 6), st.none() | st.floats(0, 800))


@given(
    st.lists(st.lists(lines, max_size=8), max_size=5),
    st.dictionaries(st.integers(0, 5), st.lists(bookmarks, max_size=3)),
)
def test_any_layout_gives_whole_blocks(pages: list[list[Line]], outline: dict[int, list[Bookmark]]) -> None:
    for block in blocks_of_pages(pages, outline):
        assert block.text == block.text.strip() != ""
