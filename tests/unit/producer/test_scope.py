"""Scope: start directories, include and exclude patterns."""

import functools
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producer.scope import Scope, ScopeError
from producer.urls import canonical


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
        ("/ab**/c", "/ab/c", True),
        ("/ab**/c", "/abx/y/c", True),
        ("/**/*b/*", "/ab/bb/x", True),
        ("/**b*c", "/b/xbc", True),
        ("/a/{id}/**", "/a/{id}/b", True),
        ("/^x|y/*", "/^x|y/b", True),
        ("/a/é", "/a/%c3%a9", True),
        ("/a/é", "/a/%C3%A9", True),
        ("/a/%c3%A9", "/a/é", True),
        ("/a/%7e", "/a/%7E", True),
        ("/é?/", "/é1/x", True),
    ],
)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert inside(canonical("https://h.example" + path), "https://h.example/start", include=[pattern]) is expected


@pytest.mark.parametrize("char", [chr(code) for code in range(0x21, 0x180) if chr(code) not in "*?\\#/.\x7f"])
def test_a_character_stands_for_itself_however_the_url_spells_it(char: str) -> None:
    assert inside(canonical(f"https://h.example/a{char}b"), "https://h.example/start", include=[f"/a{char}b"])


def fits(glob: str, path: str) -> bool:
    """What the documentation says of patterns without a host, by trying everything."""
    glob = glob if glob.startswith("/") else "/**/" + glob
    return tried(glob, path) or (glob.endswith("/") and (tried(glob[:-1], path) or tried(glob + "**", path)))


@functools.lru_cache(100_000)
def tried(glob: str, path: str, behind_slash: bool = False) -> bool:
    if not glob:
        return not path
    if behind_slash and glob.startswith("**/"):
        further = (path[n:] for n in range(1, len(path) + 1) if path[n - 1] == "/")
        return any(tried(glob[3:], rest, True) for rest in (path, *further))
    if glob.startswith("*"):
        stars = 2 if glob.startswith("**") else 1
        most = len(path if stars == 2 else path.partition("/")[0])
        return any(tried(glob[stars:], path[n:]) for n in range(most + 1))
    fitting = path[:1] not in ("", "/") if glob[0] == "?" else path[:1] == glob[0]
    return fitting and tried(glob[1:], path[1:], glob[0] == "/")


_GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "/**/", "?"]), min_size=1, max_size=10).map("".join)
_PATHS = st.text("ab/", max_size=14).map("/".__add__)


@given(_GLOBS, _PATHS)
@example("**/a**/b", "/ab")
@example("/**/a*a/b**a", "/aa/aaa/ba/a")
@settings(max_examples=500)
def test_patterns_mean_what_is_written(glob: str, path: str) -> None:
    assert inside("https://h.example" + path, "https://h.example/start", include=[glob]) is fits(glob, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*-*-*-*.html", "-" * 2_000),
        ("/" + "*-" * 200 + "*.html", "-" * 2_000),
        ("/" + "**-" * 160 + "x", "-" * 2_000),
        ("/**" + "/a*b**" * 80, "a/b" * 600),
        ("/**/" * 100 + "x", "a/" * 1_000),
        ("**" + "a" * 400 + "b", "a" * 2_000),
        ("**/" + "a/" * 200 + "b", "a/" * 1_000),
        ("/" + "*?" * 200 + "*x", "a" * 2_000),
    ],
    ids=lambda text: text[:12],
)
def test_patterns_that_almost_fit_take_no_time(pattern: str, path: str) -> None:
    """A second is a hundred times what the slowest takes; trying everything takes years."""
    scope = Scope.from_source(["https://h.example/"], exclude=[pattern])
    began = time.process_time()
    assert scope.verdict("https://h.example/" + path).inside
    assert time.process_time() - began < 1


def test_no_password_of_a_pattern_is_repeated() -> None:
    for pattern in ("https://u:secret@[h/", "https://u:secret@h.example/", "https://*:secret@h/", "u:secret@" * 99):
        with pytest.raises(ScopeError) as caught:
            Scope.from_source(["https://h.example/"], [pattern])
        assert "secret" not in str(caught.value)


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
        (["https://h.example/"], ["/*" * 251], "1 to 500 characters"),
        (["https://h.example/"], ["https://*.example/"], "can't hold wildcards"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(urls: list[str], patterns: list[str], why: str) -> None:
    with pytest.raises(ScopeError, match=why):
        Scope.from_source(urls, patterns)
