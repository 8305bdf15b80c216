"""Character sets: the HTML standard's order and prescan, the Encoding standard's labels and decoders."""

import codecs

import pytest
import webencodings.labels
from hypothesis import given
from hypothesis import strategies as st

from producer.content.charset import decode
from producer.content.document import NotExtractable
from producer.content.prescan import LATE_BYTES, PRESCAN_BYTES, declared_encoding, encoding_of, xml_encoding

TEXT = "Müller – Ωмега"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        # 1. a BOM is above all
        (b"\xef\xbb\xbf" + TEXT.encode(), "text/html; charset=windows-1251", TEXT),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "text/html; charset=utf-8", TEXT),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), None, TEXT),
        (b"\xef\xbb\xbf<meta charset=koi8-r>" + TEXT.encode(), None, "<meta charset=koi8-r>" + TEXT),
        # 2. then the header
        (TEXT.encode(), "text/html; charset=UTF-8", TEXT),
        (TEXT.encode(), "text/html;charset=utf-8;charset=koi8-r", TEXT),
        (TEXT.encode(), 'text/html; x=";charset"; charset="utf-8"', TEXT),
        ("Омега".encode("cp1251"), 'text/html; charset="windows\\-1251"', "Омега"),
        ("Омега".encode("cp1251"), "text/html; CHARSET = CP1251 ; x=y", "Омега"),
        (b"<meta charset=koi8-r>" + TEXT.encode(), "text/html; charset=utf-8", "<meta charset=koi8-r>" + TEXT),
        ("“Müller”".encode("cp1252"), "text/html; charset=iso-8859-1", "“Müller”"),
        ("“Müller”".encode("cp1252"), "text/html; charset=us-ascii", "“Müller”"),
        ("日本".encode("shift_jis"), "text/html; charset=Shift_JIS", "日本"),
        ("日本".encode("utf-16-le"), "text/html; charset=utf-16", "日本"),
        ("€ 𠀀".encode("gb18030"), "text/html; charset=gb2312", "€ 𠀀"),
        (b"ok \xff end", "text/html; charset=utf-8", "ok \ufffd end"),
        (b"a\x80\xff", "text/html; charset=x-user-defined", "a\uf780\uf7ff"),
        (b"\x81\x8d", "text/html; charset=windows-1252", "\x81\x8d"),
        (b"\xaa\x81", "text/html; charset=windows-1253", "\ufffd\x81"),
        (b"a\xad\xa1\xfc\xe2 \xfe\xfe", "text/html; charset=euc-jp", "a①髙 \ufffd\ufffd"),
        (b"\xf9\xa1\xadz", "text/html; charset=euc-jp", "纊\ufffdz"),
        (b"\x1b$B-!0!|b\x1b(B x", "text/html; charset=iso-2022-jp", "①亜髙 x"),
        (b"\x80 \xa3\xe1", "text/html; charset=gbk", "€ ａ"),
        (b"\x80", "text/html; charset=gb18030", "€"),
        (b"a\xa3\xe1b\xffz", "text/html; charset=big5", "a€b\ufffdz"),
        # 3. then what the page declares
        (b"<meta charset='koi8-r'>" + "Омега".encode("koi8-r"), "x/y; charset=no", "<meta charset='koi8-r'>Омега"),
        (b"<meta charset=utf-16>" + TEXT.encode(), None, "<meta charset=utf-16>" + TEXT),
        (b"<meta charset=x-user-defined>\x93", None, "<meta charset=x-user-defined>“"),
        (b"<?xml version='1.0' encoding='koi8-r'?>" + "Омега".encode("koi8-r"), None,
         "<?xml version='1.0' encoding='koi8-r'?>Омега"),
        ("<?xml ?>Омега".encode("utf-16-le"), None, "<?xml ?>Омега"),
        # 4. then the bytes themselves
        (TEXT.encode(), None, TEXT),
        (TEXT.encode(), "text/html; charset='utf-8'", TEXT),
        ((TEXT * 9).encode() + b"\xff", None, TEXT * 9 + "\ufffd"),
        ((TEXT * 9).encode()[:-1], None, TEXT * 8 + TEXT[:-1] + "\ufffd"),
        ("Müller".encode("latin-1"), None, "Müller"),
        ("Проверка текста на русском".encode("koi8-r"), None, "Проверка текста на русском"),
        ("Проверка текста на русском".encode("cp1251"), None, "Проверка текста на русском"),
        ("これは日本語のページです。".encode("shift_jis"), None, "これは日本語のページです。"),
        ("これは日本語のページです。".encode("euc_jp"), None, "これは日本語のページです。"),
        ("这是一个中文页面。".encode("gbk"), None, "这是一个中文页面。"),
        ("이것은 한국어 페이지입니다.".encode("euc_kr"), None, "이것은 한국어 페이지입니다."),
        ("สวัสดีครับ ยินดีต้อนรับ".encode("cp874"), None, "สวัสดีครับ ยินดีต้อนรับ"),
        (b"", None, ""),
    ],
)  # fmt: skip
def test_decoding(body: bytes, content_type: str | None, expected: str) -> None:
    assert decode(body, content_type) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"<meta charset=koi8-r>", "koi8-r"),
        (b"<META/CHARSET = KOI8-R >", "koi8-r"),
        (b"<meta charset=' koi8-r '>", "koi8-r"),
        (b"<meta charset=koi8-r/>", None),  # the slash is part of an unquoted value
        (b"<meta charset='koi8-r'/>", "koi8-r"),
        (b"<meta name=x charset=koi8-r>", "koi8-r"),
        (b"<meta charset=latin1>", "windows-1252"),
        (b"<meta charset=iso-8859-9>", "windows-1254"),
        (b"<meta charset=utf-16le>", "utf-8"),
        (b"<meta charset=x-user-defined>", "windows-1252"),
        (b"<meta charset=iso-2022-kr>", "replacement"),
        (b"<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        (b"<meta charset=koi8-r charset=utf-8>", "koi8-r"),
        (b"<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r' http-equiv=content-type>", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r'>", None),
        (b"<meta http-equiv=refresh content='0; charset=koi8-r'>", None),
        (b"<meta http-equiv=content-type content='charset = \"koi8-r\" x'>", "koi8-r"),
        (b"<meta http-equiv=content-type content='charset = \"koi8-r'>", None),
        (b"<meta http-equiv=content-type content='charset charset=koi8-r;x'>", "koi8-r"),
        (b"<meta http-equiv=content-type content='charset='>", None),
        (b"<meta http-equiv=content-type content='charset=koi8-r' charset=utf-8>", "utf-8"),
        (b"<meta http-equiv=content-type charset=no content='charset=koi8-r'>", None),
        (b"<!-- <meta charset=utf-8> --><meta charset=koi8-r>", "koi8-r"),
        (b"<!--><meta charset=koi8-r>", "koi8-r"),
        (b"<!-- > <meta charset=koi8-r>", None),
        (b"<!doctype html><html lang=ru><head><title>a > b</title><meta charset=koi8-r>", "koi8-r"),
        (b"<p title='<meta charset=utf-8>'><meta charset=koi8-r>", "koi8-r"),
        (b"<p title=><meta charset=koi8-r>", "koi8-r"),
        (b"</p title='><meta charset=utf-8>'><meta charset=koi8-r>", "koi8-r"),
        (b"</1 a='><meta charset=koi8-r>", "koi8-r"),
        (b"<?php '<meta charset=utf-8>' ?><meta charset=koi8-r>", "koi8-r"),
        (b"<metadata charset=koi8-r>", None),
        (b"<script>'<meta charset=koi8-r>'</script>", "koi8-r"),
        (b"a < b <meta charset=koi8-r>", "koi8-r"),
        (b"<meta charset=koi8-r", None),
        (b"<meta = charset=koi8-r>", "koi8-r"),
        (b"<?xml version='1.0' encoding='koi8-r'?>", "koi8-r"),
        (b"<?xml encoding='koi8-r'?><meta charset=utf-8>", "utf-8"),
        (b"<?xml encoding='utf-16'?>", "utf-8"),
        (b'<?xml encoding = "koi8-r" ?>', "koi8-r"),
        (b"<?xml encoding='koi8 r'?>", None),
        (b"<?xml encoding='koi8-r?>", None),
        (b"<?xml encodings='x' encoding='koi8-r'?>", None),
        (b" <?xml encoding='koi8-r'?>", None),
        (b"\0<\0?\0x\0m\0l", "utf-16be"),
        (b" " * (PRESCAN_BYTES - 21) + b"<meta charset=koi8-r>", "koi8-r"),
        (b"<!--" + b" " * PRESCAN_BYTES + b"--><meta charset=koi8-r>", "koi8-r"),
        (b" " * LATE_BYTES + b"<meta charset=koi8-r>", None),
        (b"<?xml encoding='koi8-r'?>" + b" " * PRESCAN_BYTES + b"<meta charset=utf-8>", "koi8-r"),
        (b"<" * 300, None),
        (b"", None),
    ],
)
def test_prescan(head: bytes, expected: str | None) -> None:
    assert declared_encoding(head) == expected


@given(
    st.lists(
        st.sampled_from(
            [b"<meta ", b"charset", b"=", b"'", b'"', b">", b"<!--", b"-->", b"</", b"a ", b"content", b"/"]
        )
    )
)
def test_prescan_ends_on_anything(parts: list[bytes]) -> None:
    assert declared_encoding(b"".join(parts)) is None


def test_text_and_xml_declare_otherwise() -> None:
    assert decode(b"<meta charset=koi8-r>\xff", None, "nothing") == "<meta charset=koi8-r>ÿ"
    assert decode(b"<meta charset=koi8-r>\xff", None, "xml") == "<meta charset=koi8-r>\ufffd"
    xml = b"<?xml version='1.0' encoding='ISO-8859-15'?>\xa4"
    assert decode(xml, "application/xml", "xml").endswith("€")
    assert decode(xml, "application/xml; charset=latin1", "xml").endswith("¤")
    assert xml_encoding("<?xml?>".encode("utf-16-le")) == "utf-16le"


@pytest.mark.parametrize("label", sorted(webencodings.labels.LABELS))
def test_every_label_of_the_standard_decodes(label: str) -> None:
    """ASCII reads the same in all of them, save UTF-16 and what no browser decodes."""
    name = encoding_of(f" {label.upper()}\n")
    assert name is not None
    body = "Mill".encode({"utf-16le": "utf-16-le", "utf-16be": "utf-16-be"}.get(name, "ascii"))
    if name == "replacement":
        with pytest.raises(NotExtractable, match="an encoding that no browser decodes"):
            decode(body, f"text/html; charset={label}")
    else:
        assert decode(body, f"text/html; charset={label}") == "Mill"


@pytest.mark.parametrize(
    "label",
    ["punycode", "idna", "unicode_escape", "base64", "rot13", "utf-7", "zip", "mbcs", "utf_8", "KOI8\u212aR", ""],
)
def test_python_s_other_codecs_are_out_of_reach(label: str) -> None:
    assert encoding_of(label) is None


@given(st.lists(st.integers(128, 255), max_size=30).map(bytes) | st.binary(max_size=60))
def test_any_bytes_are_guessed(body: bytes) -> None:
    assert isinstance(decode(body, None, "nothing"), str)


@given(
    st.binary(max_size=60), st.sampled_from(["", *sorted(set(webencodings.labels.LABELS.values()) - {"replacement"})])
)
def test_any_bytes_decode(body: bytes, label: str) -> None:
    text = decode(body, f"text/html; charset={label}", "nothing")
    assert isinstance(text, str) and not text.startswith(codecs.BOM_UTF8.decode())
