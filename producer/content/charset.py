"""Bytes to text: BOM, then the HTTP header, then the page's own declaration, then a guess.

The order is the HTML standard's (13.2.3.2), labels are the Encoding standard's (4.2). Only codecs of that list are
used: a page must not choose one of Python's others, of which some are quadratic.
"""

import codecs
import re
from functools import lru_cache

PRESCAN_BYTES = 2_048
"""The standard says 1,024; pages with long comments up front put it somewhat later."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET_PARAMETER = re.compile(r"charset\s*=\s*[\"']?\s*([^\s;\"'>/]+)", re.IGNORECASE)
_META = re.compile(rb"<meta\b[^>]{0,500}?charset\s*=\s*[\"']?\s*([^\s;\"'>/]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([^\"']{1,40})", re.IGNORECASE)

_LABELS = {
    "utf-8": "utf8 unicode-1-1-utf-8 utf-8",
    "cp1252": "ascii us-ascii iso-8859-1 iso8859-1 latin1 latin-1 l1 windows-1252 cp1252 x-cp1252",
    "cp1254": "iso-8859-9 iso8859-9 latin5 l5 windows-1254 cp1254",
    "cp874": "iso-8859-11 tis-620 windows-874 dos-874",
    "cp949": "euc-kr korean ks_c_5601-1987 ksc5601 ks_c_5601 windows-949",
    "cp932": "shift_jis shift-jis sjis ms_kanji x-sjis windows-31j",
    "gb18030": "gb2312 gbk gb_2312-80 chinese x-gbk gb18030 csgb2312",
    "big5hkscs": "big5 big5-hkscs cn-big5 x-x-big5",
    "euc_jp": "euc-jp x-euc-jp",
    "iso2022_jp": "iso-2022-jp csiso2022jp",
    "koi8-r": "koi8-r koi8 koi",
    "koi8-u": "koi8-u koi8-ru",
    "cp866": "ibm866 866 cp866",
    "mac_roman": "macintosh mac x-mac-roman",
    "utf-16-le": "utf-16 utf-16le unicode ucs-2 iso-10646-ucs-2",
    "utf-16-be": "utf-16be",
    **{f"cp{n}": f"windows-{n} cp{n} x-cp{n}" for n in (1250, 1251, 1253, 1255, 1256, 1257, 1258)},
    **{f"iso8859-{n}": f"iso-8859-{n} iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
}
_CODEC_OF = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}


@lru_cache(maxsize=256)
def codec_for(label: str) -> str | None:
    """Python's codec for a label of the Encoding standard, None for an unknown one."""
    return _CODEC_OF.get(label.strip().lower())


def decode(body: bytes, content_type: str | None, is_html: bool = True) -> str:
    """The text, without BOM. Undecodable bytes become U+FFFD where the codec is declared; never raises."""
    for bom, bom_codec in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(bom_codec, "replace")
    codec = _from_header(content_type) or (_from_page(body) if is_html else None)
    if codec is not None and codec != "utf-8":
        return body.decode(codec, "replace")
    return _guess(body, declared=codec is not None)


def _from_header(content_type: str | None) -> str | None:
    match = _CHARSET_PARAMETER.search(content_type or "")
    return codec_for(match.group(1)) if match else None


def _from_page(body: bytes) -> str | None:
    head = body[:PRESCAN_BYTES]
    match = _META.search(head) or _XML.search(head)
    codec = codec_for(match.group(1).decode("ascii", "replace")) if match else None
    # A declaration readable as ASCII can't be in UTF-16 (HTML standard, 13.2.3.2, step "prescan").
    return "utf-8" if codec in ("utf-16-le", "utf-16-be") else codec


def _guess(body: bytes, declared: bool) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        # A page that says UTF-8 and holds a few stray bytes is UTF-8; one that says nothing is not.
        mostly = declared or (error.start > len(body) // 2 and not body[: error.start].isascii())
        return body.decode("utf-8" if mostly else "cp1252", "replace")
