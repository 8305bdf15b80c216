"""A KB definition is checked once, at the edge, and a refusal names the field and what to write instead."""

import copy
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.codec import decode, encode, headers_for
from schemas.kb import (
    LOCAL_MODELS,
    MODEL,
    OPENAI_MODELS,
    Chunking,
    Definition,
    Embedding,
    InvalidDefinition,
    KbDefined,
    Source,
    check_kb_id,
    collection_name,
    former_collection_name,
    parse_definition,
    resolve,
)  # fmt: skip

NAMES = st.from_regex(MODEL, fullmatch=True)

MINIMAL: dict[str, Any] = {"source": {"urls": ["https://docs.example.org/"]}}


def with_value(path: str, value: object) -> dict[str, Any]:
    """The minimal definition with one value set, e.g. at `crawl.delay_s`."""
    raw = copy.deepcopy(MINIMAL)
    *above, last = path.split(".")
    place = raw
    for name in above:
        place = place.setdefault(name, {})
    place[last] = value
    return raw


def refusal_of(raw: object) -> str:
    with pytest.raises(InvalidDefinition) as caught:
        parse_definition(raw)
    return str(caught.value)


def test_a_minimal_definition_has_the_designs_defaults() -> None:
    found = parse_definition(MINIMAL)
    assert found == Definition(source=Source(urls=("https://docs.example.org/",)))
    assert (found.source.max_pages, found.source.max_depth) == (10_000, None)
    assert (found.crawl.concurrency_per_host, found.crawl.delay_s, found.crawl.respect_robots) == (8, 0.0, True)
    assert (found.chunking.strategy, found.chunking.overlap_tokens) == ("structure", 50)
    assert found.publish.max_vanished_share == 0.2


@pytest.mark.parametrize("raw", [None, [], "https://docs.example.org/", 3])
def test_a_definition_is_an_object(raw: object) -> None:
    assert refusal_of(raw) == "the definition must be a JSON object"


@pytest.mark.parametrize(
    "path", ["sorce", "source.url", "crawl.delay", "chunking.size", "embedding.key", "budget.eur", "publish.share"]
)
def test_an_unknown_field_is_named_with_those_that_are_known(path: str) -> None:
    message = refusal_of(with_value(path, 1))
    assert message.startswith(f"unknown field {path}; known: ")


@pytest.mark.parametrize("room", ["source", "crawl", "chunking", "embedding", "budget", "publish"])
@pytest.mark.parametrize("value", [None, [], "x"])
def test_each_part_is_an_object(room: str, value: object) -> None:
    assert room in refusal_of(with_value(room, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("source.urls", "https://docs.example.org/"),
        ("source.urls", [1]),
        ("source.type", "ftp"),
        ("source.max_pages", "100"),
        ("source.max_pages", 1.5),
        ("source.max_pages", True),
        ("source.include", [None]),
        ("crawl.delay_s", "1s"),
        ("crawl.respect_robots", "yes"),
        ("chunking.strategy", "magic"),
        ("embedding.provider", "other"),
        ("embedding.dimensions", "384"),
        ("budget.max_usd", "1"),
        ("publish.max_vanished_share", None),
    ],
)
def test_a_wrong_type_names_its_field(path: str, value: object) -> None:
    assert f"$.{path}" in refusal_of(with_value(path, value))


@pytest.mark.parametrize(
    ("path", "too_low", "lowest", "highest", "too_high"),
    [
        ("source.max_pages", 0, 1, 10_000_000, 10_000_001),
        ("source.max_depth", -1, 0, 1_000, 1_001),
        ("crawl.concurrency_per_host", 0, 1, 256, 257),
        ("crawl.delay_s", -0.1, 0, 3_600, 3_600.5),
        ("chunking.max_tokens", 31, 100, 8_000, 8_001),
        ("chunking.overlap_tokens", -1, 0, 128, 129),
        ("embedding.dimensions", 0, 1, 65_535, 65_536),
        ("budget.max_tokens", 0, 1, 10**15, 10**15 + 1),
        ("budget.max_usd", -0.01, 0, 10**9, 10**9 + 0.5),
        ("publish.max_vanished_share", -0.1, 0, 1, 1.01),
    ],
)
def test_ranges(path: str, too_low: float, lowest: float, highest: float, too_high: float) -> None:
    for value in (lowest, highest):
        parse_definition(with_value(path, value))
    for value in (too_low, too_high):
        assert refusal_of(with_value(path, value)).startswith(f"{path} is {value}; it must lie between ")


def test_the_overlap_is_at_most_half_a_chunk() -> None:
    raw = MINIMAL | {"chunking": {"max_tokens": 64, "overlap_tokens": 33}}
    assert refusal_of(raw) == "chunking.overlap_tokens is 33; it must lie between 0 and 32"


@pytest.mark.parametrize(
    "url", ["http://a.example", "https://a.example:8443/x?y=z", "http://127.0.0.1:8000/", "http://[::1]/"]
)
def test_a_web_url_is_accepted(url: str) -> None:
    assert parse_definition(with_value("source.urls", [url])).source.urls == (url,)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not an http or https URL"),
        ("docs.example.org", "is not an http or https URL"),
        ("//docs.example.org/", "is not an http or https URL"),
        ("ftp://docs.example.org/", "is not an http or https URL"),
        ("file:///etc/passwd", "is not an http or https URL"),
        ("javascript:alert(1)", "is not an http or https URL"),
        ("https://", "is not an http or https URL"),
        ("https:///path", "is not an http or https URL"),
        ("http://a.example:99999/", "is not a URL"),
        ("http://a.example:port/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
    ],
)
def test_anything_else_is_not(url: str, says: str) -> None:
    message = refusal_of(with_value("source.urls", ["https://ok.example/", url]))
    assert message.startswith("source.urls: ") and says in message and repr(url) in message


@pytest.mark.parametrize(
    "url",
    [
        "http://exa mple/", "http://a.example/a page", "http://a.example/\n", " http://a.example/", "http://a.ex\nample/",
        "http://a.example/\x00", "http://a.example/\u2028", "http://a.example/\ud800",
    ],
)  # fmt: skip
def test_a_url_has_no_spaces_and_no_control_characters(url: str) -> None:
    message = refusal_of(with_value("source.urls", [url]))
    assert (
        message.startswith("source.urls: ") and "holds a space or a control character" in message and "%20" in message
    )


@pytest.mark.parametrize("url", ["http://a<b>.example/", "http://a%00.example/", "http://1.2.3.400/"])
def test_what_no_browser_takes_is_no_url(url: str) -> None:
    assert (
        refusal_of(with_value("source.urls", [url])) == f"source.urls: {url!r} is not a URL: no browser would take it"
    )


def test_a_url_is_no_longer_than_servers_take() -> None:
    longest = "https://a.example/".ljust(2_000, "a")
    assert parse_definition(with_value("source.urls", [longest])).source.urls == (longest,)
    message = refusal_of(with_value("source.urls", ["https://a.example/".ljust(20_000, "a")]))
    assert "has 20,000 characters; a URL may have 2,000" in message and len(message) < 200


def test_a_record_from_before_such_urls_were_refused_is_read() -> None:
    kept = KbDefined(
        kb_id="old",
        definition=Definition(source=Source(urls=("http://exa mple/",))),
        updated_at="2026-01-01T00:00:00Z",
        updated_by="me",
    )
    assert decode("kbs", headers_for(kept, "test"), encode(kept)) == kept


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@a.example/", "https://user@a.example/", "https://:hunter2@a.example/"]
)
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    message = refusal_of(with_value("source.urls", [url]))
    assert message == "source.urls: credentials in a URL are not accepted"


@pytest.mark.parametrize("url", ["https://user:hunter2@a.example:99999/", "ftp://user:hunter2@a.example/"])
def test_credentials_are_not_repeated_by_any_refusal(url: str) -> None:
    assert "hunter2" not in refusal_of(with_value("source.urls", [url]))


def test_there_must_be_a_url() -> None:
    assert "source.urls is empty" in refusal_of({"source": {"urls": []}})
    assert "urls" in refusal_of({"source": {}})


@pytest.mark.parametrize("network", ["127.0.0.0/8", "10.1.2.3", "::1/128", "fd00::/8"])
def test_a_cidr_range_is_accepted(network: str) -> None:
    assert parse_definition(with_value("source.allow_addresses", [network])).source.allow_addresses == (network,)


@pytest.mark.parametrize("network", ["127.0.0.1/8", "10.0.0.0/33", "localhost", "", "10.0.0.0-10.0.0.9"])
def test_no_cidr_range_is_refused_with_an_example(network: str) -> None:
    message = refusal_of(with_value("source.allow_addresses", [network]))
    assert message.startswith("source.allow_addresses: ") and "127.0.0.0/8" in message


class TestResolve:
    """Every default made explicit, so that a job's command says all that its run depends on."""

    @pytest.mark.parametrize(
        ("given", "openai_available", "resolved", "max_tokens"),
        [
            (Embedding(), False, Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384), 256),
            (Embedding(), True, Embedding(provider="openai", model="text-embedding-3-small", dimensions=1536), 512),
            (
                Embedding(provider="local"), True,
                Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384), 256,
            ),
            (
                Embedding(provider="openai", model="text-embedding-3-large"), False,
                Embedding(provider="openai", model="text-embedding-3-large", dimensions=3072), 512,
            ),
            (
                Embedding(provider="openai", model="text-embedding-3-large", dimensions=256), False,
                Embedding(provider="openai", model="text-embedding-3-large", dimensions=256), 512,
            ),
            (
                Embedding(provider="openai", model="my-own", dimensions=64), False,
                Embedding(provider="openai", model="my-own", dimensions=64), 512,
            ),
        ],
    )  # fmt: skip
    def test_fills_in(self, given: Embedding, openai_available: bool, resolved: Embedding, max_tokens: int) -> None:
        source = Source(urls=("https://docs.example.org/",))
        found = resolve(Definition(source=source, embedding=given), openai_available=openai_available)
        assert found.embedding == resolved
        assert found.chunking.max_tokens == max_tokens
        assert resolve(found, openai_available=not openai_available) == found, "resolving twice changes nothing"

    def test_keeps_what_is_given(self) -> None:
        definition = Definition(source=Source(urls=("https://a.example/",)), chunking=Chunking(max_tokens=100))
        assert resolve(definition, openai_available=False).chunking.max_tokens == 100

    @pytest.mark.parametrize(
        ("embedding", "says"),
        [
            (Embedding(provider="local", model="bert"), "embedding.model 'bert' is no local model"),
            (Embedding(provider="local", dimensions=512), "embedding.dimensions of 'all-MiniLM-L6-v2' is 384"),
            (Embedding(provider="openai", model="my-own"), "embedding.dimensions must be given for the model 'my-own'"),
        ],
    )
    def test_refuses(self, embedding: Embedding, says: str) -> None:
        with pytest.raises(InvalidDefinition, match=says):
            resolve(Definition(source=Source(urls=("https://a.example/",)), embedding=embedding), openai_available=True)

    def test_the_first_model_of_a_provider_is_its_default(self) -> None:
        assert (next(iter(LOCAL_MODELS)), next(iter(OPENAI_MODELS))) == ("all-MiniLM-L6-v2", "text-embedding-3-small")


@pytest.mark.parametrize(
    ("embedding", "name"),
    [
        (Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384), "Headrace_local_all_MiniLM_L6_v2_384"),
        (
            Embedding(provider="openai", model="text-embedding-3-small", dimensions=512),
            "Headrace_openai_text_embedding_3_small_512",
        ),
        (Embedding(provider="openai", model="my-own-2", dimensions=8), "Headrace_openai_my_own_2_8"),
        (Embedding(provider="openai", model="org/model:1", dimensions=8), "Headrace_openai_org_model_1_8_38577684"),
        (Embedding(provider="openai", model="My-own-2", dimensions=8), "Headrace_openai_My_own_2_8_b0180099"),
    ],
)
def test_collection_names_are_fixed(embedding: Embedding, name: str) -> None:
    assert collection_name(embedding) == name


def test_a_job_from_before_commands_named_their_collection_keeps_its() -> None:
    embedding = Embedding(provider="openai", model="org/model:1", dimensions=8)
    assert former_collection_name(embedding) == "Headrace_openai_org_model_1_8"


@given(NAMES, NAMES, st.integers(1, 65_535), st.integers(1, 65_535))
@example("bge-1.5", "bge-1-5", 8, 8)
@example("BGE", "bge", 8, 8)
@example("a-1", "a", 2, 12)
@example("a--b", "a-b", 8, 8)
def test_two_profiles_never_share_a_collection(one: str, other: str, of_one: int, of_other: int) -> None:
    """Nor have two whose names differ in case alone: Weaviate refuses the second."""
    profiles = [
        Embedding(provider="openai", model=one, dimensions=of_one),
        Embedding(provider="openai", model=other, dimensions=of_other),
    ]
    names = [collection_name(each) for each in profiles]
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9_]{0,254}", name) for name in names)
    assert (names[0].lower() == names[1].lower()) == (profiles[0] == profiles[1])


@pytest.mark.parametrize("model", ["", "мини", "modèle", "a b", "x" * 129, "-x", "x\n", "ⅷ"])
def test_a_model_whose_name_no_collection_can_have_is_refused(model: str) -> None:
    """Weaviate's refusal would look like an outage, for every job of that worker."""
    assert "embedding.model" in refusal_of(with_value("embedding.model", model))
    source = Source(urls=("https://a.example/",))
    definition = Definition(source=source, embedding=Embedding(provider="openai", model=model or None, dimensions=8))
    if model:
        with pytest.raises(InvalidDefinition, match=r"embedding\.model"):
            resolve(definition, openai_available=True)


@pytest.mark.parametrize("kb_id", ["", "Docs", "docs/v2", "../docs", "-docs", "docs ", "d" * 65])
def test_a_kb_id_that_is_no_slug_is_refused_with_the_rule(kb_id: str) -> None:
    with pytest.raises(InvalidDefinition, match=r"is not a slug: use 1 to 64 of a-z, 0-9, - and _"):
        check_kb_id(kb_id)
