"""Fixed vectors: a change to any of these breaks what is already written."""

import hashlib
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import identity


def signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


class TestPartition:
    @pytest.mark.parametrize(
        ("key", "hash_"),
        [  # the Java client's own vectors: org.apache.kafka.common.utils.UtilsTest.testMurmur2
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ],
    )
    def test_murmur2_is_javas(self, key: str, hash_: int) -> None:
        assert signed(identity.murmur2(key.encode())) == hash_

    @pytest.mark.parametrize(
        ("key", "of_3", "of_6", "of_12"),
        [
            ("", 0, 3, 9),
            ("21", 0, 0, 0),
            ("foobar", 0, 0, 6),
            ("a-little-bit-longer-string", 2, 5, 11),
            ("abc", 0, 3, 3),
            ("ä", 2, 5, 5),
            ("日本語", 1, 4, 10),
        ],
    )
    def test_is_fixed(self, key: str, of_3: int, of_6: int, of_12: int) -> None:
        assert [identity.partition_for(key, n) for n in (1, 3, 6, 12)] == [0, of_3, of_6, of_12]

    @given(st.text(), st.integers(1, 10_000))
    def test_lies_within_the_topic(self, key: str, partitions: int) -> None:
        assert 0 <= identity.partition_for(key, partitions) < partitions


class TestHashes:
    def test_doc_hash_is_fixed(self) -> None:
        """sha256 of: Hello, world.{"heading_path":["A","B"],"occurrence":0,"url":"https://example.org/a"}"""
        found = identity.doc_hash("Hello, world.", url="https://example.org/a", heading_path=["A", "B"], occurrence=0)
        assert found == "ec625531e314d5e57554d80baa93c39c143fc642c7dec5eed385f6f006878131"

    def test_doc_hash_is_fixed_beyond_ascii(self) -> None:
        text = 'Grüße – 你好 \u2028"quoted"'
        found = identity.doc_hash(text, url="https://example.org/ü", heading_path=(), occurrence=2)
        assert found == "6d13d71b7993856dde8fcca0e5b198fcbed9101454503517b76d55ae284c68aa"

    @given(st.text(), st.text(), st.lists(st.text()), st.integers(0, 10_000))
    def test_doc_hash_is_of_canonical_json(self, text: str, url: str, path: list[str], occurrence: int) -> None:
        metadata = identity.canonical_json({"url": url, "heading_path": path, "occurrence": occurrence})
        expected = hashlib.sha256((text + metadata).encode()).hexdigest()
        assert identity.doc_hash(text, url=url, heading_path=path, occurrence=occurrence) == expected

    @given(st.text(), st.integers(1, 10_000), st.text())
    def test_chunk_id_is_a_uuid5(self, kb_id: str, generation: int, doc_hash: str) -> None:
        expected = uuid.uuid5(identity.CHUNK_NAMESPACE, f"{kb_id}/{generation}/{doc_hash}")
        assert identity.chunk_id(kb_id, generation, doc_hash) == str(expected)

    def test_doc_hash_tells_places_apart(self) -> None:
        def of(text: str = "t", url: str = "u", path: tuple[str, ...] = ("a", "b"), n: int = 0) -> str:
            return identity.doc_hash(text, url=url, heading_path=path, occurrence=n)

        others = [
            of(text="t "),
            of(url="v"),
            of(path=("a/b",)),
            of(path=("a,b",)),
            of(path=("b", "a")),
            of(path=()),
            of(n=1),
        ]
        assert len({of(), *others}) == 1 + len(others)

    def test_text_hash_is_fixed(self) -> None:
        embedded = identity.embedding_input("A", ["A", "B"], "Hello, world.")
        assert embedded == "A > B\n\nHello, world."
        assert identity.text_hash(embedded) == "1e1387b19ab5e63d26891bc876565850bf09acdb436b389277ec8ed98e4187d1"

    @pytest.mark.parametrize(
        ("title", "path", "embedded"),
        [
            ("", (), "t"),
            ("", ("", ""), "t"),
            ("A", (), "A\n\nt"),
            ("A", ("B", "C"), "A > B > C\n\nt"),
            ("A", ("B", "A"), "A > B\n\nt"),
        ],
    )
    def test_what_is_embedded_names_its_place_once(self, title: str, path: tuple[str, ...], embedded: str) -> None:
        assert identity.embedding_input(title, path, "t") == embedded

    def test_canonical_json_is_fixed(self) -> None:
        assert identity.canonical_json({"b": [1, None], "a": 'ü"\n'}) == '{"a":"ü\\"\\n","b":[1,null]}'

    @given(st.dictionaries(st.text(), st.integers()))
    def test_canonical_json_knows_no_order(self, value: dict[str, int]) -> None:
        assert identity.canonical_json(value) == identity.canonical_json(dict(reversed(value.items())))


class TestIds:
    def test_chunk_id_is_fixed_and_differs_by_generation(self) -> None:
        assert identity.chunk_id("docs", 1, "00" * 32) == "7dd568fa-5eda-535e-aa28-a208d49eb4c6"
        assert identity.chunk_id("docs", 2, "00" * 32) == "f5f6692a-9040-57f7-a28c-4992b3b28c7c"
        assert uuid.UUID(identity.chunk_id("docs", 1, "00" * 32)).version == 5

    def test_manifest_digest_is_fixed_and_knows_neither_order_nor_repetition(self) -> None:
        fixed = "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
        assert identity.manifest_digest(["a", "b"]) == identity.manifest_digest(iter("babba")) == fixed
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        assert identity.manifest_digest([]) == empty

    def test_record_keys_are_fixed(self) -> None:
        assert identity.page_key("docs", 3, "https://example.org/a?b=c/d") == "docs/3/https://example.org/a?b=c/d"
        assert identity.generation_key("docs", 3) == "docs/3"
        assert identity.span_key("job", 4, 10, 20) == "job/4/10/20"
        assert identity.requeued_key("job", 4) == "job/4/requeued_through"

    @pytest.mark.parametrize("slug", ["a", "docs", "0", "a-b_c", "a" * 64])
    def test_a_slug_is_accepted(self, slug: str) -> None:
        assert identity.SLUG.fullmatch(slug)

    @pytest.mark.parametrize("name", ["", "A", "a/b", "-a", "a-", "_a", "a b", "a.b", "ä", "a" * 65, "../a"])
    def test_anything_else_is_no_slug(self, name: str) -> None:
        assert not identity.SLUG.match(name)

    def test_a_line_break_is_no_part_of_a_slug(self) -> None:
        assert not identity.SLUG.match("a\n")


class TestJobIds:
    """RFC 9562, section 5.7."""

    def test_version_and_variant(self) -> None:
        ids = [uuid.UUID(identity.new_job_id()) for _ in range(200)]
        assert {each.version for each in ids} == {7}
        assert {each.variant for each in ids} == {uuid.RFC_4122}
        assert len(set(ids)) == 200

    def test_begins_with_the_milliseconds(self) -> None:
        before = time.time_ns() // 1_000_000
        stated = uuid.UUID(identity.new_job_id()).int >> 80
        assert before <= stated <= time.time_ns() // 1_000_000

    def test_tells_when_it_was_drawn(self) -> None:
        job_id = identity.new_job_id()
        assert identity.begun_ms(job_id) == uuid.UUID(job_id).int >> 80
        assert [identity.begun_ms(other) for other in ("by-hand", "", str(uuid.uuid4()), job_id.upper())] == [None] * 4

    def test_sorts_by_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        moments = [1_700_000_000_000, 1_700_000_000_001, 1_799_999_999_999, 2_000_000_000_000]
        ids = []
        for moment_ms in moments:
            monkeypatch.setattr(time, "time_ns", lambda now=moment_ms: now * 1_000_000)
            ids.append(identity.new_job_id())
        assert ids == sorted(ids)
