"""What is not HTML: what it is taken for, Markdown's parts, lists of pages."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.content.document import Document, NotExtractable
from producer.content.sniffing import kind_of
from producer.extract import extract

URL = "https://h.example/docs/page"
HTML = b"<!doctype html><title>x</title><p>y"
XHTML = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>words</p></body></html>'
STYLED = XHTML.replace(b"?><html", b"?><?xml-stylesheet href='a.css'?>\n<!-- a page --><html")
BOM = b"\xef\xbb\xbf"
RSS = b"""<?xml version="1.0" encoding="iso-8859-1"?><?xml-stylesheet href="x.xsl"?><!-- made by hand -->
<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>N\xe9ws</title><link>https://h.example/</link>
<atom:link rel="self" href="https://h.example/feed"/><atom:link rel="next" href="https://h.example/feed?page=2"/>
<item><title>One</title><link>https://h.example/one#top</link><guid>https://h.example/1</guid></item>
<item><title>Two</title><guid>https://h.example/two</guid></item>
<item><title>None</title><guid isPermaLink="false">https://h.example/never</guid></item>
<item><atom:link rel="replies" href="/no"/><link/><link>/three</link></item>
<item><link>mailto:x@h.example</link></item></channel></rss>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://h.example/blog/"><link href="home"/>
<link rel="next" href="?page=2"/>
<entry><link rel="edit" href="edit"/><link href="one"/></entry>
<entry xml:base="/other/"><link rel="alternate" href="two"/>
<content type="html">&lt;a href="no">no&lt;/a></content></entry></feed>"""
RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel rdf:about="https://h.example/"/><item rdf:about="https://h.example/about"/>
<item rdf:about="x"><link>https://h.example/link</link></item></rdf:RDF>"""
SITEMAP = b"""<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:i="http://www.google.com/schemas/sitemap-image/1.1">
<url><loc> https://h.example/a </loc><i:image><i:loc>https://h.example/a.png</i:loc></i:image></url>
<url><loc>https://h.example/b</loc></url></urlset>"""
INDEX = b"<sitemapindex><sitemap><loc>https://h.example/s1.xml</loc></sitemap></sitemapindex>"
JSON_FEED = b"""{"version": "https://jsonfeed.org/version/1.1", "title": "x", "next_url": "?page=2",
"items": [{"id": "1", "url": "/one"}, {"id": "2", "external_url": "https://o.example/two"}, {"id": "3"}]}"""


def h(*paths: str) -> list[str]:
    return [f"https://h.example{path}" for path in paths]


@pytest.mark.parametrize(
    ("path", "body", "content_type", "kind"),
    [
        ("", HTML, "text/html; charset=utf-8", "html"),
        ("", b"words", "TEXT/HTML", "html"),
        ("", HTML, "application/xhtml+xml", "html"),
        ("", b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "application/xml", "html"),
        ("", HTML, None, "html"),
        ("", HTML, "application/octet-stream", "html"),
        ("", HTML, "text/plain", "plain"),
        ("", b"words", None, "plain"),
        (".md", b"words", None, "markdown"),
        (".md", b"words", "text/plain", "markdown"),
        (".MD?raw=1", b"words", "application/octet-stream", "markdown"),
        (".rst", b"words", "application/octet-stream", "plain"),
        (".rst", b"words", "text/x-rst", "plain"),
        (".adoc", b"words", "text/asciidoc", "plain"),
        ("", b"words", "text/markdown; variant=GFM", "markdown"),
        ("", b"%PDF-1.7", "application/pdf", "pdf"),
        ("", b"\n%PDF-1.4", "application/octet-stream", "pdf"),
        ("", b"%PDF-1.4", "text/html", "pdf"),
        ("", RSS, "application/rss+xml", "xml"),
        ("", RSS, "text/html", "xml"),
        ("", ATOM, "text/plain", "xml"),
        ("", SITEMAP, None, "xml"),
        ("", b"\xef\xbb\xbf" + RDF, "application/octet-stream", "xml"),
        ("", b"{}", "application/feed+json", "json"),
        ("", BOM + HTML, None, "html"),
        ("", BOM + XHTML, "application/xml", "html"),
        ("", STYLED, "text/xml", "html"),
        ("", b"<!-- a --> <!-- b -->" + HTML, None, "html"),
        ("", b"<title>x</title><p>y", None, "html"),
        ("", b" <P>y", None, "html"),
        ("", b"<!-- x -->words", None, "html"),
        ("", b"<pre>", None, "plain"),
        ("", b"<title>x</title><p>y", "application/xml", "xml"),
        (".md", b"<p align=center>y", None, "markdown"),
        (".md", b"<p align=center>y", "application/octet-stream", "markdown"),
        ("", XHTML.decode().encode("utf-16-be"), None, "html"),
        ("", XHTML.decode().encode("utf-16-le"), "application/xml", "html"),
        ("", HTML.decode().encode("utf-16-le"), "text/html; charset=utf-16le", "html"),
        ("", SITEMAP.decode().encode("utf-16"), "text/html", "xml"),
        ("", SITEMAP.decode().encode("utf-16-be"), "text/plain; charset=UTF-16BE", "xml"),
        ("", b"{}", "application/json", "json"),
    ],
)
def test_what_a_body_is_taken_for(path: str, body: bytes, content_type: str | None, kind: str) -> None:
    assert kind_of(URL + path, body, content_type) == kind


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"a", "video/mp4", "content type video/mp4 is not text that can be read"),
        (b"a{}", "text/css", "content type text/css is not"),
        (b"a", "application/octet-stream", "content type application/octet-stream is not"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "content type image/svg\\+xml is not"),
        (b"PK\x03\x04", "application/epub+zip", "ZIP data under the content type application/epub\\+zip"),
        (b"GIF89a", None, "GIF data$"),
        (b"\xff\xfe" + b"\x01\x00\x02\x00" * 99, "text/html", "binary data under the content type text/html"),
        (HTML.decode().encode("utf-16-le"), "text/html", "binary data under the content type text/html"),
        (b"[1, 2]", "application/json", "JSON that is no feed"),
        (b'{"version": "3.1.0"}', "application/json", "JSON that is no feed"),
        (b"[" * 100_000, "application/json", "JSON that is no feed"),
        (b"<a><b/></a>", "text/xml", "XML of the type a"),
        (b"<", "text/xml", "XML that can't be read"),
        (b"", "text/xml", "XML that can't be read"),
    ],
)
def test_what_is_no_page_says_its_type(body: bytes, content_type: str | None, reason: str) -> None:
    with pytest.raises(NotExtractable, match=reason) as refused:
        extract(URL, body, content_type)
    assert not refused.value.links and not refused.value.limited


def test_a_page_in_utf_16_without_a_mark_is_read() -> None:
    body = "<!doctype html><title>Мельница</title><p>вода".encode("utf-16-le")
    document = extract(URL, body, "text/html; charset=utf-16le")
    assert (document.title, document.text) == ("Мельница", "вода")
    assert extract(URL, XHTML.decode().encode("utf-16-be"), "application/xhtml+xml").text == "words"


@pytest.mark.parametrize("before", [b"<!-- a -->", b"<?a?>", b" <!---->", b"<!--"])
def test_what_stands_before_the_first_tag_is_passed_in_linear_time(before: bytes) -> None:
    """3,000 of them: a pattern that tries each of them anew in two ways ends in no lifetime."""
    for content_type in ("text/html", "application/xml", None):
        assert kind_of(URL, before * 3_000 + b"<i>", content_type) in ("html", "xml", "plain")


@pytest.mark.parametrize(
    ("body", "content_type", "reason", "links"),
    [
        (RSS, "application/rss+xml", "an RSS feed: 4 links", h("/one", "/two", "/three", "/feed?page=2")),
        (ATOM, "application/atom+xml", "an Atom feed: 3 links", h("/blog/one", "/other/two", "/blog/?page=2")),
        (RDF, "application/rdf+xml", "an RSS feed: 2 links", h("/about", "/link")),
        (SITEMAP, "application/xml", "a sitemap: 2 links", h("/a", "/b")),
        (INDEX, "text/xml", "a sitemap: 1 link", h("/s1.xml")),
        (
            JSON_FEED,
            "application/feed+json",
            "a JSON feed: 3 links",
            [*h("/one"), "https://o.example/two", *h("/docs/page?page=2")],
        ),
        (b"\xff\xfe" + SITEMAP.decode().encode("utf-16-le"), "text/xml", "a sitemap: 2 links", h("/a", "/b")),
        (b"<rss><channel><item><link>/cut</link></item><item><lin", "text/xml", "an RSS feed: 1 link", h("/cut")),
    ],
)
def test_lists_of_pages_lead_on(body: bytes, content_type: str, reason: str, links: list[str]) -> None:
    with pytest.raises(NotExtractable) as refused:
        extract(URL, body, content_type)
    assert (refused.value.reason, list(refused.value.links)) == (reason, links)


def test_a_list_that_is_not_to_be_followed_is_not() -> None:
    with pytest.raises(NotExtractable, match="an RSS feed: nofollow") as refused:
        extract(URL, RSS, "application/rss+xml", "nofollow")
    assert not refused.value.links


BOMB = "".join(f"<!ENTITY e{n + 1} '{f'&e{n};' * 10}'>" for n in range(9))


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE rss [<!ENTITY e0 'lol'>"
        + BOMB.encode()
        + b"]><rss><channel><item><link>&e9;</link></item></channel></rss>",
        b"<!DOCTYPE rss [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><rss><channel><item><link>/&x;</link></item></channel></rss>",
        "<!DOCTYPE rss [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><rss/>".encode("utf-16"),
        b"<!DOCTYPE rss SYSTEM 'http://127.0.0.1:9/x.dtd'><rss><channel><item><link>&x;</link></item></channel></rss>",
    ],
)
def test_xml_entities_reach_nothing(body: bytes) -> None:
    with pytest.raises(NotExtractable) as refused:
        extract(URL, body, "text/xml")
    assert not any("root" in link or "lol" in link for link in refused.value.links)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    a = 1\n    b = 2\n\nText", ["a = 1\nb = 2", "Text"]),
        ("\tif a:\n\t\tb\n \t\n  - one\n    two\n", ["if a:\n\tb", "- one\n  two"]),
        ("a\r\n\r\n  b\r\n\r\n", ["a", "b"]),
    ],
)
def test_plain_text_keeps_its_lines_in_line(text: str, expected: list[str]) -> None:
    assert [b.text for b in extract(URL, text.encode(), "text/plain").blocks] == expected


def markdown(text: str, url: str = "https://h.example/a/readme.md") -> Document:
    return extract(url, text.encode(), "text/markdown")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Title\n\nSub\n---\nend", [("heading", "# Title"), ("heading", "## Sub"), ("paragraph", "end")]),
        ("See [that](b.md#x) *now*, `a*b`.", [("paragraph", "See that now, `a*b`.")]),
        ("```py title=x\na = 1\n\n<b>\n```", [("code", "```py\na = 1\n\n<b>\n```")]),
        ("~~~\na\n~~~\n\n    indented", [("code", "```\na\n```"), ("code", "```\nindented\n```")]),
        ("- one\n- two\n  1. three", [("list", "- one\n- two\n  1. three")]),
        ("| k | v |\n|---|:-:|\n| a\\|b | `c` |", [("table", "| k | v |\n| --- | --- |\n| a\\|b | `c` |")]),
        ("> said\n> so", [("quote", "> said so")]),
        ("[a][r] and ![the wheel](w.png)\n\n[r]: c.md 'T'", [("paragraph", "a and the wheel")]),
        ("<div>\n\n*in* <b>html</b>\n\n</div>\n\n<!-- not this -->", [("paragraph", "in html")]),
        ("<details><summary>More</summary>\n\ntext\n\n</details>", [("paragraph", "More"), ("paragraph", "text")]),
        ("<script>alert(1)</script>\n\ntext", [("paragraph", "text")]),
        ("a\\*b &amp; c  \nd", [("paragraph", "a*b & c\nd")]),
        ("> [!NOTE]\n> Be\n> careful", [("quote", "> **Note** Be careful")]),
        ("> [!no such]\n> x", [("quote", "> [!no such] x")]),
        (":::tip A <b>\n\nin\n\nside\n\n:::\nout", [("quote", "> **A <b>** in\n>\n> side"), ("paragraph", "out")]),
        ("::: warning\nx\n:::\n:::note[T]\ny\n:::", [("quote", "> **Warning** x"), ("quote", "> **T** y")]),
        (":::python\nx\n:::", [("paragraph", ":::python x :::")]),
        ('!!! warning "W"\n    body\n\n    ```py\n    a\n    ```\n\nout',
         [("quote", "> **W** body"), ("code", "```py\na\n```"), ("paragraph", "out")]),
        ("??? note\n    x", [("quote", "> **Note** x")]),
        ("Term\n: def\n\nOther\n: its\n: two", [("term", "Term"), ("paragraph", "def"), ("term", "Other"),
                                              ("paragraph", "its"), ("paragraph", "two")]),
        ("foot[^1] and ^[no]\n\n[^1]: the note", [("paragraph", "foot[1] and ^[no]"), ("list", "1. the note")]),
        ("", []),
    ],
)  # fmt: skip
def test_markdown_blocks(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(b.kind.value, b.text) for b in markdown(text).blocks] == expected


def test_markdown_links() -> None:
    text = "[a](b.md#x) <https://o.example/y> [c][r] <a href='d.md'>d</a> ![i](i.png) `[no](no.md)`\n\n[r]: ../c.md"
    assert markdown(text).links == ["https://h.example/a/b.md", "https://o.example/y", "https://h.example/c.md",
                                    "https://h.example/a/d.md"]  # fmt: skip


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("---\ntitle: 'The Gate'\ndescription: >\n  Holds\n  water.\ndate: 2026-03-04\n---\n",
         ("The Gate", "Holds water.", "2026-03-04")),
        ("---\nTitle: x\nlastmod: 2026-03-04T23:30:00-08:00\n...\n", ("x", None, "2026-03-04")),
        ('+++\ntitle = "T"\nsummary = "S"\npublishDate = 2026-01-02T03:04:05Z\n+++\n', ("T", "S", "2026-01-02")),
        ("---\na: &a [x]\nb: [*a, *a]\ndescription: [list]\n---\n", ("Words", None, None)),
        ("---\n# made by hand\n\n\"title\": x\n---\n", ("x", None, None)),
        ("---\ntitle: 404\ndate: 2026-03-04\nsummary: no\n---\n", ("404", "no", "2026-03-04")),
        ("---\ntitle: null\nsummary: ~\ndate:\n---\n", ("Words", None, None)),
        ('---\ntitle: "\\ud83e\\udd80\\ud800 \\0x"\n---\n', ("🦀\ufffd x", None, None)),
        ("---\ntitle: !!bool foo\n---\n", ("foo", None, None)),
        ("---\ntitle: !!int ''\nx: !!float '_'\n---\n", ("Words", None, None)),
        ("---\ntitle: !!timestamp x\n---\n", ("x", None, None)),
        ("---\ntitle: x\ny: !!python/object/apply:os.system ['false']\n---\n", ("x", None, None)),
        ("", ("Words", None, None)),
    ],
)  # fmt: skip
def test_front_matter(front: str, expected: tuple[str, str | None, str | None]) -> None:
    document = markdown(front + "# Words\n\nof water")
    assert (document.title, document.description, document.published_on) == expected
    assert [b.text for b in document.blocks] == ["# Words", "of water"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\n\nwords\n\n---\n\nmore", ["words", "more"]),
        ("---\n\nIntro text: yes\n\n---\n\nbody", ["Intro text: yes", "body"]),
        ("---\nSome words\n\nof: water\n\n---\n\nbody", ["Some words", "of: water", "body"]),
        ("---\nNote: read this: carefully\n\nMore\n\n---\n\nbody", ["Note: read this: carefully", "More", "body"]),
        ("---\ntags: [a\n\n---\n\nbody", ["tags: [a", "body"]),
        ("---\ntags: " + "[" * 15_000 + "\n\n---\n\nbody", ["tags: " + "[" * 15_000, "body"]),
        ("---\nNote: long\n" + "x" * 20_000 + "\n\n---\n\nbody", ["Note: long " + "x" * 20_000, "body"]),
        ("+++\n\nwords\n\n+++\n\nbody", ["+++", "words", "+++", "body"]),
    ],
)
def test_what_only_looks_like_front_matter_is_text(text: str, expected: list[str]) -> None:
    assert [b.text for b in markdown(text).blocks] == expected


YAML = """title date : - ~ ' [ ] { } ! !!int !!bool !!float !!timestamp !!binary !!set !!omap !!pairs !!merge & * << ?
| > # % @ 1 _ . 0x 1e9 foo "\\ud800" "\\0" """.split()


@given(st.lists(st.sampled_from([*YAML, " ", "\n", "\n  ", "\ntitle: "])))
def test_no_front_matter_fails_the_page(parts: list[str]) -> None:
    document = markdown("---\ntitle: " + "".join(parts) + "\n---\nwords")
    assert "words" in document.text
    assert msgspec.json.encode(document.title)


def test_lists_keep_all_their_levels() -> None:
    text = "\n".join("  " * level + f"- level {level}" for level in range(40))
    assert [line.strip() for line in markdown(text).text.split("\n")] == [line.strip() for line in text.split("\n")]


@pytest.mark.parametrize("content_type", ["text/html", "text/markdown", "text/plain"])
def test_what_has_no_title_has_its_file_s_name_and_is_one_content_under_all_names(content_type: str) -> None:
    one, other = (extract(f"https://h.example/a/{name}", b"some words", content_type) for name in ("x%20y.htm", "z"))
    assert (one.title, other.title) == ("x y.htm", "z")
    assert one.content_hash == other.content_hash
