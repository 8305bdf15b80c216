"""A knowledge base's definition: what to crawl, how to cut it, how to embed it."""

import hashlib
import ipaddress
import re
import unicodedata
from typing import Any, ClassVar, Literal, get_type_hints
from urllib.parse import urlsplit

import ada_url
import msgspec

from schemas.events import Event, Int64
from schemas.identity import SLUG, generation_key

NEVER = 2**31 - 1
"""`retired` of a chunk that no generation has retired: range filters need a number, not a null."""


Strategy = Literal["structure", "tokens", "sentences"]
Tokenizer = Literal["cl100k", "wordpiece"]
"""What tokens are counted in: as text-embedding-3-* does, or in word pieces of bert-base-uncased."""


class InvalidDefinition(ValueError):
    """The definition can't be used; the message names the field and what to write instead."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where pages come from. `include` and `exclude` are URL path globs; `sitemaps` whether the site's are read."""

    type: Literal["web"] = "web"
    urls: tuple[str, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_pages: Int64 = 10_000
    max_depth: Int64 | None = None
    allow_addresses: tuple[str, ...] = ()
    sitemaps: bool = True


class Crawl(msgspec.Struct, frozen=True, kw_only=True):
    concurrency_per_host: Int64 = 8
    delay_s: float = 0.0
    respect_robots: bool = True


class Chunking(msgspec.Struct, frozen=True, kw_only=True):
    """`max_tokens` counts in `tokenizer`; None is 256 with a local model (it reads no further), else 512. `tokenizer`
    None is the embedding model's own, see `tokenizer_of`: it is named where chunks were cut for another model, and only
    embedded anew since. What `strategy` cuts by is told in producer/chunker.py."""

    strategy: Strategy = "structure"
    max_tokens: Int64 | None = None
    overlap_tokens: Int64 = 50
    tokenizer: Tokenizer | None = None


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """None means the default: openai where a key is set, else local; that provider's usual model and size.

    `endpoint`: the name of a server that the services' environment knows (a name only: its address and key stay there).
    """

    provider: Literal["openai", "local"] | None = None
    model: str | None = None
    dimensions: Int64 | None = None
    endpoint: str | None = None


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What one job may spend on embedding: before the call that could pass it, the job is paused."""

    max_tokens: Int64 | None = None
    max_usd: float | None = None


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    max_vanished_share: float = 0.2


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    source: Source
    crawl: Crawl = Crawl()
    chunking: Chunking = Chunking()
    embedding: Embedding = Embedding()
    budget: Budget = Budget()
    publish: Publish = Publish()


class KbDefined(Event, frozen=True, kw_only=True):
    """Control's record of a KB. A deleted KB stays, so that its generation numbers are never used again.

    Generations up to `deleted_through` went with a deletion: no search sees them and no job builds on them.
    Those below `vacuumed_below` can't be searched any more: chunks that only they show are being deleted, or are gone.
    `reembedding` is a generation that embeds the KB's texts anew: once it is published, its model becomes the
    definition's; undone, it changes nothing.
    """

    TYPE: ClassVar[str] = "kb_defined"
    TOPIC: ClassVar[str] = "kbs"

    kb_id: str
    definition: Definition
    last_generation: Int64 = 0
    deleted: bool = False
    deleted_through: Int64 = 0
    vacuumed_below: Int64 = 0
    reembedding: Int64 | None = None
    updated_at: str
    updated_by: str

    def key(self) -> str:
        return self.kb_id


class GenerationState(Event, frozen=True, kw_only=True):
    """The consumer's record of a generation: open, then published or undone; undone is final.

    `not_indexed`: chunks that its manifest names and that could not be indexed; a refresh sends them again. Of an open
    one, chunks of base that Weaviate was found to lack: the crawl that begins anew sends them.
    `not_indexed_cut`: there are more than a record holds, so all are sent.
    `recrawl`: records of its job were lost. A crawl whose epoch is not above it begins anew; pages that lost chunks
    have no record by then. -1: none was ever asked for. `recrawls` counts how often it was.
    `told_revision`: that of the command which asked for the undo, once nothing is left and that is told; 0 before.
    """

    TYPE: ClassVar[str] = "generation_state"
    TOPIC: ClassVar[str] = "kbs"

    kb_id: str
    generation: Int64
    job_id: str
    state: Literal["open", "published", "undone"]
    base: Int64 | None
    collection: str
    epoch: Int64 = 0
    recrawl: Int64 = -1
    recrawls: Int64 = 0
    not_indexed: tuple[str, ...] = ()
    not_indexed_cut: bool = False
    told_revision: Int64 = 0
    changed_at: str
    reason: str | None = None

    def key(self) -> str:
        return generation_key(self.kb_id, self.generation)


MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}\Z")
"""Its name is most of a collection's, for which Weaviate takes ASCII letters, digits and `_`, up to 255."""
ENDPOINT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
MAX_DIMENSIONS = 65_535

MAX_URL_CHARS = 2_000
"""Of a start URL: what all browsers and servers take."""

LOCAL_MODELS = {"all-MiniLM-L6-v2": 384}
_WORDPIECE_MODELS = frozenset({"all-MiniLM-L6-v2"})
LOCAL_MAX_TOKENS = 256
"""Local models read no further."""
OPENAI_MODELS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


def check_kb_id(kb_id: str) -> str:
    if not SLUG.match(kb_id):
        raise InvalidDefinition(
            f"knowledge base id {kb_id!r} is not a slug: use 1 to 64 of a-z, 0-9, - and _, "
            "starting and ending with a letter or digit"
        )
    return kb_id


def parse_definition(raw: Any) -> Definition:
    """A checked definition from decoded JSON.

    Raises:
        InvalidDefinition: naming the field that is unknown, of the wrong type, or out of range.
    """
    _refuse_unknown(raw, Definition, "")
    try:
        definition = msgspec.convert(raw, Definition)
    except msgspec.ValidationError as exc:
        raise InvalidDefinition(str(exc)) from exc
    _check_source(definition.source)
    _check_model(definition.embedding.model)
    _check_endpoint(definition.embedding)
    _check_ranges(definition)
    return definition


def check_url(url: str) -> None:
    """Of what a person gives as a start URL; records hold what was accepted in their time. Raises InvalidDefinition."""
    if "@" in url.partition(":")[2].lstrip("/").partition("/")[0]:  # before anything repeats the URL
        raise InvalidDefinition("credentials in a URL are not accepted")
    if len(url) > MAX_URL_CHARS:
        raise InvalidDefinition(f"{url[:80]!r}… has {len(url):,} characters; a URL may have {MAX_URL_CHARS:,}")
    if any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in url):
        raise InvalidDefinition(f"{url!r} holds a space or a control character; in a path, a space is written %20")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise InvalidDefinition(f"{url!r} is not a URL: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidDefinition(f"{url!r} is not an http or https URL")
    if not ada_url.check_url(url):
        raise InvalidDefinition(f"{url!r} is not a URL: no browser would take it")


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields by their path, such as `crawl.delay_s`, with both values; of two definitions as JSON objects."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in [*one, *(name for name in other if name not in one)]:
        ours, theirs = one.get(name), other.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found |= {f"{name}.{path}": values for path, values in differences(ours, theirs).items()}
        elif ours != theirs:
            found[name] = ours, theirs
    return found


def check_embedding(raw: Any) -> None:
    """As `parse_definition` checks that part of one. Raises InvalidDefinition."""
    parse_definition({"source": {"urls": ["https://none.example/"]}, "embedding": raw})


def resolve(definition: Definition, *, openai_available: bool) -> Definition:
    """The definition with every default made explicit, as it stands in a job's command."""
    embedding, chunking = definition.embedding, definition.chunking
    provider = embedding.provider or ("openai" if openai_available or embedding.endpoint else "local")
    models = OPENAI_MODELS if provider == "openai" else LOCAL_MODELS
    model = embedding.model or next(iter(models))
    _check_model(model)
    if provider == "local" and model not in LOCAL_MODELS:
        raise InvalidDefinition(f"embedding.model {model!r} is no local model; known: {', '.join(LOCAL_MODELS)}")
    dimensions = embedding.dimensions or models.get(model)
    if dimensions is None:
        raise InvalidDefinition(f"embedding.dimensions must be given for the model {model!r}")
    if provider == "local" and dimensions != LOCAL_MODELS[model]:
        raise InvalidDefinition(f"embedding.dimensions of {model!r} is {LOCAL_MODELS[model]}")
    max_tokens = chunking.max_tokens or (LOCAL_MAX_TOKENS if provider == "local" else 512)
    return msgspec.structs.replace(
        definition,
        embedding=Embedding(provider=provider, model=model, dimensions=dimensions, endpoint=embedding.endpoint),
        chunking=msgspec.structs.replace(chunking, max_tokens=max_tokens),
    )


def tokenizer_of(model: str | None) -> Tokenizer:
    """What an embedding model counts in; cl100k where nobody knows."""
    return "wordpiece" if model in _WORDPIECE_MODELS else "cl100k"


def cut_by(definition: Definition) -> Chunking:
    """How chunks of a resolved definition are cut, with what their tokens are counted in."""
    chunking = definition.chunking
    return msgspec.structs.replace(chunking, tokenizer=chunking.tokenizer or tokenizer_of(definition.embedding.model))


def same_vectors(one: Embedding, other: Embedding) -> bool:
    """Two resolved profiles give a text the same vector: wherever it is computed."""
    return msgspec.structs.replace(one, endpoint=None) == msgspec.structs.replace(other, endpoint=None)


def collection_name(embedding: Embedding, prefix: str = "Headrace") -> str:
    """The Weaviate collection of a resolved embedding profile: one per provider, model and dimensions.

    A model of lower-case words and hyphens, or of ours, is readable in it; others have a hash behind them, as
    `bge-1.5` and `bge-1-5` would be one. Dimensions have five digits at most, so no hash looks like them.
    """
    name, model = former_collection_name(embedding, prefix), embedding.model or ""
    ours = OPENAI_MODELS if embedding.provider == "openai" else LOCAL_MODELS
    if model in ours or _PLAIN.fullmatch(model):
        return name
    return f"{name}_{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def former_collection_name(embedding: Embedding, prefix: str = "Headrace") -> str:
    """What stands in no command: the collection of jobs from before commands named theirs."""
    words = f"{embedding.provider} {embedding.model} {embedding.dimensions}"
    return prefix + "".join("_" + part for part in "".join(c if c.isalnum() else " " for c in words).split())


_PLAIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _check_model(model: str | None) -> None:
    if model is not None and not MODEL.match(model):
        raise InvalidDefinition(
            f"embedding.model {model[:80]!r} is no model's name: use 1 to 128 of a-z, A-Z, 0-9 and . _ : / @ + -, "
            "starting with a letter or digit"
        )


def _check_endpoint(embedding: Embedding) -> None:
    if embedding.endpoint is None:
        return
    if not ENDPOINT.fullmatch(embedding.endpoint):
        raise InvalidDefinition(
            f"embedding.endpoint {embedding.endpoint[:40]!r} is no name: it has up to 32 of a-z, 0-9 and -; the "
            "address that it stands for is in the environment of control and the consumer"
        )
    if embedding.provider == "local":
        raise InvalidDefinition("embedding.endpoint is a server's: leave it out where embedding.provider is local")


def _refuse_unknown(raw: Any, struct: type[msgspec.Struct], path: str) -> None:
    if not isinstance(raw, dict):
        raise InvalidDefinition(f"{path or 'the definition'} must be a JSON object")
    known = get_type_hints(struct)
    for name, value in raw.items():
        if name not in known:
            raise InvalidDefinition(f"unknown field {path}{name}; known: {', '.join(struct.__struct_fields__)}")
        kind = known[name]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            _refuse_unknown(value, kind, f"{path}{name}.")


def _check_source(source: Source) -> None:
    if not source.urls:
        raise InvalidDefinition("source.urls is empty: name at least one http or https URL")
    for url in source.urls:
        try:
            check_url(url)
        except InvalidDefinition as exc:
            raise InvalidDefinition(f"source.urls: {exc}") from exc
    for network in source.allow_addresses:
        try:
            ipaddress.ip_network(network)
        except ValueError as exc:
            raise InvalidDefinition(f"source.allow_addresses: {exc}; write a CIDR range such as 127.0.0.0/8") from exc


def _check_ranges(definition: Definition) -> None:
    source, crawl, chunking = definition.source, definition.crawl, definition.chunking
    _within("source.max_pages", source.max_pages, 1, 10_000_000)
    _within("source.max_depth", source.max_depth, 0, 1_000)
    _within("crawl.concurrency_per_host", crawl.concurrency_per_host, 1, 256)
    _within("crawl.delay_s", crawl.delay_s, 0, 3_600)
    _within("chunking.max_tokens", chunking.max_tokens, 32, 8_000)
    _within("chunking.overlap_tokens", chunking.overlap_tokens, 0, (chunking.max_tokens or 256) // 2)
    _within("embedding.dimensions", definition.embedding.dimensions, 1, MAX_DIMENSIONS)
    _within("budget.max_tokens", definition.budget.max_tokens, 1, 10**15)
    _within("budget.max_usd", definition.budget.max_usd, 0, 10**9)
    _within("publish.max_vanished_share", definition.publish.max_vanished_share, 0, 1)


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidDefinition(f"{name} is {value}; it must lie between {low} and {high}")
