"""Scope: start directories, include and exclude patterns."""

import pytest

from producer.scope import Scope, ScopeError


def inside(url: str, *urls: str, include: list[str] | None = None, exclude: list[str] | None = None) -> bool:
    return Scope.from_source(urls, include or [], exclude or []).verdict(url).inside


@pytest.mark.parametrize("start", ["https://h.example/docs/", "https://h.example/docs/index.html"])
def test_without_include_the_start_directory_counts(start: str) -> None:
    assert inside("https://h.example/docs/a/b.html", start)
    assert inside("https://h.example/docs", start)
    assert not inside("https://h.example/blog/", start)
    assert not inside("https://h.example/docs2/", start)
    assert not inside("https://other.example/docs/a", start)
    assert not inside("https://h.example:8443/docs/a", start)


def test_http_and_https_are_the_same_place() -> None:
    assert inside("https://h.example/docs/a", "http://h.example/docs/")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/docs/**", "/docs/a/b", True),
        ("/docs/**", "/docs", False),
        ("/docs/", "/docs", True),
        ("/docs/", "/docs/a/b", True),
        ("/docs/", "/docs2", False),
        ("/docs/*", "/docs/a", True),
        ("/docs/*", "/docs/a/b", False),
        ("/docs/*.html", "/docs/a.html", True),
        ("/docs/*.html", "/docs/a.htm", False),
        ("/a/**/z", "/a/z", True),
        ("/a/**/z", "/a/b/c/z", True),
        ("/a/**/z", "/a/bz", False),
        ("/v?/x", "/v1/x", True),
        ("/v?/x", "/v/x", False),
        ("*.pdf", "/deep/down/a.pdf", True),
        ("*.pdf", "/a.pdf", True),
        ("old/**", "/x/old/y", True),
        ("/a.b", "/aXb", False),
        ("/über/*", "/%C3%BCber/x", True),
        ("/(x)+[y]", "/(x)+[y]", True),
    ],
)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert inside("https://h.example" + path, "https://h.example/start", include=[pattern]) is expected


def test_exclude_wins_and_the_query_takes_no_part() -> None:
    start = "https://h.example/"
    assert not inside("https://h.example/old/a?x=1", start, exclude=["/old/"])
    assert not inside("https://h.example/a.pdf", start, include=["/**"], exclude=["*.pdf"])
    assert not inside(start, start, exclude=["/"])


def test_a_start_url_is_inside_even_when_no_include_matches() -> None:
    assert inside("https://h.example/", "https://h.example/", include=["/docs/**"])


def test_a_pattern_with_a_host_adds_that_host() -> None:
    include = ["/docs/**", "https://api.example/ref/**"]
    assert inside("https://api.example/ref/x", "https://h.example/docs/", include=include)
    assert not inside("https://api.example/other", "https://h.example/docs/", include=include)


def test_verdicts_say_why() -> None:
    scope = Scope.from_source(["https://h.example/docs/"], [], ["*.zip"])
    assert scope.verdict("https://h.example/docs/").reason == "start URL"
    assert scope.verdict("https://h.example/docs/a").reason == "under h.example/docs/"
    assert scope.verdict("https://h.example/docs/a.zip").reason == "excluded by *.zip"
    assert scope.verdict("https://x.example/").reason == "host x.example is not in scope"


@pytest.mark.parametrize(
    ("urls", "patterns", "why"),
    [
        ([], [], "at least one start URL"),
        (["ftp://h.example/"], [], "only http and https"),
        (["https://h.example/"], [""], "1 to 500 characters"),
        (["https://h.example/"], ["/*" * 20], "at most 16 wildcards"),
        (["https://h.example/"], ["https://*.example/"], "can't hold wildcards"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(urls: list[str], patterns: list[str], why: str) -> None:
    with pytest.raises(ScopeError, match=why):
        Scope.from_source(urls, patterns)
