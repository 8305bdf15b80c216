"""Canonical URLs. The cases follow the WHATWG URL standard's own test data where they can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.urls import MAX_URL_CHARS, UrlError, canonical, host_key, origin, path_of

SAME = [
    ("HTTP://Example.COM", "http://example.com/"),
    ("http://example.com:80/a", "http://example.com/a"),
    ("https://example.com:443/", "https://example.com/"),
    ("https://example.com:80/", "https://example.com:80/"),
    ("http://example.com/a/./b/../c", "http://example.com/a/c"),
    ("http://example.com/%7euser", "http://example.com/%7euser"),
    ("http://example.com/a b", "http://example.com/a%20b"),
    ("http://example.com/é", "http://example.com/%C3%A9"),
    ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ("http://example.com/a#part", "http://example.com/a"),
    ("http://example.com/a?#part", "http://example.com/a"),
    ("http://example.com/a?", "http://example.com/a"),
    ("http://example.com/a??", "http://example.com/a??"),
    ("http://example.com/a?b?", "http://example.com/a?b?"),
    ("http://example.com/a?utm_id=1#x", "http://example.com/a"),
    ("http://example.com/?b=2&a=1", "http://example.com/?b=2&a=1"),
    ("http://example.com/?utm_source=x&a=1&utm_medium=y", "http://example.com/?a=1"),
    ("http://example.com/?gclid=1&fbclid=2", "http://example.com/"),
    ("http://example.com/?UTM_Campaign=x", "http://example.com/"),
    ("http://example.com/?a&&b=", "http://example.com/?a&&b="),
    ("  http://example.com/\n", "http://example.com/"),
    ("http:\\\\example.com\\a", "http://example.com/a"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://2130706433/", "http://127.0.0.1/"),
    ("http://0177.0.0.1/", "http://127.0.0.1/"),
    ("http://[::1]:8080/", "http://[::1]:8080/"),
    ("http://[0:0::1]/", "http://[::1]/"),
]
RELATIVE = [
    ("b.html", "https://h.example/docs/b.html"),
    ("../b", "https://h.example/b"),
    ("../../../b", "https://h.example/b"),
    ("/x", "https://h.example/x"),
    ("//other.example/x", "https://other.example/x"),
    ("?q=1", "https://h.example/docs/a.html?q=1"),
    ("", "https://h.example/docs/a.html"),
    ("#top", "https://h.example/docs/a.html"),
    ("http://h.example/", "http://h.example/"),
]
REFUSED = [
    ("mailto:a@b.example", "only http and https"),
    ("javascript:void(0)", "only http and https"),
    ("file:///etc/passwd", "only http and https"),
    ("ftp://h.example/", "only http and https"),
    ("http://user:pw@h.example/", "user name or password"),
    ("http://user@h.example/", "user name or password"),
    ("http://", "not a valid URL"),
    ("http://a b/", "not a valid URL"),
    ("http://h.example:99999/", "not a valid URL"),
    ("http://1.2.3.4.5/", "not a valid URL"),
    ("docs.example.org", "did you mean https://docs.example.org?"),
    ("", "not an absolute URL"),
    ("http://h.example/" + "a" * MAX_URL_CHARS, "longer than"),
]


@pytest.mark.parametrize(("given_url", "expected"), SAME)
def test_one_spelling(given_url: str, expected: str) -> None:
    assert canonical(given_url) == expected


@pytest.mark.parametrize(("link", "expected"), RELATIVE)
def test_links_resolve_against_their_page(link: str, expected: str) -> None:
    assert canonical(link, "https://h.example/docs/a.html") == expected


@pytest.mark.parametrize(("url", "why"), REFUSED)
def test_what_is_no_page_says_why(url: str, why: str) -> None:
    with pytest.raises(UrlError, match=why.replace("?", r"\?")):
        canonical(url)


def test_a_password_is_not_repeated_in_the_error() -> None:
    with pytest.raises(UrlError) as caught:
        canonical("https://user:hunter2@h.example/")
    assert "hunter2" not in str(caught.value)


def test_parts_of_a_canonical_url() -> None:
    url = "https://h.example:8443/a/b?x=/y"
    assert (host_key(url), origin(url), path_of(url)) == ("h.example:8443", "https://h.example:8443", "/a/b")


@given(st.text(max_size=60), st.text(max_size=30))
def test_canonical_is_idempotent(path: str, query: str) -> None:
    try:
        once = canonical(f"https://h.example/{path}?{query}")
    except UrlError:
        return
    assert canonical(once) == once
    assert "#" not in once
