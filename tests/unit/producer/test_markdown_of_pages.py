"""What each construct of a page becomes, and what of its frame is left out: one table for each."""

import pytest
from lxml import etree

from producer.extract import extract

FILLER = "The gate holds the water back until the miller wants it. " * 8


def texts(body: str, head: str = "") -> list[str]:
    """Blocks of a main part, the filler left out."""
    html = f"<!DOCTYPE html><head>{head}</head><body><main>{body}<p>{FILLER}</p></main></body>"
    document = extract("https://h.example/a.html", html.encode(), "text/html; charset=utf-8")
    return [block.text for block in document.blocks if "The gate holds" not in block.text]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<div class='admonition note'><p class=admonition-title>Note</p><p>a</p><p>b</p></div>", ["> **Note** "
         "a\n>\n> b"]),
        ("<div class='admonition'><p class=admonition-title>Mind you:</p><p>a</p></div>", ["> **Mind you** a"]),
        ("<div class='theme-admonition theme-admonition-tip alert'><div class=admonitionHeading_G>My tip</div>"
         "<div class=admonitionContent_B><p>a</p></div></div>", ["> **My tip** a"]),
        ("<div class='markdown-alert markdown-alert-warning'><p class=markdown-alert-title>Warning</p><p>a</p></div>",
         ["> **Warning** a"]),
        ("<div class='custom-block danger'><p class=custom-block-title>DANGER</p><p>a</p></div>", ["> **DANGER** a"]),
        ("<div class='admonitionblock note'><table><tr><td class=icon><div class=title>Note</div></td>"
         "<td class=content>a</td></tr></table></div>", ["> **Note** a"]),
        ("<div class=warning><h3 class=title>Warning</h3><p>a</p></div>", ["> **Warning** a"]),
        ("<dl class='section note'><dt>Note</dt><dd>a</dd></dl>", ["> **Note** a"]),
        ("<details class=tip><summary>Short way</summary><p>a</p></details>", ["> **Short way** a"]),
        ("<div class='alert alert-info'>a</div>", ["> **Info** a"]),
        ("<p class=note>Note: a</p>", ["> Note: a"]),
        ("<div class='admonition note'><p>a</p><ul><li>b</li></ul><pre>c</pre><p>d</p></div>",
         ["> **Note** a\n>\n> - b", "```\nc\n```", "> d"]),
        ("<div class='admonition note'><pre>c</pre></div>", ["> **Note**", "```\nc\n```"]),
        ("<div class='admonition note'></div><p>a</p>", ["a"]),
        ("<ul><li>x<div class='admonition tip'><p class=admonition-title>Tip</p><p>a</p></div></li></ul>",
         ["- x", "> **Tip** a"]),
        ("<div class=footnote-tips><p>a</p></div><span class=note>b</span>", ["a", "b"]),
    ],
)  # fmt: skip
def test_admonitions_are_quotes_with_their_label(body: str, expected: list[str]) -> None:
    assert texts(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<blockquote><p>a</p><p>b</p></blockquote><blockquote>c</blockquote>", ["> a\n>\n> b", "> c"]),
        ("<blockquote><ol><li>a</li><li>b</li></ol></blockquote>", ["> 1. a\n> 2. b"]),
        ("<ol><li>a</li><li value=7>b</li><li>c</li></ol>", ["1. a\n7. b\n8. c"]),
        ("<ol><li>a<ol><li>b<ul><li>c</li></ul></li></ol></li><li>d</li></ol>", ["1. a\n  1. b\n    - c\n2. d"]),
        ("<dl><dt><code>-v</code></dt><dd>a<ul><li>b</li></ul></dd></dl>", ["-v", "a", "- b"]),
        ("<details><summary>More</summary><p>a</p></details>", ["More", "a"]),
        ("<aside class='footnote brackets'><span class=label>[1]</span><p>a</p></aside>", ["[1] a"]),
        ("<dl class='footnote brackets'><dt><span>[</span>2<span>]</span></dt><dd><p>a</p></dd></dl>", ["[2] a"]),
        ("<div class=fn><sup><a href='#fnt__1'>1)</a></sup> <div class=content>a</div></div>", ["1) a"]),
        ("<p>a<sup><a href='#fn1'>1</a></sup></p><ol><li id=fn1>b <a class=footnote-back href='#r'>↩</a></li></ol>",
         ["a1", "1. b"]),
        ("<p>a <a href=/x>the mill</a> b</p>", ["a the mill b"]),
        ("<p><img src=a alt='A mill wheel'><img class=icon alt=warning><img class='avatar__photo x-avatar' "
         "alt='Ann Lee'></p>",
         ["A mill wheel"]),
        ("<p>a <img class=math src=m.png alt=x> b</p>", ["a x b"]),
    ],
)  # fmt: skip
def test_quotes_lists_footnotes_links_and_pictures(body: str, expected: list[str]) -> None:
    assert texts(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>x <span class=katex><span class=katex-mathml><math><semantics><mi>a</mi><annotation "
         "encoding='application/x-tex'>a^2</annotation></semantics></math></span><span class=katex-html "
         "aria-hidden=true>a2"
         "</span></span></p>", ["x a^2"]),
        ("<p>x <span class=MathJax_Preview>a2</span><script type='math/tex'>a^2</script> y</p>", ["x a^2 y"]),
        ("<p>x <span class='mwe-math-mathml-inline mwe-math-mathml-a11y' style='display: none;'><math alttext='{a^2}'>"
         "<mi>a</mi></math></span><img aria-hidden=true class=mwe-math-fallback-image-inline alt='{a^2}'> "
         "y</p>", ["x {a^2} y"]),
        ("<p>x <math><mi>a</mi><mo>+</mo><mi>b</mi></math></p>", ["x a+b"]),
        ("<p>x <span class='math notranslate'>\\(a^2\\)</span></p>", ["x \\(a^2\\)"]),
    ],
)  # fmt: skip
def test_formulas_stand_there_once_as_tex_where_the_page_has_it(body: str, expected: list[str]) -> None:
    assert texts(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<table><thead><tr><th>k<th>v</thead><tr><td>a<td>b</table>", ["| k | v |", "| --- | --- |", "| a | b |"]),
        ("<table><tr><td>a<td>b<tr><td>c<td>d</table>", ["| a | b |", "| c | d |"]),
        ("<table><caption>C</caption><tr><th>k<th>v<tr><td>a<td>b</table>",
         ["C", "", "| k | v |", "| --- | --- |", "| a | b |"]),
        ("<table><tr><th>k<th>v<th>w<tr><td rowspan=2>a<td>b<td>c<tr><td>d<td>e<tr><td>f<td>g<td>h</table>",
         ["| k | v | w |", "| --- | --- | --- |", "| a | b | c |", "| a | d | e |", "| f | g | h |"]),
        ("<table><tr><th>k<th>v<tr><td colspan=2>a<tr><td>b<td>c</table>",
         ["| k | v |", "| --- | --- |", "| a |  |", "| b | c |"]),
        ("<table><thead><tr><th rowspan=2>k<th colspan=2>size<tr><th>min<th>max</thead><tr><td>a<td>1<td>2</table>",
         ["| k | size min | size max |", "| --- | --- | --- |", "| a | 1 | 2 |"]),
        ("<table><tr><td rowspan=3>a<td rowspan=2>b<td>c<tr><td>d<tr><td>e<td>f</table>",
         ["| a | b | c |", "| a | b | d |", "| a | e | f |"]),
        ("<table><tr><th>k<th>v<tr><td><code>a|b</code><td><pre>x = 1</pre></table>",
         ["| k | v |", "| --- | --- |", "| `a\\|b` | `x = 1` |"]),
        ("<table><tr><th>k<th>v<tr><td>a<td><ul><li>b</li><li>c</li></ul></table>",
         ["| k | v |", "| --- | --- |", "| a | b c |"]),
        (f"<table><tr><td rowspan=2>{'a' * 201}<td>b<tr><td>c</table>", [f"| {'a' * 201} | b |", "|  | c |"]),
        ("<table><tr><td rowspan=99999 colspan=99999>a<td>b<tr><td>c</table>",
         ["| a |" + "  |" * 48 + " b |", "| a |" + "  |" * 48 + " c |"]),
    ],
)  # fmt: skip
def test_tables_keep_their_columns(body: str, expected: list[str]) -> None:
    assert texts(body) == ["\n".join(expected)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<pre class='language-js'><code><div class=ec-line><div class=code>a</div></div><div "
         "class=ec-line>b</div></code></pre>",
         "```js\na\nb\n```"),
        ("<pre class='prettyprint linenums'><ol><li>a</li><li>b</li></ol></pre>", "```\na\nb\n```"),
        ("<pre><code class='hljs language-rust'><span class=boring>fn main() {\n</span>a\n<span "
         "class=boring>}\n</span></code></pre>",
         "```rust\na\n```"),
        ("<div class=highlight><table class=highlighttable><tr><td class=linenos><pre>1\n2</pre></td>"
         "<td class=code><div class=highlight><pre>a\nb</pre></div></td></tr></table></div>", "```\na\nb\n```"),
        ("<div class=chroma><pre><code class=language-go data-lang=go><span class=line><span "
         "class=ln>1</span><span class=cl>a\n"
         "</span></span><span class=line><span class=ln>2</span><span class=cl>b</span></span></code></pre></div>",
         "```go\na\nb\n```"),
        ("<div class='codeBlockContainer language-jsx'><pre><code><span class=token-line>a<br></span>"
         "<span class=token-line>b<br></span></code></pre><div class=buttonGroup><button>Copy</button></div></div>",
         "```jsx\na\nb\n```"),
        ("<div class=example-wrap><pre class='rust rust-example-rendered'><code>a</code></pre><a "
         "class=test-arrow href=x>Run</a></div>",
         "```rust\na\n```"),
    ],
)  # fmt: skip
def test_code_keeps_its_lines_and_language_and_nothing_else(body: str, expected: str) -> None:
    assert texts(body) == [expected]


@pytest.mark.parametrize(
    "body",
    [
        ("<div class=tabs-container><ul role=tablist><li role=tab>npm</li><li role=tab>yarn</li></ul>"
         "<div><div role=tabpanel><p>a</p></div><div role=tabpanel hidden><p>b</p></div></div></div>"),
        ("<div class='tabbed-set tabbed-alternate' data-tabs='1:2'><input type=radio><input type=radio><div "
         "class=tabbed-labels><label>npm</label>"
         "<label>yarn</label></div><div class=tabbed-content><div class=tabbed-block><p>a</p></div>"
         "<div class=tabbed-block><p>b</p></div></div></div>"),
    ],
)  # fmt: skip
def test_every_tab_stays_under_its_label(body: str) -> None:
    assert texts(body) == ["**npm**", "a", "**yarn**", "b"]


@pytest.mark.parametrize(
    "frame",
    [
        "<nav>x</nav>",
        "<div role=navigation>x</div>",
        "<footer>x</footer>",
        "<div class=cookie-consent>x</div><div class=cc-window>x</div>",
        "<ol class=breadcrumb><li>x</li></ol><div class=breadcrumbs__item>x</div>",
        "<a href=/e>Edit this page</a><p><a href=/e> Edit on\n GitHub </a></p>",
        "<a href=/i>Report an issue</a><a href='#top'>Back to top</a>",
        "<div class=related-posts>x</div><div class=relations>x</div><div class=recommended-stories>x</div>",
        "<div class=social_share>x</div><div class=ad-slot>x</div>",
        "<div id=comments>x</div><div class=comment-list>x</div>",
        "<a rel=prev href=/p>Before</a><a rel=next href=/n>After</a><div class=pagination-nav>x</div>",
        "<a href='#a'>¶</a><a href='#a'>#</a><a class=hash-link href='#a'>Direct link</a>",
        "<button>Copy</button><div class=copybtn>Copy</div>",
        "<div hidden>x</div><div aria-hidden=true>x</div><div style='color:red;display:none'>x</div>",
        "<div class='hidden'>x</div><span class=sr-only>x</span><div class=d-none>x</div>",
        "<div role=tooltip>x</div><dialog>x</dialog>",
        "<div class=toc>x</div><div id=siteSub>x</div>",
    ],
)
def test_the_frame_is_left_out(frame: str) -> None:
    assert texts(f"<h2>Kept</h2>{frame}<p>kept</p>") == ["## Kept", "kept"]


@pytest.mark.parametrize(
    "content",
    [
        "<p>Press <a href=/e>edit</a> to go on</p>",
        "<div class='hidden md:block'>kept</div>",
        "<div class='d-none d-md-block'>kept</div>",
        "<section id=footer>kept</section>",
        "<section id=comments>kept</section>",
        "<div class=section id=comments>kept</div>",
        "<div class='adaptive shared'>kept</div>",
        "<p>The <a href='/x'>next</a> step</p>",
        "<p>If it fails, <a href=/b>report a bug</a> and see <a href='#i'>index</a> at <a href='#t'>top</a>.</p>",
        "<p>As <a rel=prev href=/p>the chapter before</a> says</p>",
        "<p>Press <button>Save</button> to store</p>",
        "<h3><button aria-expanded=false>How do I install it?</button></h3>",
        "<p>A <span class=tooltip>weir</span> is a dam</p>",
        f"<table><tr>{'<td>x' * 60}</table>",
    ],
)
def test_what_only_looks_like_frame_stays(content: str) -> None:
    words = "".join(etree.fromstring(content, etree.HTMLParser()).itertext())
    (text,) = texts(content)
    assert "".join(filter(str.isalnum, text)) == "".join(filter(str.isalnum, words))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<h3><button aria-controls=a>How?</button></h3><div id=a hidden>Run pip.</div>", ["### How?", "Run pip."]),
        ("<h3>Install <button>Copy</button></h3>", ["### Install"]),
        ("<p>The sign <a href=/hash>#</a> begins a comment</p>", ["The sign # begins a comment"]),
        ("<p>2<sup>32</sup> and 10<sup>-3</sup>, the 1<sup>st</sup></p>", ["2^32 and 10^-3, the 1st"]),
        ("<table><tr><td>a<td>b<td hidden>c<tr style='display:none'><td>d<td>e</table>", ["| a | b |"]),
    ],
)
def test_what_is_shown_is_read_as_it_is_shown(content: str, expected: list[str]) -> None:
    assert texts(content) == expected


@pytest.mark.parametrize(
    "body",
    [
        "<div id=top>{}</div>",
        "<div class='page sidebar'>{}</div>",
        "<form id=aspnetForm><div>{}</div></form>",
        "<main><script>" + "x = 1;" * 200 + "</script></main><div>{}</div>",
    ],
)
def test_names_of_the_frame_around_everything_do_not_empty_a_page(body: str) -> None:
    html = "<!DOCTYPE html><body>" + body.format(f"<div>{FILLER}</div>") + "</body>"
    assert "The gate holds" in extract("https://h.example/a.html", html.encode(), "text/html; charset=utf-8").text


ROW = "<a href=/p>The wheel</a> | <a href=/u>Up</a> | <a href=/n>The race</a>"


@pytest.mark.parametrize(
    "body",
    [
        f"<p>{ROW}</p>{{}}",
        f"{{}}<hr><p>{ROW}</p>",
        f"<div>{{}}<div><table><tr><td>{ROW}</td></tr></table></div></div>",
        f"<div>{ROW}</div>{{}}<center>{ROW}</center>",
    ],
)
def test_a_row_of_links_before_or_behind_the_content_is_left_out(body: str) -> None:
    html = f"<main>{body.format(f'<p>{FILLER}</p>')}</main>".encode()
    assert [block.text for block in extract("https://h.example/a.html", html, "text/html").blocks] == [FILLER.strip()]


@pytest.mark.parametrize(
    "body",
    [
        f"{{}}<h2>See also</h2><p>{ROW}</p>",
        f"{{}}<div><h2>See also</h2></div><div><p>{ROW}</p></div>",
        f"{{}}<p>Go on with {ROW}</p>",
        "{}<ul><li><a href=/p>The wheel</a></li><li><a href=/n>The race</a></li></ul>",
        f"<p>a</p><p>{ROW}</p>{{}}",
        "{}<p><a href=/p>The wheel</a></p>",
    ],
)
def test_links_that_belong_to_the_text_stay(body: str) -> None:
    html = f"<main>{body.format(f'<p>{FILLER}</p>')}</main>".encode()
    assert "The wheel" in extract("https://h.example/a.html", html, "text/html").text


ENTRIES = "<li><a href='#a'>One</a></li><li><a href='#b'>Two</a></li><li><a href='#c%20d'>Three</a></li>"
PLACES = "<h2 id=a>One</h2><p>1</p><h2 id=b>Two</h2><p>2</p><h2 id='c d'>Three</h2><p>3</p>"


@pytest.mark.parametrize(
    "contents",
    [
        f"<ul>{ENTRIES}</ul>",
        f"<h2>Contents</h2><ul>{ENTRIES}</ul>",
        f"<div><p><b>On this page:</b></p></div><div><ol>{ENTRIES}</ol></div>",
        f"<ul>{ENTRIES.replace('</li><li>', '<ul><li>', 1)}</ul></ul>",
        "<dl><dt><a href='#a'>One</a><dd><dt><a href='#b'>Two</a><dd><dt><a href='#c d'>Three</a><dd></dl>",
    ],
)
def test_the_page_s_own_table_of_contents_is_left_out(contents: str) -> None:
    assert texts(contents + PLACES) == ["## One", "1", "## Two", "2", "## Three", "3"]


@pytest.mark.parametrize(
    "entries",
    [
        "<li><a href='#a'>One</a></li><li><a href='#b'>Two</a></li>",
        "<li><a href='#x'>One</a></li><li><a href='#y'>Two</a></li><li><a href='#z'>Three</a></li>",
        "<li><a href='/p#a'>One</a></li><li><a href='/q'>Two</a></li><li><a href='/r'>Three</a></li>",
        ENTRIES.replace("</a>", "</a>, which says much more than its link does"),
    ],
    ids=["too few", "no such places", "other pages", "described"],
)
def test_other_lists_of_links_stay(entries: str) -> None:
    assert any(text.startswith("- One") for text in texts(f"<ul>{entries}</ul>" + PLACES))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<div id=header><h1>git-x(1) Manual Page</h1><p>git-x - does x</p></div><div id=content><h2>A</h2>{}</div>",
         ["# git-x(1) Manual Page", "git-x - does x", "## A"]),
        ("<div class=header><div class=headertitle><div class=title>The x class</div></div></div>"
         "<div class=contents><h1>A</h1>{}</div>", ["# The x class", "# A"]),
        ("<header><h1>git-x</h1></header><article><h2>A</h2>{}</article>", ["# git-x", "## A"]),
        ("<header><h1>Our company</h1></header><article><h2>A</h2>{}</article>", ["## A"]),
        ("<h1>git-x</h1><article><h1>git-x now</h1>{}</article>", ["# git-x now"]),
        ("<nav><h1>git-x</h1></nav><article><h2>A</h2>{}</article>", ["## A"]),
    ],
)  # fmt: skip
def test_a_heading_outside_the_main_part_comes_first(body: str, expected: list[str]) -> None:
    html = f"<title>git-x(1)</title><body>{body.format(f'<p>{FILLER}</p>')}</body>"
    document = extract("https://h.example/a.html", html.encode(), "text/html; charset=utf-8")
    assert [block.text for block in document.blocks if "The gate holds" not in block.text] == expected


def test_man2html_s_frame_is_left_out() -> None:
    html = (
        "<title>Man page of x</title><body><h1>x</h1>Section: Calls (2)<br>Updated: 2022<br><a href='#index'>Index</a> "
        f"<a href='../index.html'>Return to Main Contents</a><hr><a name=lbAB>&nbsp;</a><h2>NAME</h2>x - does "
        f"x<p>{FILLER}<p><hr>"
        "<a name=index>&nbsp;</a><h2>Index</h2><dl><dt><a href='#lbAB'>NAME</a><dd><dt><a href='#lbAB'>A</a><dd><dt>"
        "<a href='#lbAB'>B</a><dd></dl><hr>This document was created by <a "
        "href='/cgi-bin/man/man2html'>man2html</a>, using the "
        "manual pages.<br>Time: 1:00</body>"
    )
    blocks = extract("https://h.example/a.html", html.encode(), "text/html; charset=utf-8").blocks
    texts = [block.text for block in blocks if "The gate holds" not in block.text]
    assert texts == ["# x", "Section: Calls (2)\nUpdated: 2022", "## NAME", "x - does x"]
