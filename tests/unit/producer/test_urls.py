"""Canonical URLs: a table of cases (url_cases.json), and what holds for all."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.extract import extract
from producer.urls import UrlError, canonical, host_key, origin, path_of

CASES = json.loads(Path(__file__).with_name("url_cases.json").read_text())
"""[group, given, base, expected, why]. Expected is written from the standard; `why` marks what is ours, or explains.

base: null, a URL, or a document's URL and its <base>. expected: a URL, `{"itself"}`, or the words of a refusal.
"""


def _name(case: list[Any]) -> str:
    return f"{case[0]}: {str(case[1])[:60]!a}"


def _spelled(given_url: Any) -> str:
    return given_url["after"] + given_url["repeat"] * given_url["times"] if isinstance(given_url, dict) else given_url


def test_the_table_is_as_long_as_promised_and_repeats_nothing() -> None:
    questions = [json.dumps(case[1:3]) for case in CASES]
    assert len(set(questions)) == len(questions) >= 200


@pytest.mark.parametrize("case", [c for c in CASES if not isinstance(c[2], dict)], ids=_name)
def test_url(case: list[Any]) -> None:
    given_url, expected = _spelled(case[1]), case[3]
    if isinstance(expected, dict) and "refused" in expected:
        with pytest.raises(UrlError, match=re.escape(expected["refused"])):
            canonical(given_url, case[2])
    else:
        assert canonical(given_url, case[2]) == (given_url if isinstance(expected, dict) else expected)


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c[2], dict)], ids=_name)
def test_link_of_a_document_with_a_base(case: list[Any]) -> None:
    html = f'<base href="{case[2]["base"]}"><a href="{case[1]}">a</a>'
    document = extract(case[2]["document"], html.encode(), "text/html")
    assert document.links == [case[3]]


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@h.example/", "https://user:hunter2@exa mple/", "https://user:hunter2@[h/", "ftp://u:hunter2@h/",
        "https://user:hunter2@h.example:99999/", "user x:hunter2@h.example/", "https:///@:hunter2@h.example/",
        "https://user:hunter2@h.example/" + "a" * 3_000,
    ],
)  # fmt: skip
def test_a_password_is_not_repeated_in_the_error(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        canonical(url)
    assert "hunter2" not in str(caught.value)


def test_an_error_quotes_what_can_hold_no_password() -> None:
    with pytest.raises(UrlError, match=re.escape("not a valid URL: 'https://exa mple/'")):
        canonical("https://exa mple/")


def test_parts_of_a_canonical_url() -> None:
    url = "https://h.example:8443/a/b?x=/y"
    assert (host_key(url), origin(url), path_of(url)) == ("h.example:8443", "https://h.example:8443", "/a/b")


_WITH_SESSIONS = st.text("ab/.;?&=()SX19", max_size=40).map(lambda t: t.replace("9", ";jsessionid=1"))


_PARTS = (
    "https://", "http:", "//", "/", "?", "#", ".", "..", "\\", "@", "u:p@", ":", ":80", ":0", "(S(a))/", "(S(a))",
    "(A(b)S(c))/", ";jsessionid=1", ";sid=0123456789abcdef0", ";", "sid=0123456789abcdef0", "&", "=", "utm_source=x",
    "s=1", "h.example", "127.1", "[::1]", "%2e", "%", "%zz", "é", "*", "|", "{", "^", "\0", "\ufeff", "\udcff",
)  # fmt: skip


@given(
    st.lists(st.sampled_from(_PARTS) | st.text(max_size=3), max_size=12).map("".join),
    st.sampled_from([None, "https://h.example/a/b?q"]),
)
@settings(max_examples=1_000)
def test_whatever_is_given_comes_out_canonical_or_as_a_url_error(text: str, base: str | None) -> None:
    for url in (text, "https://" + text):
        try:
            once = canonical(url, base)
        except UrlError:
            continue
        assert canonical(once) == once
        assert "@" not in host_key(once)
        assert host_key(once)
        assert path_of(once).startswith("/")


@given(st.text(max_size=60) | _WITH_SESSIONS, st.text(max_size=30))
def test_canonical_is_idempotent(path: str, query: str) -> None:
    try:
        once = canonical(f"https://h.example/{path}?{query}")
    except UrlError:
        return
    assert canonical(once) == once
    assert "#" not in once
