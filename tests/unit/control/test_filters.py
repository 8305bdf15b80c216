"""Filters by path and heading: the exact rule, and that Weaviate's looser one lets through all that fits."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.filters import Filters, Narrowing
from control.problems import Invalid


def fits(url: str, *globs: str) -> bool:
    narrowing = Narrowing(Filters(path=list(globs)))
    exact = narrowing.passes(url, ())
    likes = [like for each in narrowing._paths for like in each.likes]
    assert not exact or any(like(each, url) for each in likes), (url, likes)
    return exact


def like(pattern: str, value: str) -> bool:
    """As Weaviate does it."""
    quoted = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(quoted, value, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("glob", "url", "inside"),
    [
        ("/a/b.html", "https://h.example/a/b.html", True),
        ("/a/b.html", "https://h.example/a/b.c.html", False),
        ("/a/b.html", "https://h.example/a/b.html?page=2", True),
        ("/a/b.html", "https://h.example/x/a/b.html", False),
        ("b.html", "https://h.example/x/a/b.html", True),
        ("/a/*.html", "https://h.example/a/b/c.html", False),
        ("/a/**", "https://h.example/a/b/c.html", True),
        ("/a/**/c.html", "https://h.example/a/c.html", True),
        ("/a/", "https://h.example/a", True),
        ("/a/", "https://h.example/a/b?x=/y", True),
        ("/a/", "https://h.example/ab", False),
        ("/", "https://h.example/", True),
        ("/v?/x", "https://h.example/v3/x", True),
        ("/v?/x", "https://h.example/v/x", False),
        ("/größe", "https://h.example/gr%c3%b6%C3%9fe", True),
        ("https://h.example/a/*", "http://h.example/a/b", True),
        ("https://h.example/a/*", "https://other.example/a/b", False),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example/a", True),
        ("https://h.example:8080/**", "https://h.example:8080/a", True),
        ("https://h.example:8080/**", "https://h.example/a", False),
    ],
)
def test_paths(glob: str, url: str, inside: bool) -> None:
    assert fits(url, glob) is inside
    assert fits(url, "/never", glob) is inside
    assert Narrowing(Filters(path=glob)).passes(url, ()) is inside


PIECES = st.lists(st.sampled_from(["/", "a", "b", ".", "*", "**", "**/", "?", "é", "%c3"]), min_size=1, max_size=7)
PLACES = st.lists(st.sampled_from(["/", "a", "b", ".", "%C3%A9", "%c3", "*", "?q=/a"]), max_size=8)


@given(PIECES, PLACES)
def test_weaviate_lets_through_all_that_fits(glob: list[str], place: list[str]) -> None:
    fits("https://h.example/" + "".join(place), "".join(glob))


@pytest.mark.parametrize(
    ("heading", "path", "inside"),
    [
        ("install", ["Guide", "Installing on Linux"], True),
        ("installing  ON\nlinux", ["Guide", "Installing on  Linux"], True),
        ("guide installing", ["Guide", "Installing"], False),
        ("ÜBER", ["Über uns"], True),
        ("ΛΌΓΟΣ", ["ο λόγος"], True),
        ("安装", ["如何安装"], True),
        ("c++", ["C++ API"], True),
        ("c++", ["C API"], False),
        ("x", [], False),
    ],
)
def test_headings(heading: str, path: list[str], inside: bool) -> None:
    assert Narrowing(Filters(heading=heading)).passes("https://h.example/", path) is inside


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        (Filters(path=" "), "empty"),
        (Filters(path="ftp://h/x"), "https://example.org"),
        (Filters(path="https://*.example/x"), "no wildcards"),
        (Filters(path="https://u:secret@h/x"), "host"),
        (Filters(path="https:///x"), "host"),
        (Filters(heading=" "), "filters.heading is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(filters: Filters, says: str) -> None:
    with pytest.raises(Invalid, match=re.escape(says)) as caught:
        Narrowing(filters)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ({"language": "en"}, "language"),
        ({"path": ["/a"] * 21}, "path"),
        ({"path": "/" + "a" * 500}, "path"),
        ({"path": ["/a", ""]}, "path"),
        ({"heading": "h" * 201}, "heading"),
    ],
)
def test_limits_and_unknown_fields_are_named(raw: object, names: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=names):
        msgspec.convert(raw, Filters)
