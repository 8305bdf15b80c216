"""What a page says of other pages and to robots: links, canonical, refresh, directives."""

import pytest

from producer.content.document import Document
from producer.extract import extract

URL = "https://h.example/docs/a.html"


def page(head: str = "", body: str = "<p>text</p>", x_robots_tag: str | None = None) -> Document:
    html = f"<html><head>{head}</head><body>{body}</body></html>"
    return extract(URL, html.encode(), "text/html", x_robots_tag)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<a href=b>b</a>", "b"),
        ("<map><area href=b></map>", "b"),
        ("<iframe src=b></iframe>", "b"),
        ("<link rel=next href=b>", "b"),
        ("<link rel='PREV' href=b>", "b"),
        ("<link rel=canonical href=b>", "b"),
        ("<link rel=alternate hreflang=de href=b>", "b"),
        ("<link rel='alternate stylesheet' hreflang=de href=b>", None),
        ("<link rel=alternate type=application/rss+xml href=b>", None),
        ("<link rel=alternate media=handheld href=b>", None),
        ("<link rel=stylesheet href=b>", None),
        ("<link rel='next nofollow' href=b>", None),
        ("<a rel='noopener NoFollow' href=b>b</a>", None),
        ("<map><area rel=nofollow href=b></map>", None),
        ("<a rel=next href=b>b</a>", "b"),
        ("<a href=b#!/c>b</a>", "b"),
        ("<a href='#!/c'>b</a>", None),
        ("<a href=''>b</a><a href=a.html>b</a><a href=./a.html#x>b</a>", None),
        ("<form action=b></form><img src=b><script src=b></script>", None),
        ("<meta http-equiv=refresh content='600; url=b'>", "b"),
    ],
)
def test_what_is_a_link(html: str, expected: str | None) -> None:
    assert page(body=html).links == ([f"https://h.example/docs/{expected}"] if expected else [])


def test_frames_of_a_frameset_are_links() -> None:
    html = b"<html><frameset cols='20%,*'><frame src=toc.html><frame src=b.html></frameset></html>"
    assert extract(URL, html, "text/html").links == [
        "https://h.example/docs/toc.html",
        "https://h.example/docs/b.html",
    ]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("<link rel=canonical href=/b>", "https://h.example/b"),
        ("<base href=/x/><link rel=canonical href=b>", "https://h.example/x/b"),
        ("<link rel=canonical href='https://h.example/docs/a.html#top'>", URL),
        ("<link rel=canonical href='?utm_source=x'>", URL),
        ("<link rel=canonical href=''><link rel=canonical href=/b>", "https://h.example/b"),
        ("<link rel=canonical href='http://['><link rel=canonical href=/b>", None),
        ("", None),
    ],
)
def test_canonical(head: str, expected: str | None) -> None:
    assert page(head).canonical_url == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("0; url=b", "b"),
        ("0;URL='b'", "b"),
        ('0; Url = "b" x', "b"),
        ("0.5; url=b", "b"),
        (" 3 , b", "b"),
        ("0 b", "b"),
        ("0; url=a.html", None),
        ("5", None),
        ("5; url=", None),
        ("url=b", None),
        ("11; url=b", None),
        ("0; url=javascript:x()", None),
    ],
)
def test_a_refresh_is_a_redirect(content: str, expected: str | None) -> None:
    quote = '"' if '"' not in content else "'"
    target = page(f"<meta http-equiv=Refresh content={quote}{content}{quote}>").refresh_to
    assert target == (f"https://h.example/docs/{expected}" if expected else None)


def test_a_refresh_for_readers_without_scripts_is_none() -> None:
    assert page("<noscript><meta http-equiv=refresh content='0; url=b'></noscript>").refresh_to is None


@pytest.mark.parametrize(
    ("head", "header", "expected"),
    [
        ("", "", (False, False)),
        ("<meta name=ROBOTS content='NoIndex, Follow'>", "", (True, False)),
        ("<meta name=robots content=none>", "", (True, True)),
        ("<meta name=headrace content=nofollow>", "", (False, True)),
        ("<meta name=otherbot content=noindex>", "", (False, False)),
        ("<meta name=robots content=index><meta name=headrace content=noindex>", "", (True, False)),
        ("", "noindex", (True, False)),
        ("", "NONE", (True, True)),
        ("", "otherbot: noindex", (False, False)),
        ("", "otherbot: noindex, nofollow", (False, False)),
        ("", "otherbot: noindex, headrace: nofollow", (False, True)),
        ("", "otherbot: noindex\nnofollow", (False, True)),
        ("", "*: noindex", (True, False)),
        ("", "headrace: nofollow", (False, True)),
        ("", "unavailable_after: 25 Jun 2010 15:00:00 PST, nofollow", (False, True)),
        ("", "max-snippet:-1, noindex", (True, False)),
    ],
)
def test_robots_directives(head: str, header: str, expected: tuple[bool, bool]) -> None:
    document = page(head, x_robots_tag=header)
    assert (document.noindex, document.nofollow) == expected


def test_a_page_without_any_element_has_its_header() -> None:
    assert extract(URL, b"", "text/html", "noindex").noindex
