"""One visit to one page: robots.txt, politeness, the request with its retries, the reading of what came."""

import asyncio
import contextlib
import functools
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from headrace import tracing
from producer.client import Client
from producer.fetch import FetchError, FetchErrorKind, FetchResult
from producer.frontier import MAX_HOPS, Entry
from producer.hosts import is_trouble
from producer.robots import RobotsCache
from producer.scope import Scope
from producer.sitemaps import Found, Sitemaps
from producer.templates import Templates
from producer.work import ContentPool, PageInput, PageOutput
from schemas.kb import Chunking, Definition, tokenizer_of
from schemas.pages import PageRecord, PageState

log = logging.getLogger(__name__)

BACK_OFF_S: Final = (1.0, 4.0)
"""Pauses between attempts: three within about 5 s, more where the host asks for it."""
TRIES_REFUSED: Final = 8
"""Where the host says 429: it is not the page's fault, and the host's own pauses add up to two minutes by then."""
SCOPE_CACHE: Final = 50_000

_RETRIED = frozenset({408, 425})
"""Beside trouble of the host."""
_GONE = frozenset({404, 410})
_WITH_CONTENT = frozenset({200, 203})
"""Others of 2xx have none (204, 205), or a part that was not asked for (206)."""
_OUTSIDE_LIMITS = frozenset({"too_large"})


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What a page came to, before anything of it is published.

    `content` is set for a page that was read; `links` are in scope, and all of base's where base's content stays;
    so are `nofollow_links`, which are not followed.
    `instead`: the URL whose content stands for this page's, which is left out; see `PageRecord`.
    `content_hash` is that of what was left out as the same; `template` is what the page was read with.
    `received`: bytes of the last answer's body on the wire; `duration_ms`: of the last request, answered or not.
    `unread`: it could not be read, and nothing is known from before: what it links to is anyone's guess.
    """

    entry: Entry
    attempt: int
    state: PageState
    status: int | None = None
    reason: str | None = None
    result: FetchResult | None = None
    content: PageOutput | None = None
    links: tuple[str, ...] = ()
    nofollow_links: tuple[str, ...] = ()
    instead: str | None = None
    content_hash: str | None = None
    template: str | None = None
    received: int = 0
    duration_ms: float = 0.0
    unread: bool = False


class _Trouble(msgspec.Struct, frozen=True):
    """No usable answer. `state` is set where it is no error: rules of the site exclude the page, or, when it is
    `limited`, limits of ours. The latter don't take away what base has. `kind`: of failure, where no answer came.
    `received`, `duration_ms` as in `Visit`."""

    reason: str
    status: int | None = None
    kind: FetchErrorKind | None = None
    transient: bool = False
    state: PageState | None = None
    limited: bool = False
    received: int = 0
    duration_ms: float = 0.0


def _trace(got: FetchResult | _Trouble, attempt: int) -> None:
    """Nothing where there was no request: robots.txt forbids the page, or its host is left alone."""
    if not got.duration_ms:
        return
    ended = time.time_ns()
    told: dict[str, str | int] = {"http.request.method": "GET", "http.request.resend_count": attempt - 1}
    if got.status is not None:
        told["http.response.status_code"] = got.status
    tracing.tell("fetch", ended - int(got.duration_ms * 1e6), ended, told, error=_error(got))


def _error(got: FetchResult | _Trouble) -> str | None:
    """By status or kind alone: a message may quote a URL. That a page is gone, or the site wants us slower, is none."""
    if got.status is not None:
        return f"status {got.status}" if got.status >= 500 else None
    return got.kind if isinstance(got, _Trouble) and not got.limited else None


class Visitor:
    """Visits pages of one crawl; many at once. `start`, `visit`, `stop`. Raises ScopeError for unusable patterns.

    `base`: what is known of pages from before, see `producer.base`.
    """

    def __init__(
        self,
        definition: Definition,
        pool: ContentPool,
        client: Client,
        robots: RobotsCache,
        *,
        base: Mapping[str, PageRecord],
    ) -> None:
        source = definition.source
        self.scope = Scope.from_source(source.urls, source.include, source.exclude)
        self._chunking: Chunking = definition.chunking
        self._tokenizer = definition.chunking.tokenizer or tokenizer_of(definition.embedding.model)
        self._pool, self._base = pool, base
        self._templates = Templates()
        self.waiting: set[asyncio.Task[Any] | None] = set()
        """Tasks in `visit` that have no request under way: cancelling them costs nothing."""
        self._client, self._robots = client, robots
        self._respects_robots = definition.crawl.respect_robots
        self.inside = functools.lru_cache(SCOPE_CACHE)(lambda url: self.scope.verdict(url).inside)

    async def start(self) -> None:
        await self._client.start()

    async def stop(self) -> None:
        await self._robots.forsake(self._client)
        await self._client.stop()

    def sitemaps(self, enough: int) -> AsyncGenerator[Found, None]:
        """What the sitemaps of the start URLs' hosts name within the scope; `enough` URLs will do."""
        robots = self._robots if self._respects_robots else None
        return Sitemaps(self._client, robots, self.inside, enough).read(self.scope.seeds)

    async def visit(self, entry: Entry) -> Visit:
        """Never raises for what the site does; ends after three attempts, or eight that the host refuses."""
        for attempt in itertools.count(1):
            with self._waits():
                got = await self._ask(entry, attempt)
            _trace(got, attempt)
            if isinstance(got, FetchResult):
                with tracing.span("read"):
                    visit = await self._judge(entry, attempt, got)
                return msgspec.structs.replace(visit, received=got.bytes_received, duration_ms=got.duration_ms)
            tries = TRIES_REFUSED if got.status == 429 else len(BACK_OFF_S) + 1
            if attempt >= tries or not got.transient:
                visit = self._troubled(entry, attempt, got)
                return msgspec.structs.replace(visit, received=got.received, duration_ms=got.duration_ms)
            with self._waits():
                await asyncio.sleep(BACK_OFF_S[min(attempt, len(BACK_OFF_S)) - 1])
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        """Within it the task counts as waiting, until `_begins`."""
        self.waiting.add(asyncio.current_task())
        try:
            yield
        finally:
            self._begins()

    def _begins(self) -> None:
        self.waiting.discard(asyncio.current_task())

    async def _ask(self, entry: Entry, attempt: int) -> FetchResult | _Trouble:
        if self._respects_robots:
            verdict = await self._robots.verdict(entry.url, self._client)
            if not verdict.allowed:
                return _Trouble(verdict.reason, state=None if verdict.unreadable else "skipped")
            self._client.share.set_crawl_delay(entry.url, verdict.crawl_delay_s)
        etag, last_modified = _validators(self._base.get(entry.url))
        began_s: float | None = None

        def begins() -> None:
            nonlocal began_s
            began_s = time.perf_counter()
            self._begins()

        try:
            result = await self._client.get(
                entry.url, "page", attempt=attempt, begins=begins, etag=etag, last_modified=last_modified
            )
        except FetchError as error:
            # The site is unwell, or this page is not for us; neither is ours to mend.
            limited = error.kind in _OUTSIDE_LIMITS
            return _Trouble(
                error.message,
                kind=error.kind,
                transient=error.transient,
                state="skipped" if limited else None,
                limited=limited,
                received=error.sent.received,
                duration_ms=(time.perf_counter() - began_s) * 1e3 if began_s is not None else 0.0,
            )
        if result.status in _RETRIED or is_trouble(result.status):
            return _Trouble(
                f"status {result.status}",
                result.status,
                transient=True,
                received=result.bytes_received,
                duration_ms=result.duration_ms,
            )
        return result

    async def _judge(self, entry: Entry, attempt: int, result: FetchResult) -> Visit:
        if result.redirect_to is not None:
            if result.redirect_to == entry.url or entry.as_it_is:
                how = "to itself" if result.redirect_to == entry.url else f"in a circle, by way of {result.redirect_to}"
                return self._troubled(entry, attempt, _Trouble(f"redirects {how}", result.status))
            return self._redirected(entry, attempt, result, result.redirect_to, "redirects")
        known = self._base.get(entry.url)
        if result.status == 304 and known is not None and any(_validators(known)):
            return self._from_base(entry, attempt, "unchanged", known, result=result)
        if result.status in _GONE:
            return Visit(
                entry=entry, attempt=attempt, state="gone", status=result.status, reason=f"status {result.status}"
            )
        if result.status not in _WITH_CONTENT:
            return self._troubled(entry, attempt, _Trouble(f"status {result.status}", result.status))
        return await self._read(entry, attempt, result)

    def _redirected(self, entry: Entry, attempt: int, result: FetchResult, target: str, how: str) -> Visit:
        verdict = self.scope.verdict(target)
        if verdict.inside and entry.hops >= MAX_HOPS:
            return self._troubled(entry, attempt, _Trouble(f"more than {MAX_HOPS} redirects in a row", result.status))
        reason = f"{how} to {target}" + ("" if verdict.inside else f", which is out of scope: {verdict.reason}")
        links = (target,) if verdict.inside else ()
        return Visit(entry=entry, attempt=attempt, state="redirected", status=result.status, reason=reason, links=links)

    async def _read(self, entry: Entry, attempt: int, result: FetchResult) -> Visit:
        try:
            content = await self._content(entry.url, result)
        except Exception as exc:
            # A fault of ours that this page brings out: it costs the page, not the crawl.
            log.exception("reading %s failed", entry.url)
            return self._troubled(entry, attempt, _Trouble(f"reading it failed: {exc!r}", result.status))
        if content.failure and content.limited:
            return self._troubled(
                entry, attempt, _Trouble(content.failure, result.status, state="skipped", limited=True)
            )
        if content.refresh_to is not None and not entry.as_it_is:
            return self._redirected(entry, attempt, result, content.refresh_to, "sends its readers on")
        if content.canonical_url is None and result.canonical_url is not None:
            content = msgspec.structs.replace(content, canonical_url=result.canonical_url)
        instead = None if content.failure or content.noindex else self._canonical(entry, content)
        reason = content.failure or ("noindex" if content.noindex else instead and f"canonical is {instead}")
        copied = (instead,) if instead else ()
        followed = () if content.nofollow else content.links
        marked = (*content.links, *content.nofollow_links) if content.nofollow else content.nofollow_links
        return Visit(
            entry=entry,
            attempt=attempt,
            state="skipped" if reason else "fetched",
            status=result.status,
            reason=reason,
            instead=instead,
            result=msgspec.structs.replace(result, body=b""),
            content=None if reason else content,
            template=content.template,
            links=tuple(dict.fromkeys((*copied, *self._in_scope(followed)))),
            nofollow_links=self._in_scope(link for link in marked if link != instead),
        )

    def _canonical(self, entry: Entry, content: PageOutput) -> str | None:
        """The other page in scope that this one is a copy of, as it says."""
        target = content.canonical_url
        if target is None or target == entry.url or entry.as_it_is:
            return None
        return target if self.inside(target) else None

    async def _content(self, url: str, result: FetchResult) -> PageOutput:
        """As base read the page; where it has changed, as its host's other pages are read now."""
        known = self._base.get(url)
        page = PageInput(
            url,
            result.body,
            result.content_type,
            result.x_robots_tag,
            self._chunking.max_tokens or 256,
            self._chunking.overlap_tokens,
            self._chunking.strategy,
            self._tokenizer,
            self._templates.site(url, known),
        )
        content = await self._pool.process(page)
        self._templates.note(url, page.site, content)
        if (better := self._templates.better(url, page.site, content, known)) is None:
            return content
        return await self._pool.process(msgspec.structs.replace(page, site=better))

    def _troubled(self, entry: Entry, attempt: int, trouble: _Trouble) -> Visit:
        known = self._base.get(entry.url)
        unread = trouble.state is None or trouble.limited
        if known is not None and unread:
            return self._from_base(entry, attempt, "kept", known, trouble=trouble)
        return Visit(
            entry=entry,
            attempt=attempt,
            state=trouble.state or "failed",
            status=trouble.status,
            reason=trouble.reason,
            unread=unread,
        )

    def _from_base(
        self,
        entry: Entry,
        attempt: int,
        state: PageState,
        known: PageRecord,
        *,
        result: FetchResult | None = None,
        trouble: _Trouble | None = None,
    ) -> Visit:
        """Base's content stays, and so what it links to is not unseen."""
        return Visit(
            entry=entry,
            attempt=attempt,
            state=state,
            status=result.status if result else trouble.status if trouble else None,
            reason=trouble.reason if trouble else None,
            result=result,
            links=self._in_scope(known.links),
            nofollow_links=self._in_scope(known.nofollow_links),
        )

    def _in_scope(self, links: Iterable[str]) -> tuple[str, ...]:
        return tuple(link for link in links if self.inside(link))


def _validators(known: PageRecord | None) -> tuple[str | None, str | None]:
    """ETag and Last-Modified for a conditional request."""
    return (known.etag, known.last_modified) if known is not None else (None, None)
