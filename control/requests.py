"""Reading requests: bodies, parameters, and who may send them."""

import ipaddress
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from control.problems import BadRequest, Forbidden, Invalid, Unsupported
from schemas.commands import MAX_REASON
from schemas.estimates import MAX_SAMPLE, SAMPLE
from schemas.events import Place
from schemas.kb import (
    Budget,
    Chunking,
    Crawl,
    Definition,
    Embedding,
    InvalidDefinition,
    Publish,
    Source,
    check_embedding,
    check_kb_id,
    parse_definition,
)

MAX_BODY_BYTES = 1024 * 1024
READS = frozenset({"GET", "HEAD", "OPTIONS"})

Reason = Annotated[str, msgspec.Meta(max_length=MAX_REASON)]
"""Stands in a command, in each status of its job and in the audit trail."""

WAITS = web.RequestKey("waits", str)
"""Set on a request that waits by design, unlike others of its route: what the metrics add to the route."""

S = TypeVar("S", bound=msgspec.Struct)


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of pause, resume and cancel; it may be left out."""

    reason: Reason | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a definition, or `definition`; none where the knowledge base is to be refreshed as it is defined.

    `dry_run`: nothing is started; a sample of the site's pages, `sample` at most, tells what a job would come to.
    """

    source: Source | None = None
    crawl: Crawl = Crawl()
    chunking: Chunking = Chunking()
    embedding: Embedding = Embedding()
    budget: Budget = Budget()
    publish: Publish = Publish()
    definition: Definition | None = None
    dry_run: bool = False
    sample: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLE)] = SAMPLE


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`digest` is that of the manifest which was seen: named, no other one is approved by mistake."""

    digest: str | None = None
    reason: Reason | None = None


class Rollback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`generation` is the newest published one: named, a repeated request undoes no second one."""

    generation: int | None = None
    reason: Reason | None = None


class Vacuum(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`keep` published generations (1 without either), or all from `below` on."""

    keep: Annotated[int, msgspec.Meta(ge=1)] | None = None
    below: Annotated[int, msgspec.Meta(ge=1)] | None = None
    reason: Reason | None = None


class Reembed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By which model; without `embedding`, by the definition's. What it leaves open is filled in as in a definition.

    `dry_run`: nothing is started; the stored texts tell what it would come to.
    """

    embedding: Embedding | None = None
    reason: Reason | None = None
    dry_run: bool = False


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters: those that fit every condition given, or `all`. `reason` is a part of theirs."""

    kb_id: str | None = None
    job_id: str | None = None
    reason: str | None = None
    places: Annotated[list[Place], msgspec.Meta(max_length=1_000)] | None = None
    all: bool = False


def place(text: str, name: str) -> Place:
    """A place as it is written: partition/offset."""
    return Place(*pair(text, name, "partition/offset"))


def pair(text: str, name: str, says: str) -> tuple[int, int]:
    """Two numbers parted by a slash; `says` is what they mean, likewise."""
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal() and len(text) < 40 and max(int(first), int(second)) < 2**63):
        raise Invalid(f"{name} is {text[:80]!r}; write {says}, such as 2/17", code="invalid-parameter")
    return int(first), int(second)


def kb_id(request: web.Request) -> str:
    return kb_id_of(request.match_info["kb"])


def kb_id_of(given: str) -> str:
    try:
        return check_kb_id(given)
    except InvalidDefinition as exc:
        raise Invalid(str(exc), code="invalid-kb-id") from exc


async def body(request: web.Request) -> Any:
    """The decoded JSON body, or None where there is none."""
    try:
        raw = await request.read()
    except web.RequestPayloadError as exc:
        raise BadRequest("the body does not arrive as its headers say", code="invalid-body") from exc
    if not raw.strip():
        return None
    if request.content_type != "application/json":
        raise Unsupported(f"the body is {request.content_type}; send application/json", code="unsupported-media-type")
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}", code="invalid-json") from exc
    except RecursionError as exc:
        raise BadRequest("the body has lists or objects too deep within each other", code="invalid-json") from exc


async def definition(request: web.Request) -> Definition | None:
    """The KB definition in the body, also under "definition"; None where the body is empty."""
    return _definition(await body(request))


async def start(request: web.Request) -> tuple[Definition | None, int | None]:
    """The definition, as `definition` reads it, and the sample to estimate the start by; None: it is meant."""
    raw = await body(request)
    dry_run, sample = False, None
    if isinstance(raw, dict):
        dry_run, sample = raw.pop("dry_run", False), raw.pop("sample", None)
    if not isinstance(dry_run, bool):
        raise Invalid("dry_run is true or false", code="invalid-body")
    if sample is not None and (type(sample) is not int or not dry_run or not 1 <= sample <= MAX_SAMPLE):
        raise Invalid(f"sample is a number of pages up to {MAX_SAMPLE:,}, and goes with dry_run", code="invalid-body")
    return _definition(raw), (sample or SAMPLE) if dry_run else None


def _definition(raw: Any) -> Definition | None:
    if isinstance(raw, dict) and set(raw) == {"definition"}:
        raw = raw["definition"]
    if raw is None or raw == {}:
        return None
    try:
        return parse_definition(raw)
    except InvalidDefinition as exc:
        raise Invalid(str(exc), code="invalid-definition") from exc


async def reembed(request: web.Request) -> Reembed:
    asked = await of_type(request, Reembed)
    if asked.embedding is None:
        return asked
    raw = await body(request)
    try:
        check_embedding(raw["embedding"])
    except InvalidDefinition as exc:
        raise Invalid(str(exc), code="invalid-definition") from exc
    return asked


async def of_type(request: web.Request, kind: type[S]) -> S:
    """The body as `kind`; an empty one where all its fields have defaults."""
    raw = await body(request)
    if isinstance(raw, dict) and kind is not Retry:  # whose reason is no person's
        _check_reason(raw.get("reason"))
    try:
        return msgspec.convert({} if raw is None else raw, kind)
    except msgspec.ValidationError as exc:
        raise Invalid(str(exc), code="invalid-body") from exc


def reason(request: web.Request) -> str | None:
    """The query parameter."""
    given = request.query.get("reason")
    _check_reason(given)
    return given


def _check_reason(given: Any) -> None:
    if isinstance(given, str) and len(given) > MAX_REASON:
        raise Invalid(
            f"the reason has {len(given):,} characters, and {MAX_REASON} are taken: shorten it", code="reason-too-long"
        )


def number(request: web.Request, name: str, *, low: int, high: int) -> int | None:
    """An integer query parameter, or None where it is not given."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError as exc:
        raise Invalid(f"{name} is {text!r}; it must be a whole number", code="invalid-parameter") from exc
    if not low <= value <= high:
        raise Invalid(f"{name} is {value}; it must lie between {low} and {high}", code="invalid-parameter")
    return value


def choice(request: web.Request, name: str, values: tuple[str, ...]) -> str | None:
    text = request.query.get(name)
    if text is not None and text not in values:
        raise Invalid(f"{name} is {text!r}; use one of {', '.join(values)}", code="invalid-parameter")
    return text


def check_sender(request: web.Request, *, open_on: str | None) -> None:
    """Refuses what a foreign page makes a browser send: by its Host (DNS rebinding) or by its Origin.

    `open_on`: the address where everybody is served; on loopback only loopback names are ours. Where tokens are asked
    for, or the name is not known, only the Origin is compared with it: a browser shows a login to the name it is of.
    """
    host = request.headers.get("Host", "")
    if open_on is not None and is_loopback(open_on) and not is_loopback(_hostname(host)):
        raise Forbidden(f"the Host header names {host!r}, and this listens on loopback only", code="foreign-host")
    origin = request.headers.get("Origin")
    if request.method in READS or origin is None:
        return
    if _netloc(origin) != host:
        raise Forbidden(f"a page of {origin!r} may not write here", code="foreign-origin")


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""
