"""One HTTP GET, bounded in every direction: addresses, time, bytes, headers.

Redirects are reported, never followed: the frontier treats the target as a link, so scope, robots.txt and the
address rules apply to every hop. Addresses are judged inside the connector, on the socket address itself, after
resolution: a name that resolves differently a moment later (DNS rebinding) gains nothing.
"""

import re
import socket
import time
from collections.abc import Iterable
from typing import Any, Literal

import aiohttp
import msgspec
from yarl import URL

from headrace.addresses import AddressPolicy, forbidden_within, guarded_socket_factory
from headrace.retry_after import retry_after_seconds
from producer.inflate import BodyTooLarge, Inflater, UnknownEncoding
from producer.urls import UrlError, canonical

MAX_BODY_BYTES = 10 * 1024 * 1024
READ_BYTES = 64 * 1024
MAX_OVERHEAD_BYTES = 256 * 1024
"""A compressed body may be so much larger than what it holds may be: headers, blocks and members of nothing."""
ACCEPT = "text/html,application/xhtml+xml,text/markdown,text/plain;q=0.9,*/*;q=0.1"

FetchErrorKind = Literal[
    "timeout",
    "too_slow",
    "dns",
    "connect",
    "tls",
    "too_large",
    "address_forbidden",
    "protocol",
    "bad_redirect",
    "host_unwell",
]
_LINK = re.compile(r"<([^<>]*)>\s*((?:;\s*[^\s;,=]+(?:\s*=\s*(?:\"[^\"]*\"|[^\s;,\"]*))?\s*)*)")
_LINK_PARAMETER = re.compile(r";\s*([^\s;,=]+)(?:\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]*)))?")
_NO_UTF_8 = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of such bytes (PEP 383)."""
_TRANSIENT = frozenset({"timeout", "too_slow", "connect"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Sent(msgspec.Struct):
    """What is known of a request, also where no usable answer came of it.

    received: bytes of the body on the wire. connections: how often it was sent; aiohttp asks again by itself, once,
    where a connection drops before the answer.
    """

    status: int | None = None
    received: int = 0
    connections: int = 0


class FetchError(Exception):
    """The page could not be had. `transient` says whether asking again later may help; `sent` what was tried."""

    def __init__(self, kind: FetchErrorKind, message: str, transient: bool | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind: FetchErrorKind = kind
        self.message = message
        self.transient = kind in _TRANSIENT if transient is None else transient
        self.sent = Sent()


class Timeouts(msgspec.Struct, frozen=True):
    """Limits of one request, seconds. A body slower than `min_bytes_per_s` on average is cut after `grace_s`."""

    connect_s: float = 10.0
    read_s: float = 15.0
    total_s: float = 60.0
    grace_s: float = 10.0
    min_bytes_per_s: float = 1_024.0


DEFAULT_TIMEOUTS = Timeouts()


class FetchResult(msgspec.Struct, frozen=True):
    """An answer, whatever its status. `body` is decompressed; `bytes_received` is what the body took on the wire.

    `x_robots_tag`: one header field a line. `canonical_url`: of a Link header (RFC 6596).
    """

    url: str
    status: int
    body: bytes
    bytes_received: int
    duration_ms: float
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    retry_after_s: float | None = None
    x_robots_tag: str | None = None
    canonical_url: str | None = None
    cache_control: str | None = None
    redirect_to: str | None = None
    truncated: bool = False
    connections: int = 1


class _Body(msgspec.Struct, frozen=True):
    data: bytes
    truncated: bool


_NO_BODY = _Body(b"", False)


class Fetcher:
    """Fetches pages. `async with` it, or `start`/`stop`; used from one event loop.

    `user_agent` must name the crawler and a contact. `allow_addresses`: CIDR ranges beyond public ones.
    `resolver` is for tests.
    """

    def __init__(
        self,
        user_agent: str,
        allow_addresses: Iterable[str] = (),
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        max_bytes: int = MAX_BODY_BYTES,
        max_connections: int = 64,
        resolver: aiohttp.abc.AbstractResolver | None = None,
    ) -> None:
        self._user_agent, self._timeouts, self._max_bytes = user_agent, timeouts, max_bytes
        self._policy = AddressPolicy(allow_addresses)
        self._max_connections, self._resolver = max_connections, resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Fetcher":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the connection pool. Does not touch the network."""
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            resolver=self._resolver,
            socket_factory=guarded_socket_factory(self._policy),
            ttl_dns_cache=60,
        )
        limits = aiohttp.ClientTimeout(
            total=self._timeouts.total_s,
            sock_connect=self._timeouts.connect_s,
            sock_read=self._timeouts.read_s,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding",),
            trace_configs=[_counting_connections()],
        )

    async def stop(self) -> None:
        """Close all connections; requests under way fail."""
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        url: str,
        etag: str | None = None,
        last_modified: str | None = None,
        max_bytes: int | None = None,
        truncate: bool = False,
    ) -> FetchResult:
        """GET a canonical URL, conditionally when validators are given (then the status may be 304).

        Raises FetchError. With `truncate`, a body over the limit is cut there instead (`truncated`).
        """
        if self._session is None:
            raise RuntimeError("Fetcher.start has not been awaited")
        started, sent = time.perf_counter(), Sent()
        try:
            # `encoded`: the URL is canonical already, and yarl would spell it otherwise.
            async with self._session.get(
                URL(url, encoded=True),
                headers=self._headers(etag, last_modified),
                allow_redirects=False,
                trace_request_ctx=sent,
            ) as response:
                sent.status = response.status
                redirect_to = _redirect_target(url, response)
                body = _NO_BODY
                if redirect_to is None:
                    body = await self._read_body(response, max_bytes or self._max_bytes, truncate, sent)
                return _result(url, response, body, redirect_to, (time.perf_counter() - started) * 1e3, sent)
        except (FetchError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # This dependency (the site) is unwell or wrong; the program isn't.
            typed = error if isinstance(error, FetchError) else _typed(error)
            typed.sent = sent
            raise typed from error.__cause__ if typed is error else error

    def _headers(self, etag: str | None, last_modified: str | None) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent, "Accept": ACCEPT, "Accept-Encoding": "gzip, deflate"}
        if etag:
            headers["If-None-Match"] = etag
        if last_modified:
            headers["If-Modified-Since"] = last_modified
        return headers

    async def _read_body(self, response: aiohttp.ClientResponse, max_bytes: int, truncate: bool, sent: Sent) -> _Body:
        inflater = Inflater(response.headers.get("Content-Encoding"), max_bytes)
        started = time.monotonic()
        try:
            _refuse_declared_size(response, max_bytes, truncate)
            async for data in response.content.iter_chunked(READ_BYTES):
                sent.received += len(data)
                inflater.feed(data)
                if sent.received > max_bytes + MAX_OVERHEAD_BYTES:
                    raise BodyTooLarge(max_bytes)
                self._check_pace(time.monotonic() - started, sent.received)
            inflater.finish()
        except BodyTooLarge:
            response.close()
            if truncate:
                return _Body(inflater.body(), True)
            raise
        return _Body(inflater.body(), False)

    def _check_pace(self, elapsed_s: float, received: int) -> None:
        limits = self._timeouts
        if elapsed_s > limits.grace_s and received < elapsed_s * limits.min_bytes_per_s:
            raise FetchError("too_slow", f"{received} bytes in {elapsed_s:.0f} s")


def _counting_connections() -> aiohttp.TraceConfig:
    """Counts in the request's `Sent`."""

    async def count(_session: aiohttp.ClientSession, context: Any, _event: Any) -> None:
        context.trace_request_ctx.connections += 1

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(count)
    config.on_connection_reuseconn.append(count)
    return config


def _result(
    url: str, response: aiohttp.ClientResponse, body: _Body, redirect_to: str | None, duration_ms: float, sent: Sent
) -> FetchResult:
    headers = response.headers
    return FetchResult(
        url=url,
        status=response.status,
        body=body.data,
        bytes_received=sent.received,
        duration_ms=duration_ms,
        content_type=_readable(headers.get("Content-Type")),
        etag=_validator(headers.get("ETag")),
        last_modified=_validator(headers.get("Last-Modified")),
        retry_after_s=retry_after_seconds(headers.get("Retry-After")),
        x_robots_tag=_readable("\n".join(headers.getall("X-Robots-Tag", [])) or None),
        canonical_url=_canonical_link(url, headers.getall("Link", [])),
        cache_control=_readable(headers.get("Cache-Control")),
        redirect_to=redirect_to,
        truncated=body.truncated,
        connections=sent.connections,
    )


def _readable(value: str | None) -> str | None:
    """A header, with U+FFFD for bytes that are no UTF-8, of which aiohttp makes surrogates: no JSON holds them."""
    return _NO_UTF_8.sub("\ufffd", value) if value is not None else None


def _validator(value: str | None) -> str | None:
    """None where it can't be sent back as it came."""
    return value if value is not None and not _NO_UTF_8.search(value) else None


def _escaped(value: str) -> str:
    """A URL of a header, with its bytes that are no UTF-8 percent-encoded, as browsers send them."""
    return _NO_UTF_8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", value)


def _canonical_link(url: str, fields: Iterable[str]) -> str | None:
    """The first target of the relation `canonical` (RFC 8288, 3)."""
    for target, parameters in _LINK.findall(",".join(fields)):
        rels = (quoted or plain for name, quoted, plain in _LINK_PARAMETER.findall(parameters) if name.lower() == "rel")
        if "canonical" in next(rels, "").lower().split():
            try:
                return canonical(_escaped(target), base=url)
            except UrlError:
                return None
    return None


def _redirect_target(url: str, response: aiohttp.ClientResponse) -> str | None:
    if response.status not in _REDIRECTS:
        return None
    location = response.headers.get("Location")
    if not location:
        raise FetchError("bad_redirect", f"status {response.status} without a Location", transient=False)
    try:
        return canonical(_escaped(location), base=url)
    except UrlError as error:
        raise FetchError("bad_redirect", str(error), transient=False) from error


def _refuse_declared_size(response: aiohttp.ClientResponse, max_bytes: int, truncate: bool) -> None:
    if response.content_length is not None and response.content_length > max_bytes and not truncate:
        raise BodyTooLarge(max_bytes)


_KIND_OF: tuple[tuple[tuple[type[Exception], ...], FetchErrorKind, bool], ...] = (
    ((BodyTooLarge,), "too_large", False),
    ((UnknownEncoding,), "protocol", False),
    ((TimeoutError,), "timeout", True),
    ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError), "tls", False),
    ((aiohttp.ClientPayloadError,), "protocol", True),
    ((aiohttp.ClientConnectionError, OSError), "connect", True),
)
"""First match wins: aiohttp's classes overlap. What isn't named here is a breach of the protocol."""


def _typed(error: Exception) -> FetchError:
    """Which kind of failure an exception of aiohttp, zlib or the socket is."""
    message = _NO_UTF_8.sub("\ufffd", str(error) or type(error).__name__)[:500]
    if (forbidden := forbidden_within(error)) is not None:
        return FetchError("address_forbidden", forbidden)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        unknown_name = getattr(error.os_error, "errno", None) == socket.EAI_NONAME
        return FetchError("dns", message, transient=not unknown_name)
    for types, kind, transient in _KIND_OF:
        if isinstance(error, types):
            return FetchError(kind, message, transient)
    return FetchError("protocol", f"{type(error).__name__}: {message}")
