"""Sphinx' plain text, back to HTML."""

from html import escape
from textwrap import dedent

import lxml.html
import pytest

from headrace.sample.inline import Inline
from headrace.sample.markup import to_html
from headrace.sample.pages import ROOT, pages, path_of, related


def html(text: str) -> str:
    return to_html(dedent(text).strip("\n"), Inline({"The for statement": "/for"}, {"while": "/while"}))


def test_headings_by_their_underlines() -> None:
    text = """
        The "with" statement
        ********************

        Deeper
        ======

        Deepest
        -------
        """
    assert html(text).splitlines() == [
        "<h1>The <code>with</code> statement</h1>",
        "<h2>Deeper</h2>",
        "<h3>Deepest</h3>",
    ]


def test_a_paragraph_is_one_line_and_wrapped_words_are_joined() -> None:
    assert html("A post-\nmortem  look at\n“this”.") == "<p>A post-mortem look at “this”.</p>"


def test_code_follows_a_colon_and_keeps_its_lines() -> None:
    text = """
        The following code:

           if a < b:

               go()

        is fine.
        """
    expected = f"<pre><code>{escape('if a < b:')}\n\n    go()</code></pre>"
    assert html(text) == f"<p>The following code:</p>\n{expected}\n<p>is fine.</p>"


def test_a_grammar_is_code_without_a_colon() -> None:
    assert "<pre><code>name ::= other" in html("A rule.\n\n   name ::= other\n            | none")


def test_lists_hold_paragraphs_and_code() -> None:
    text = """
        * one
          goes on

        * two:

             code()

        1. first

        2. second
        """
    assert html(text) == (
        "<ul><li><p>one goes on</p></li><li><p>two:</p>\n<pre><code>code()</code></pre></li></ul>\n"
        "<ol><li><p>first</p></li><li><p>second</p></li></ol>"
    )


def test_definitions_and_notes() -> None:
    text = """
        object.__init__(self)

           Called after creation.

           Note:

             Mind this.
        """
    assert html(text) == (
        "<dl><dt><code>object.__init__(self)</code></dt><dd><p>Called after creation.</p>\n"
        '<aside class="note"><p><strong>Note:</strong></p><p>Mind this.</p></aside></dd></dl>'
    )


def test_a_grid_table() -> None:
    text = """
        +------+---------+
        | Name | Meaning |
        |======|=========|
        | "a"  | one and |
        |      | two     |
        +------+---------+
        """
    assert html(text) == (
        "<table><tr><th>Name</th><th>Meaning</th></tr><tr><td><code>a</code></td><td>one and two</td></tr></table>"
    )


def test_lists_and_tables_after_a_colon_are_no_code() -> None:
    text = """
        The types are:

           +---+
           | a |
           +---+

        or:

           * one
        """
    assert html(text) == (
        "<p>The types are:</p>\n<table><tr><td>a</td></tr></table>\n<p>or:</p>\n<ul><li><p>one</p></li></ul>"
    )


def test_literals_emphasis_and_the_first_mention_as_a_link() -> None:
    assert html('A *new* **PEP** "a*b*c" in "while" and "while"; see The for statement.') == (
        "<p>A <em>new</em> <strong>PEP</strong> <code>a*b*c</code> in "
        '<a href="/while"><code>while</code></a> and <code>while</code>; see <a href="/for">The for statement</a>.</p>'
    )


def test_there_are_enough_pages_and_the_index_links_to_all() -> None:
    index = lxml.html.document_fromstring(pages()[ROOT].html)
    linked = {str(link) for link in index.xpath("//main//a/@href")}
    assert len(pages()) > 60
    assert linked == set(pages()) - {ROOT}


@pytest.mark.parametrize("path", list(pages()))
def test_every_page_is_whole(path: str) -> None:
    page = lxml.html.document_fromstring(pages()[path].html)
    (main,) = page.xpath("//main")
    text = main.text_content()
    assert page.xpath("//main/h1")
    assert len(text) > 100
    assert set(page.xpath("//main//a/@href")) <= set(pages())
    assert not [line for line in text.splitlines() if set(line) == {"*"} and len(line) > 3]


def test_related_topics_come_from_pydoc() -> None:
    assert {"break", "continue", "while"} <= set(related("for"))
    assert path_of("for") == "/reference/for.html"
