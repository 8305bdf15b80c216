"""PDF: text in page order, headings from the outline, metadata. PDFium reads it, as it does in Chromium."""

import contextlib
import ctypes
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from producer.content.document import Block, NotExtractable
from producer.content.layout import Bookmark, Line, blocks_of_pages, largest
from producer.content.metadata import Metadata, iso_date, language_tag, words
from producer.content.render import first_heading

MAX_PAGES: Final = 1_000
"""At 5 to 10 ms a page, so that the time for one document is not used up."""
MAX_CHARS: Final = 5_000_000
MAX_BOOKMARKS: Final = 10_000
MAX_BOOKMARKS_OF_PAGE: Final = 200
MAX_OUTLINE_DEPTH: Final = 6

_PASSWORD, _SECURITY = 4, 5
"""FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY (fpdfview.h)."""
_FIXED_PITCH = 1
"""A font descriptor's flag (ISO 32000, 9.8.2); TeX doesn't set it."""
_TYPEWRITER = re.compile(rb"mono|courier|typewriter|cmtt|cmsltt|consol|menlo|code|sftt", re.IGNORECASE)
_NO_TITLE = re.compile(r"\W*|untitled.*|microsoft word - .*|.*\.(?:docx?|tex|dvi|pdf|indd|odt|md|rst)", re.IGNORECASE)
_JOINED = re.compile("[\ufffe\x02](?:\r\n)?")
"""Where PDFium took a hyphen at a line's end for one that parts a word."""
_CONTROL = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")


def read_pdf(body: bytes) -> tuple[Metadata, list[Block]]:
    """What the document says of itself, and its text. Raises NotExtractable for an encrypted one, one without text,
    one that is too long, and what is no PDF. Not for threads: PDFium has one state in a process."""
    import pypdfium2  # loads a library of 8 MB

    try:
        document = pypdfium2.PdfDocument(body)
    except pypdfium2.PdfiumError as error:
        raise NotExtractable(_refusal(error, body)) from None
    try:
        return _read(document)
    except pypdfium2.PdfiumError:
        raise NotExtractable("a PDF that can't be read") from None
    finally:
        document.close()


def _refusal(error: Any, body: bytes) -> str:
    """PDFium's last error can be one of an earlier document; the word stands in every trailer of an encrypted one."""
    encrypted = getattr(error, "err_code", None) in (_PASSWORD, _SECURITY) and b"/Encrypt" in body
    return "a PDF that is encrypted" if encrypted else "a PDF that can't be read"


def _read(document: Any) -> tuple[Metadata, list[Block]]:
    if len(document) > MAX_PAGES:
        raise NotExtractable(f"a PDF of {len(document)} pages, one may have {MAX_PAGES}", limited=True)
    pages: list[list[Line]] = []
    room = MAX_CHARS
    for index in range(len(document)):
        pages.append(_lines(document, index))
        room -= sum(len(line.text) for line in pages[-1])
        if room < 0:
            raise NotExtractable(f"a PDF of more than {MAX_CHARS} characters", limited=True)
    blocks = blocks_of_pages(pages, _outline(document))
    if not blocks:
        raise NotExtractable("a PDF without text")
    return _metadata(document, pages, blocks), blocks


def _metadata(document: Any, pages: list[list[Line]], blocks: list[Block]) -> Metadata:
    said = document.get_metadata_dict()
    title = words(said.get("Title")) or ""
    if _NO_TITLE.fullmatch(title):
        title = largest(pages[0]) or first_heading(blocks) or ""
    return Metadata(
        title=title,
        language=_language(document),
        description=words(said.get("Subject")),
        published_on=iso_date(said.get("CreationDate", "").removeprefix("D:")[:8]),
    )


def _language(document: Any) -> str | None:
    import pypdfium2.raw as pdfium

    buffer = (ctypes.c_ushort * 64)()
    size = pdfium.FPDFCatalog_GetLanguage(document, buffer, ctypes.sizeof(buffer))
    if not 2 < size <= ctypes.sizeof(buffer):
        return None
    return language_tag(bytes(buffer)[: size - 2].decode("utf-16-le", "replace"))


def _outline(document: Any) -> dict[int, list[Bookmark]]:
    """By page. What points nowhere is left out."""
    found: defaultdict[int, list[Bookmark]] = defaultdict(list)
    for number, bookmark in enumerate(document.get_toc(max_depth=MAX_OUTLINE_DEPTH)):
        if number >= MAX_BOOKMARKS:
            break
        title, target = _clean(bookmark.get_title()), bookmark.get_dest()
        page = target.get_index() if target is not None else None
        if title and page is not None and len(found[page]) < MAX_BOOKMARKS_OF_PAGE:
            found[page].append(Bookmark(title, bookmark.level + 1, _height(target)))
    return found


def _height(target: Any) -> float | None:
    """The y of a destination that has one (ISO 32000, 12.3.2.2: XYZ has x first, FitH y alone)."""
    import pypdfium2.raw as pdfium

    mode, position = target.get_view()
    if mode == pdfium.PDFDEST_VIEW_XYZ and len(position) > 1:
        return float(position[1])
    if mode in (pdfium.PDFDEST_VIEW_FITH, pdfium.PDFDEST_VIEW_FITBH) and position:
        return float(position[0])
    return None


def _lines(document: Any, index: int) -> list[Line]:
    """A page that is damaged has none."""
    import pypdfium2

    try:
        with contextlib.closing(document[index]) as page, contextlib.closing(page.get_textpage()) as text:
            return list(_lines_of(text))
    except pypdfium2.PdfiumError:
        return []


def _lines_of(text: Any) -> Iterator[Line]:
    at = 0
    for raw in text.get_text_range().split("\r\n"):
        length = len(raw) if raw.isascii() else len(raw.encode("utf-16-le")) // 2
        if words_of_line := _clean(raw):
            yield _line(text, words_of_line, at + len(raw) - len(raw.lstrip()), at + len(raw.rstrip()) - 1)
        at += length + 2


def _line(text: Any, cleaned: str, first: int, last: int) -> Line:
    """`first` and `last`: indices of characters in the page's text."""
    import pypdfium2.raw as pdfium

    first, last = (pdfium.FPDFText_GetCharIndexFromTextIndex(text, index) for index in (first, last))
    x, y, right, end_y = (ctypes.c_double() for _ in range(4))
    pdfium.FPDFText_GetCharOrigin(text, first, x, y)
    pdfium.FPDFText_GetCharOrigin(text, last, right, end_y)
    size = pdfium.FPDFText_GetFontSize(text, first)
    code = _is_typewriter(text, first) and _is_typewriter(text, last)
    return Line(cleaned, x.value, right.value, y.value, end_y.value, size, code)


def _is_typewriter(text: Any, index: int) -> bool:
    import pypdfium2.raw as pdfium

    name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(text, index, name, len(name), flags)
    return bool(flags.value & _FIXED_PITCH) or _TYPEWRITER.search(name.value) is not None


def _clean(text: str) -> str:
    """One line, without the signs of typesetting: parted words, ligatures."""
    text = _JOINED.sub("", text)
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", c) if "\ufb00" <= c <= "\ufb06" else c for c in text)
    return " ".join(_CONTROL.sub(" ", text).split())
