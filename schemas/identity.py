"""Who is who: partitions, hashes, ids and record keys.

Every function here is a promise to data that is already written. The vectors in
`tests/contract/test_identity.py` hold them fixed.
"""

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CHUNK_NAMESPACE = uuid.UUID("6f1d2c1a-52a8-5c2e-9f0b-6b1f8f0f6a77")
"""Namespace of every chunk id; drawn once, never to change."""

_NAMESPACE_BYTES = CHUNK_NAMESPACE.bytes
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_quoted = json.encoder.encode_basestring
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)

SLUG = re.compile(r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")
"""A KB id: also a Weaviate tenant name and the first part of record keys, so it holds neither `/` nor capitals."""


def murmur2(data: bytes) -> int:
    """The 32-bit unsigned murmur2 that Kafka's Java client partitions by (seed 0x9747b28c)."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & mask
        k ^= k >> 24
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
    tail = data[whole:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)


def partition_for(key: str, partitions: int) -> int:
    """The partition that the Java client's default partitioner gives `key` among `partitions`."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def new_job_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then randomness."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def begun_ms(job_id: str) -> int | None:
    """Unix milliseconds when a job of control's was named; None for another id."""
    try:
        value = uuid.UUID(job_id)
    except ValueError:
        return None
    return value.int >> 80 if value.version == 7 and str(value) == job_id else None


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces and no escapes beyond those JSON demands."""
    return _CANONICAL.encode(value)


def doc_hash(text: str, *, url: str, heading_path: Sequence[str], occurrence: int) -> str:
    """Identity of a chunk within a job: sha256 (hex) of its text and canonical metadata.

    `occurrence` numbers equal (text, heading path) pairs of one page from 0. Job, generation, ordinal and time
    stay out, so an unchanged chunk keeps its hash over refreshes.
    """
    # canonical_json of the three, put together by hand: it is made for every chunk
    path = ",".join(map(_quoted, heading_path))
    metadata = f'{{"heading_path":[{path}],"occurrence":{occurrence},"url":{_quoted(url)}}}'
    return hashlib.sha256((text + metadata).encode()).hexdigest()


def embedding_input(title: str, heading_path: Sequence[str], text: str) -> str:
    """What is sent to the embedding model for a chunk: its place in the document, then its text."""
    place = list(dict.fromkeys(part for part in (title, *heading_path) if part))
    return " > ".join(place) + "\n\n" + text if place else text


def text_hash(embedded: str) -> str:
    """sha256 (hex) of what is embedded: chunks that share it share one vector under one model."""
    return hashlib.sha256(embedded.encode()).hexdigest()


def chunk_id(kb_id: str, generation: int, doc_hash: str) -> str:
    """The object's id in Weaviate; a replay writes the same object again."""
    # uuid.uuid5, without the object in between
    name = hashlib.sha1(_NAMESPACE_BYTES + f"{kb_id}/{generation}/{doc_hash}".encode(), usedforsecurity=False)
    h = name.hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


def manifest_digest(ids: Iterable[str]) -> str:
    """sha256 (hex) over the distinct chunk ids of a manifest, in any order."""
    return hashlib.sha256("\n".join(sorted(set(ids))).encode()).hexdigest()


def page_key(kb_id: str, generation: int, url: str) -> str:
    return f"{kb_id}/{generation}/{url}"


class PageKey(NamedTuple):
    kb_id: str
    generation: int
    url: str


def parse_page_key(key: str) -> PageKey:
    """What `page_key` was made of. Raises ValueError."""
    kb_id, generation, url = key.split("/", maxsplit=2)
    return PageKey(kb_id, int(generation), url)


def generation_key(kb_id: str, generation: int) -> str:
    return f"{kb_id}/{generation}"


def span_key(job_id: str, partition: int, first_offset: int, last_offset: int) -> str:
    return f"{job_id}/{partition}/{first_offset}/{last_offset}"


def requeued_key(job_id: str, partition: int) -> str:
    return f"{job_id}/{partition}/requeued_through"
