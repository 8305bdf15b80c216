"""Every request of one job: it waits for its turn at the host, is made, and its outcome is told to host and ledger."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from producer.fetch import Fetcher, FetchError, FetchResult
from producer.hosts import HostGivenUp, HostShare, Turn
from schemas.codec import now
from schemas.facts import Purpose, Request

_MAYBE_LOAD: Final = frozenset({"timeout", "too_slow", "connect"})
"""Kinds of failure that an overloaded host shows."""


class Client:
    """`start`, `get` from one event loop for many URLs at once, `stop`. `note` is called with every request made.

    `reach`: the address ranges beyond public ones that the job may ask.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        share: HostShare,
        reach: frozenset[str] = frozenset(),
        note: Callable[[Request], None] = lambda _: None,
    ) -> None:
        self._fetcher, self.share, self.reach, self._note = fetcher, share, reach, note
        self.began = time.monotonic()

    async def start(self) -> None:
        await self._fetcher.start()

    async def stop(self) -> None:
        """Ends what is under way, and gives back what the job held of its hosts."""
        self.share.leave()
        await self._fetcher.stop()

    async def get(
        self,
        url: str,
        purpose: Purpose,
        *,
        attempt: int = 1,
        begins: Callable[[], None] = lambda: None,
        etag: str | None = None,
        last_modified: str | None = None,
        max_bytes: int | None = None,
        truncate: bool = False,
    ) -> FetchResult:
        """As `Fetcher.fetch`; `begins` is called when the request is made. Sitemaps go before pages. Raises FetchError.

        Of kind `host_unwell`: nothing was asked, since the host has been unwell for too long.
        """
        try:
            async with self.share.slot(url, ahead=purpose == "sitemap") as turn:
                begins()
                entry = _Entry(url, purpose, attempt, turn, self._note)
                try:
                    result = await self._fetcher.fetch(url, etag, last_modified, max_bytes, truncate)
                except FetchError as error:
                    entry.dropped(error.sent.connections - 1)
                    entry.ends(status=error.sent.status, error=error.kind, received=error.sent.received)
                    if error.kind in _MAYBE_LOAD:
                        turn.failed()
                    raise
                except asyncio.CancelledError:
                    entry.ends(error="cut_off")
                    raise
                entry.dropped(result.connections - 1)
                entry.ends(status=result.status, received=result.bytes_received)
                turn.answered(result.status, result.retry_after_s)
                return result
        except HostGivenUp as exc:
            raise FetchError("host_unwell", str(exc), transient=False) from exc


class _Entry:
    """A request in the ledger, from its beginning on."""

    def __init__(self, url: str, purpose: Purpose, attempt: int, turn: Turn, note: Callable[[Request], None]) -> None:
        self._url, self._purpose, self._attempt, self._turn, self._note = url, purpose, attempt, turn, note
        self._at, self._began = now(), time.perf_counter()

    def dropped(self, times: int) -> None:
        """It was sent before, on connections that dropped without an answer."""
        for _ in range(times):
            self._note(self._request(error="connect"))

    def ends(self, *, status: int | None = None, error: str | None = None, received: int = 0) -> None:
        duration_ms = round((time.perf_counter() - self._began) * 1e3)
        self._note(self._request(status=status, error=error, bytes=received, duration_ms=duration_ms))

    def _request(self, **outcome: Any) -> Request:
        return Request(
            at=self._at,
            url=self._url,
            purpose=self._purpose,
            waited_ms=round(self._turn.waited_s * 1e3),
            attempt=self._attempt,
            **outcome,
        )
