"""From bytes to blocks: what is kept, what is dropped, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.content.document import BlockKind, Document, NotExtractable
from producer.extract import MAX_ELEMENTS, extract

URL = "https://h.example/docs/page.html"
PROSE = "<p>" + "The gate holds the water back until the miller wants it. " * 8 + "</p>"


def page(body: str, head: str = "<title>T</title>", **arguments: str) -> Document:
    html = f"<!DOCTYPE html><html lang=en><head>{head}</head><body>{body}</body></html>"
    return extract(URL, html.encode(), "text/html; charset=utf-8", **arguments)


def texts(body: str) -> list[str]:
    """Blocks of a main part, the filler left out."""
    return [b.text for b in page(f"<main>{body}{PROSE}</main>").blocks if "The gate holds" not in b.text]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<h2>A <em>b</em><a class=headerlink href=#a>¶</a></h2>", ["## A b"]),
        ("<p>one <code>two</code>\n three<br>four</p>", ["one `two` three\nfour"]),
        ("<p>a&nbsp;b&#8203;c&shy;d</p>", ["a bcd"]),
        ("text <div>in</div> pieces", ["text", "in", "pieces"]),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", ["- a\n- b\n  - c\n- d"]),
        ("<ol start=3><li>a</li><li>b</li></ol>", ["3. a\n4. b"]),
        ("<ul><li><p>a</p><p>b</p></li></ul>", ["- a\n  b"]),
        ("<ol><li>do<pre>x</pre></li><li>then</li></ol>", ["1. do", "```\nx\n```", "2. then"]),
        ("<dl><dt>term</dt><dd>means <b>this</b></dd></dl>", ["term", "means this"]),
        ("<blockquote><p>said</p></blockquote>", ["> said"]),
        (
            '<pre><code class="language-python">def f():\n    pass\n</code></pre>',
            ["```python\ndef f():\n    pass\n```"],
        ),
        (
            '<div class="highlight-rust notranslate"><div class="highlight"><pre>x</pre></div></div>',
            ["```rust\nx\n```"],
        ),
        ("<pre>a<br>b</pre>", ["```\na\nb\n```"]),
        ("<pre>\n\n```\ninner\n```</pre>", ["````\n```\ninner\n```\n````"]),
        ("<div class=fragment><div class=line>a</div><div class=line> b</div></div>", ["```\na\n b\n```"]),
        (
            "<table><tr><th>k</th><th>v</th></tr><tr><td>a|b</td><td><p>1</p> 2</td></tr></table>",
            ["| k | v |\n| --- | --- |\n| a\\|b | 1 2 |"],
        ),
        ("<table role=presentation><tr><td>a</td><td>b</td></tr></table>", ["a", "b"]),
        ('<p>see <img src=x alt="the wheel"> there</p>', ["see the wheel there"]),
        ('<p>x <math alttext="a^2"><mi>a</mi></math></p>', ["x a^2"]),
        ("<aside class='admonition note'><p>Careful</p></aside>", ["> **Note** Careful"]),
        ("<aside><p>advert</p></aside><nav>n</nav><footer>f</footer><script>s</script><style>t</style>", []),
        ("<div class='breadcrumbs'>b</div><div hidden>h</div><p style='display: none'>n</p><form>q</form>", []),
        ("<header><h1>Kept</h1></header><header>dropped</header>", ["# Kept"]),
        ("<section id=search><p>kept</p></section>", ["kept"]),
        ("<p>a<script>x</script>b</p>", ["ab"]),
    ],
)
def test_blocks(body: str, expected: list[str]) -> None:
    assert texts(body) == expected


@pytest.mark.parametrize(
    ("container", "method"),
    [
        ("<main>{}</main>", "main"),
        ("<div role=main>{}</div>", "main"),
        ("<article>{}</article>", "article"),
        ("<div class='md-content'>{}</div>", "generator"),
        ("<div class='document'><div class='body'>{}</div></div>", "generator"),
        ("<div class='contents'>{}</div>", "generator"),
        ("<div class='chapter-level-extent'>{}</div>", "generator"),
        ("<div class='chapter'>{}</div>", "generator"),
        ("<div id='mw-content-text'>{}</div>", "generator"),
    ],
)
def test_the_main_part_is_found_by_the_page_s_own_semantics(container: str, method: str) -> None:
    frame = "<nav><a href=/x>Elsewhere</a></nav>{}<div class=sidebar>Side</div><footer>Foot</footer>"
    document = page(frame.format(container.format("<h1>Title</h1>" + PROSE)))
    assert document.method == method
    assert [b.kind for b in document.blocks] == [BlockKind.HEADING, BlockKind.PARAGRAPH]
    assert document.links == ["https://h.example/x"]


def test_a_page_without_a_frame_is_all_content() -> None:
    document = page("<h1>NAME</h1>" + PROSE)
    assert (document.method, len(document.blocks)) == ("whole", 2)


def test_readability_is_the_general_case() -> None:
    menu = "<div class=menu>" + "<a href=/x>menu</a> " * 30 + "</div>"
    document = page(menu + "<div class=post><h2>Post</h2>" + PROSE * 4 + "</div>")
    assert document.method == "readability"
    assert "menu" not in document.text
    assert "The gate holds" in document.text


def test_an_empty_shell_around_the_text_is_not_taken_for_the_main_part() -> None:
    document = page("<main>Loading</main>" + PROSE * 5)
    assert "The gate holds" in document.text


def test_a_small_box_named_as_generators_name_their_containers_is_not_the_main_part() -> None:
    menu = "<div class=menu>" + "<a href=/x>menu</a> " * 30 + "</div>"
    document = page(menu + f"<div class=content>{PROSE}</div><div class=post><h2>Post</h2>{PROSE * 6}</div>")
    assert document.method == "readability"


def test_small_articles_beside_the_content_are_not_the_main_part() -> None:
    cards = "".join(f"<article class=card>Teaser {n}. {'Read on in it. ' * 20}</article>" for n in range(3))
    document = page(f"<div class=content-area>{PROSE * 15}</div><div>{cards}</div>")
    assert document.text.count("The gate holds") == 15 * 8


def test_sibling_articles_and_sections_stay_together() -> None:
    frame = "<nav>Frame</nav><div id=wrap>{}</div>"
    for container in ("<article>{}</article>", "<div class=sect1>{}</div>"):
        document = page(frame.format(container.format(PROSE) * 3))
        assert len(document.blocks) == 3


def test_layout_tables_of_pydoc_become_sections() -> None:
    document = page(
        '<table class="section"><tr class="decor"><td class="section-title" colspan=3>&nbsp;<br>'
        '<strong class="bigsection">Functions</strong></td></tr><tr><td>&nbsp;</td><td class="singlecolumn">'
        "<dl><dt><strong>dump</strong>(obj)</dt><dd><span class=code>Writes&nbsp;it.<br>\n&nbsp;&nbsp;Twice.</span>"
        "</dd></dl></td></tr></table>"
    )
    assert [b.text for b in document.blocks] == ["## Functions", "dump(obj)", "Writes it.\n  Twice."]


def test_links_are_absolute_canonical_unique_and_in_order() -> None:
    document = page(
        "<nav><a href='b.html#x'>b</a></nav><main><a href='b.html'>b</a><a href='//o.example/?utm_source=q'>o</a>"
        "<a href='mailto:x@h.example'>m</a><a rel='nofollow noopener' href=n.html>n</a><a href='#top'>t</a>"
        "<a href='http://['>bad</a><a>none</a></main>" + PROSE,
        head="<base href='/other/'>",
    )
    top_of_base = "https://h.example/other/"
    assert document.links == ["https://h.example/other/b.html", "https://o.example/", top_of_base]


@pytest.mark.parametrize(
    ("title", "heading", "expected"),
    [
        ("json — JSON encoder — Python docs", "json — JSON encoder", "json — JSON encoder"),
        ("", "Only a heading", "Only a heading"),
        ("Other words", "A heading", "Other words"),
        ("Title &amp; more", "", "Title & more"),
    ],
)
def test_titles(title: str, heading: str, expected: str) -> None:
    h1 = f"<h1>{heading}</h1>" if heading else ""
    assert page(f"<main>{h1}{PROSE}</main>", head=f"<title>{title}</title>").title == expected


def test_language_and_canonical_url() -> None:
    document = page(PROSE, head="<link rel=canonical href='/docs/page.html?utm_source=x'>")
    assert (document.language, document.canonical_url) == ("en", URL)


def test_the_hash_follows_the_content_alone() -> None:
    one = page(f"<nav>a</nav><main>{PROSE}</main>")
    other = page(f"<nav>b</nav><main>{PROSE}</main><footer>2026</footer>")
    changed = page(f"<nav>a</nav><main>{PROSE}<p>More</p></main>")
    assert one.content_hash == other.content_hash != changed.content_hash


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n", "text/html", "PNG data"),
        (b"\x00\x01\x02\x03" * 100, "text/html", "binary data"),
        (b"{}", "application/json", "JSON that is no feed"),
        (b"a", "video/mp4", "content type video/mp4"),
        (b"<p>" * (MAX_ELEMENTS + 10), "text/html", "elements"),
        (b"<div>" * 50_000 + b"deep", "text/html", "nested deeper"),
        (b"x" * (10 * 1024 * 1024 + 1), "text/plain", "larger than"),
    ],
)
def test_what_holds_no_text_says_why(body: bytes, content_type: str, reason: str) -> None:
    with pytest.raises(NotExtractable, match=reason):
        extract(URL, body, content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<",
        b"<!-- only a comment -->",
        b"<html></html>",
        b"<frameset><frame src=a></frameset>",
        b"</p></div>",
        b"<a " + b"x" * 1_000_000 + b"=1>",
        b"<p>" + b"&amp;" * 100_000,
        b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><p>&a;</p>",
        b"<table><tr><td><table><tr>" * 200,
        b"<ul><li>" * 900,
        b"<svg><title>x</title></svg>",
        b"<p>nul\0byte</p>",
    ],
)
def test_broken_pages_give_a_clean_result(body: bytes) -> None:
    document = extract(URL, body, "text/html")
    assert "\0" not in document.text
    assert "root:" not in document.text


def test_end_tags_that_are_left_out_lose_no_text() -> None:
    names = "<h1>A</h1>" + "".join(f"<a name=x{n}>Paragraph {n} of text.\n<p>" for n in range(400))
    boxes = "".join(f"<div>Box {n}. <a href=/{n}>x</a>" for n in range(400))
    assert page(names).text.count("of text.") == 400
    assert len(page(boxes).links) == 400


@pytest.mark.parametrize(
    "control", ["\f", "\x01", "\ufffe", "\uffff", "&#1;", "&#x0001f;", "&#xFFFE;", "&#65535;", "&#12"]
)
def test_control_characters_break_no_page(control: str) -> None:
    words = f"o{control} ne"
    tabs = f"<div><div role=tablist><b role=tab>{words}</b></div><div role=tabpanel>{words}</div></div>"
    contents = f"<ul>{ENTRIES}</ul>{words}{ENTRIES_PLACES}"
    found = " ".join(texts(tabs + contents)).replace("**", "")
    assert found.count("o ne") == 3
    assert control not in found


ENTRIES = "".join(f"<li><a href='#{name}'>{name}</a>" for name in "abc")
ENTRIES_PLACES = "".join(f"<h2 id={name}>{name}</h2>{name}" for name in "abc")
PIECES = (
    "<main>", "<article class=card>", "<div role=tablist>", "<b role=tab>", "<div role=tabpanel hidden>", "</div>",
    "<ul>", "<li>", "<a href='#a'>", "<a href=/x rel=next>", "</a>", "</ul>", "<h2 id=a>", "</h2>", "<pre>", "</pre>",
    "<table>", "<tr>", "<td colspan=3>", "<th rowspan=2>", "</table>", "<dl>", "<dt>", "<dd>", "<div class='note'>",
    "<blockquote>", "<details>", "<summary>", "<button>", "<form>", "<header>", "<aside>", "<br>", "<img alt=words>",
    "<code>", "</code>", "<!--", "-->", "<script>", "</script>", "&#1;", "&#xFFFF;", "\f", "\x02", "\ufffe", "word ",
    "<div data-tabs=1><div class=tabbed-labels><label>", "<div class=tabbed-content><div>", "<a href='#' ", "'", ">",
    "\n",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_any_markup_gives_clean_blocks(pieces: list[str]) -> None:
    document = extract(URL, "".join(pieces).encode(), "text/html; charset=utf-8")
    assert all(block.text.strip() == block.text for block in document.blocks if block.kind is not BlockKind.CODE)
    assert not set(document.text) & set("\0\1\2\f\ufffe\uffff")


@given(st.binary(max_size=400))
def test_any_bytes_give_a_document_or_a_reason(body: bytes) -> None:
    try:
        document = extract(URL, b"<p>" + body, "text/html")
    except NotExtractable as refused:
        assert refused.reason.startswith("binary data")
        return
    assert all(block.text.strip() for block in document.blocks)
    assert not set(document.text) & set("\0\1\2\f\ufffe\uffff")


def test_plain_text() -> None:
    plain = extract("https://h.example/notes.txt", b"one\ntwo\n \n\nthree", "text/plain")
    assert (plain.title, [b.text for b in plain.blocks]) == ("notes.txt", ["one\ntwo", "three"])


def test_a_page_without_a_type_is_looked_at() -> None:
    assert extract(URL, b"<!doctype html><p>x", None).method == "whole"
    assert extract(URL, b"just words", None).method == "plain"
