"""Every request of one job: it waits for its turn at the host, is made, and the host is told how it went."""

from collections.abc import Callable, Iterable
from typing import Final, Literal

from producer.fetch import Fetcher, FetchError, FetchResult
from producer.hosts import HostGivenUp, HostShare

Purpose = Literal["page", "robots", "sitemap"]
_MAYBE_LOAD: Final = frozenset({"timeout", "too_slow", "connect"})
"""Kinds of failure that an overloaded host shows."""


class Client:
    """`start`, `get` from one event loop for many URLs at once, `stop`.

    `reach`: the address ranges beyond public ones that the job may ask.
    """

    def __init__(self, fetcher: Fetcher, share: HostShare, reach: Iterable[str] = ()) -> None:
        self._fetcher, self.share = fetcher, share
        self.reach = frozenset(reach)

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
        """As `Fetcher.fetch`; `begins` is called when the request is made. Raises FetchError.

        Of kind `host_unwell`: nothing was asked, since the host has been unwell for too long.
        """
        try:
            async with self.share.slot(url) as turn:
                begins()
                try:
                    result = await self._fetcher.fetch(url, etag, last_modified, max_bytes, truncate)
                except FetchError as error:
                    if error.kind in _MAYBE_LOAD:
                        turn.failed()
                    raise
                turn.answered(result.status, result.retry_after_s)
                return result
        except HostGivenUp as exc:
            raise FetchError("host_unwell", str(exc), transient=False) from exc
