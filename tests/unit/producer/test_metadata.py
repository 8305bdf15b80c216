"""What pages say of themselves, place by place."""

import json
from typing import Any

import pytest

from producer.content.document import Document
from producer.content.metadata import MAX_DESCRIPTION_CHARS, iso_date, language_tag, words
from producer.extract import extract


def page(head: str, body: str = "", html: str = "<html>") -> Document:
    markup = f"<!DOCTYPE html>{html}<head><title>T</title>{head}</head><body><p>words{body}</body></html>"
    return extract("https://h.example/", markup.encode(), "text/html; charset=utf-8")


def ld(value: Any, text: str | None = None) -> str:
    return f'<script type="application/ld+json">{text or json.dumps(value)}</script>'


ARTICLE = {"@type": "TechArticle", "datePublished": "2026-02-03", "description": "By JSON"}


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("<meta property=article:published_time content='2026-01-02T23:00:00-08:00'>" + ld(ARTICLE), "", "2026-01-02"),
        (ld(ARTICLE) + "<meta name=date content=2026-01-02>", "", "2026-02-03"),
        (ld({"@graph": [{"@type": "BreadcrumbList"}, ARTICLE]}), "", "2026-02-03"),
        (ld([{"@type": ["Thing", "WebPage"], "datePublished": "3 Feb 2026"}]), "", "2026-02-03"),
        (ld({"@type": "WebPage", "dateModified": "2026-05-06"}), "", "2026-05-06"),
        (ld({"@type": "Comment", "datePublished": "2026-05-06"}), "", None),
        (ld({"@type": "WebPage", "datePublished": 5, "dateModified": ["x"]}), "", None),
        (ld(None, "{not json") + ld(ARTICLE), "", "2026-02-03"),
        (ld(None, "[" * 50_000), "", None),
        ("<meta name=revised content=2026-05-06>", "<time pubdate datetime=2026-03-04>x</time>", "2026-03-04"),
        ("", "<span itemprop=datePublished>March 4, 2026</span>", "2026-03-04"),
        ("", "<meta itemprop=dateModified content=2026-03-04T05:06:07Z>", "2026-03-04"),
        ("", "<time datetime=2026-03-04>an event, not this page</time>", None),
        ("<meta name=DC.Date content=2026/03/04>", "", "2026-03-04"),
        ("<meta name=date content=yesterday><meta name=revised content=2026-03-04>", "", "2026-03-04"),
        ("<meta http-equiv=last-modified content='Wed, 04 Mar 2026 05:06:07 GMT'>", "", "2026-03-04"),
        ("", "", None),
    ],
)  # fmt: skip
def test_date_of_publication(head: str, body: str, expected: str | None) -> None:
    assert page(head, body).published_on == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("<meta name=description content='  By\n name '><meta property=og:description content=og>", "By name"),
        ("<meta name=description content=' '><meta property=og:description content=og>", "og"),
        ("<meta name=twitter:description content=tw>" + ld(ARTICLE), "tw"),
        (ld(ARTICLE), "By JSON"),
        ("", None),
    ],
)
def test_description(head: str, expected: str | None) -> None:
    assert page(head).description == expected


@pytest.mark.parametrize(
    ("html", "head", "expected"),
    [
        ("<html lang=en-GB>", "<meta property=og:locale content=de_DE>", "en-GB"),
        ("<html xml:lang=fr>", "", "fr"),
        ("<html lang=''>", "<meta http-equiv=Content-Language content='de, en'>", "de"),
        ("<html>", "<meta property=og:locale content=de_DE>", "de-DE"),
        ("<html lang='{{ lang }}'>", "", None),
        ("<html>", "", None),
    ],
)
def test_language(html: str, head: str, expected: str | None) -> None:
    assert page(head, html=html).language == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23", "2026-11-23"),
        ("20261123T101112Z", "2026-11-23"),
        ("2026.11.23", "2026-11-23"),
        ("2026-11/23", None),
        ("2026-02-30", None),
        ("2026-11-231", None),
        ("1970-01-01T00:00:00Z", None),
        ("Mon, 23 Nov 2026 18:02:11 GMT", "2026-11-23"),
        ("23 November 2026", "2026-11-23"),
        ("Nov 23, 2026", "2026-11-23"),
        ("11/12/2026", None),
        ("2026-1-5", "2026-01-05"),
        ("20260105123000", "2026-01-05"),
        ("202601051230", "2026-01-05"),
        ("2026010512", None),
        ("January 5th, 2026", "2026-01-05"),
        ("2nd Jan 2026", "2026-01-02"),
        ("0000-00-00", None),
        ("", None),
        (None, None),
    ],
)
def test_dates(text: str | None, expected: str | None) -> None:
    assert iso_date(text) == expected


def test_bounds() -> None:
    long = words("word " * 1_000)
    assert long and len(long) <= MAX_DESCRIPTION_CHARS and long.endswith("word…")
    assert len(words("x" * 5_000) or "") == MAX_DESCRIPTION_CHARS
    assert language_tag("x" * 36) is None and language_tag("en-" + "a" * 40) is None
