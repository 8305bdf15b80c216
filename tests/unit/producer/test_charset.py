"""Character sets: the HTML standard's order, the Encoding standard's labels."""

import pytest

from producer.content.charset import codec_for, decode

META = '<meta charset="{}">'
TEXT = "Müller – Ωмега"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (TEXT.encode(), None, TEXT),
        (TEXT.encode(), "text/html; charset=UTF-8", TEXT),
        ("Müller".encode("latin-1"), None, "Müller"),
        ("“Müller”".encode("cp1252"), "text/html; charset=iso-8859-1", "“Müller”"),
        ("Омега".encode("cp1251"), 'text/html; charset="windows-1251"', "Омега"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "text/html; charset=windows-1251", TEXT),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "text/html; charset=utf-8", TEXT),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), None, TEXT),
        (b"<meta charset='koi8-r'>" + "Омега".encode("koi8-r"), None, "<meta charset='koi8-r'>Омега"),
        (b"<meta charset=utf-16>" + TEXT.encode(), None, "<meta charset=utf-16>" + TEXT),
        (b"<meta charset=nonsense>" + TEXT.encode(), None, "<meta charset=nonsense>" + TEXT),
        (b"<meta charset=koi8-r>" + TEXT.encode(), "text/html; charset=utf-8", "<meta charset=koi8-r>" + TEXT),
        ("日本".encode("shift_jis"), "text/html; charset=Shift_JIS", "日本"),
        (b"ok \xff end", "text/html; charset=utf-8", "ok \ufffd end"),
    ],
)
def test_decoding(body: bytes, content_type: str | None, expected: str) -> None:
    assert decode(body, content_type) == expected


@pytest.mark.parametrize("label", ["punycode", "idna", "unicode_escape", "base64", "rot13", "utf-7", "zip", "mbcs"])
def test_python_s_other_codecs_are_out_of_reach(label: str) -> None:
    assert codec_for(label) is None
