"""Writes PDF files: enough of ISO 32000 for text in places, an outline, metadata, and some of what goes wrong."""

import zlib
from collections.abc import Sequence

Text = tuple[float, float, float, str]
"""x, y, size, words; words in Courier begin with a backquote."""
Bookmark = tuple[int, str, int, float | None]
"""Level from 0, title, page, y."""


def pdf(
    pages: Sequence[Sequence[Text]],
    *,
    outline: Sequence[Bookmark] = (),
    info: dict[str, str] | None = None,
    language: str | None = None,
    encrypted: bool = False,
) -> bytes:
    """A file whose objects are: catalog, pages, two fonts, info, outline root, bookmarks, then two a page."""
    first_page = 7 + len(outline)
    kids = " ".join(f"{first_page + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        f"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R{f'/Lang({language})' if language else ''}>>".encode(),
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}/MediaBox[0 0 600 800]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>",
        b"<<" + b"".join(f"/{name}{_string(value)}".encode("latin-1") for name, value in (info or {}).items()) + b">>",
        *_outline(outline, first_page),
    ]
    for number, texts in enumerate(pages):
        objects.append(_page(first_page + 2 * number + 1))
        objects.append(stream("".join(map(_shown, texts)).encode("cp1252")))
    trailer = "/Info 5 0 R"
    if encrypted:
        objects.append(b"<</Filter/Standard/V 1/R 2/P -4/Length 40/O<" + b"00" * 32 + b">/U<" + b"11" * 32 + b">>>")
        trailer += f"/Encrypt {len(objects)} 0 R/ID[<00><00>]"
    return assembled(objects, trailer)


def unpacking_to(megabytes: int) -> bytes:
    """A small file whose one page unpacks to so much."""
    packer = zlib.compressobj(9)
    blank = b" " * 1_000_000
    first, next_one = (packer.compress(blank) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    packed = first + next_one * (megabytes - 1) + packer.flush()
    twice = stream(zlib.compress(packed, 9), "/Filter[/FlateDecode/FlateDecode]")
    catalog, pages = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[5 0 R]/Count 1/MediaBox[0 0 600 800]>>"
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    return assembled([catalog, pages, font, font, _page(6), twice])


def stream(data: bytes, entries: str = "") -> bytes:
    return f"<<{entries}/Length {len(data)}>>stream\n".encode() + data + b"\nendstream"


def assembled(objects: Sequence[bytes], trailer: str = "") -> bytes:
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = f"trailer\n<</Size {len(objects) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{len(out)}\n%%EOF".encode()
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


def _page(contents: int) -> bytes:
    return f"<</Type/Page/Parent 2 0 R/Contents {contents} 0 R/Resources<</Font<</F 3 0 R/C 4 0 R>>>>>>".encode()


def _shown(text: Text) -> str:
    x, y, size, words = text
    return f"BT /{'C' if words.startswith('`') else 'F'} {size} Tf {x} {y} Td {_string(words.lstrip('`'))} Tj ET\n"


def _string(words: str) -> str:
    return "(" + words.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") + ")"


def _outline(bookmarks: Sequence[Bookmark], first_page: int) -> list[bytes]:
    """The root and its bookmarks, numbered from 6 on. A child's level is its parent's and one."""
    parents = [
        max((i for i in range(n) if bookmarks[i][0] < level), default=-1) for n, (level, *_) in enumerate(bookmarks)
    ]
    out = [_links(-1, parents, b"/Type/Outlines")]
    for number, (_, title, page, y) in enumerate(bookmarks):
        view = f"/XYZ 0 {y} 0" if y is not None else "/Fit"
        siblings = [n for n, parent in enumerate(parents) if parent == parents[number]]
        following = [f"/Next {7 + n} 0 R" for n in siblings if n > number][:1]
        entries = f"/Title{_string(title)}/Parent {7 + parents[number]} 0 R/Dest[{first_page + 2 * page} 0 R {view}]"
        out.append(_links(number, parents, (entries + "".join(following)).encode()))
    return out


def _links(number: int, parents: Sequence[int], entries: bytes) -> bytes:
    children = [n for n, parent in enumerate(parents) if parent == number]
    ends = f"/First {7 + children[0]} 0 R/Last {7 + children[-1]} 0 R" if children else ""
    return b"<<" + entries + ends.encode() + b">>"
