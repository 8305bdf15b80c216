"""Pages made to exhaust a reader: each is done within a few seconds, in bounded memory, with or without a result.

Each runs through the whole of `process_page` on inputs of megabytes; the limit leaves room for a busy machine.
"""

import time

import pytest

from producer.work import PageInput, process_page
from tests.support.memory import growth

LIMIT_S = 10.0
MAX_GROWTH_KIB = 400 * 1024
MB = 1_000_000

LOCAL = b"<h2 id=a%(n)d>x</h2><ul>" + b"<li><a href='#a%(n)d'>x</a>" * 3 + b"</ul>"
NEST = b"<main>%s" + b"<i></i>" * 50_000 + b"<h1>h</h1><p>x"
"""Whatever asks each of nested elements for something far inside reads the page as often."""
PAGES = {
    "elements": b"<p>" * (3 * MB),
    "deep": b"<div>" * MB,
    "deep_inline": b"<b><i>" * MB,
    "deep_lists": b"<ul><li>x" * (MB // 2),
    "deep_tables": b"<table><tr><td>x" * (MB // 4),
    "deep_quotes": b"<blockquote>x" * (MB // 4),
    "unclosed_attribute": b'<a href="' + b"x" * (9 * MB),
    "attributes_below_the_limit": b"<p " + b"".join(b"a%d=1 " % n for n in range(4_900)) + b">x",
    "huge_attribute": b"<p class='" + b"nav " * (2 * MB) + b"'>x",
    "classes": b"".join(b"<p class=c%d>x" % n for n in range(200_000)),
    "one_word": b"<main><p>" + b"a" * MB,
    "one_line": b"<main><p>" + b"word " * (9 * MB // 5),
    "spaces": b"<main><pre>x" + b" " * (4 * MB) + b"x",
    "blank_lines": b"<main><pre>x" + b"\n" * (9 * MB) + b"x",
    "no_break_spaces": b"<main><p>x" + b"&nbsp;" * MB + b"x",
    "breaks": b"<main><p>x" + b"<br>" * 250_000,
    "references": b"<main><p>" + b"&amp;" * (2 * MB),
    "comments": b"<!--" * (2 * MB) + b"<p>x",
    "backticks": b"<main><pre>" + b"`" * MB,
    "headings": b"<main>" + b"<h1>x" * 150_000,
    "nested_headings": b"<main>" + b"<h1>x<h2>y" * 100_000,
    "long_heading": b"<main><h1>" + b"word " * MB,
    "title": b"<title>" + b"word " * MB + b"</title><main><p>x",
    "links": b"<main>" + b"".join(b"<a href=%d>x</a>" % n for n in range(140_000)),
    "long_link": b"<main><a href=/" + b"a/../" * MB + b">x</a>",
    "columns": b"<main><table><tr>" + b"<td>x" * 200_000,
    "rows": b"<main><table>" + b"<tr><td>x<td>y" * 90_000,
    "entities": b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '" + b"&a;" * 1000 + b"'>]><p>" + b"&b;" * 100_000,
    "plain_dots": b"<main><p>" + b". " * MB,
    "emoji": b"<main><p>" + "🦀".encode() * MB,
    "refresh": b"<meta http-equiv=refresh content=" + b"1" * MB + b"><p>x",
    "long_manual": b"<main>" + b"".join(LOCAL % {b"n": n} for n in range(9_000)),
    "empty_siblings": b"<main>" + (b"<i></i>" * 400 + LOCAL % {b"n": 1}) * 500,
    "empty_code_lines": b"<main><pre>" + b"<div class=line></div>" * 100_000,
    "names": b"<main>" + b"".join(b"<a id=i%d name=n%d class=c%d>x</a>" % (n, n, n) for n in range(80_000)),
    "nested_heads": NEST % (b"<header>" * 1_000),
    "nested_notes": NEST % (b"<div class=note>" * 1_000),
    "nested_links": NEST % (b"<div><a href=/x>" * 900),
    "buttons": b"<main><h1>" + b"<button>x</button>" * 80_000,
    "exponents": b"<main><p>" + b"2<sup>3</sup>" * 80_000,
    "nested_tabs": NEST % (b"<div role=tablist>" * 1_000),
}
ATTRIBUTES = {
    "spaced": b"<p " + b"".join(b"a%d=1 " % n for n in range(MB // 2)) + b">x",
    "quoted": b"<p " + b"".join(b"a%d=''" % n for n in range(40_000)) + b">x",
    "slashes": b"<p " + b"".join(b"a%d/" % n for n in range(40_000)) + b">x",
    "behind_less": b"<p a='<' " + b"".join(b"a%d " % n for n in range(40_000)) + b">x",
    "behind_greater": b"<p a='>' " + b"".join(b"a%d " % n for n in range(40_000)) + b">x",
    "behind_a_quote": b"<p a\"b ' " + b"".join(b"a%d " % n for n in range(40_000)) + b">x",
}
"""libxml2 takes 20 s and more for each."""


@pytest.mark.parametrize("name", PAGES)
def test_a_hostile_page_ends_within_its_limits(name: str) -> None:
    started = time.process_time()
    with growth() as grown:
        output = process_page(PageInput("https://h.example/x", PAGES[name], "text/html"))
    assert time.process_time() - started < LIMIT_S
    assert grown.kib < MAX_GROWTH_KIB
    assert all(chunk.tokens <= 512 for chunk in output.chunks)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_tag_with_endless_attributes_is_refused(name: str) -> None:
    started = time.process_time()
    output = process_page(PageInput("https://h.example/x", ATTRIBUTES[name], "text/html"))
    assert (output.failure, output.limited) == ("a tag with more than 5000 attributes", True)
    assert time.process_time() - started < LIMIT_S


def test_many_attributes_on_many_tags_are_no_matter() -> None:
    body = b"<main>" + b"<p a=1 b=2 c='>' d>word</p>" * 5_000
    assert process_page(PageInput("https://h.example/x", body, "text/html")).failure is None
