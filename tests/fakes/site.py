"""A web site of generated documentation pages, which logs what it is asked and misbehaves on demand.

python -m tests.fakes.site --pages 500 --port 8901
"""

import argparse
import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from tests.fakes.serving import LoopbackServer, serve_until_signalled
from tests.fakes.site_pages import Shape, page_html, path_of

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What a path does in place of its page; see `tests.fakes.site_behaviours`."""

LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass(frozen=True)
class Visit:
    """One request, on `time.monotonic`'s clock; `status` 0 is one that never got an answer."""

    at_s: float
    path: str
    status: int
    user_agent: str


class FakeSite(LoopbackServer):
    """`pages` generated pages below `/docs/`, linked as a tree from `url`.

    visits: every request. requests: how often each path was asked. fetched: how often its whole body was sent (a 304
    does not count), to prove that no page was fetched twice.
    """

    def __init__(
        self,
        pages: int = 50,
        *,
        port: int = 0,
        min_kb: int = 8,
        max_kb: int = 80,
        seed: int = 1,
        latency_s: float = 0.0,
        robots: str | None = None,
    ) -> None:
        super().__init__(port)
        self.shape = Shape(pages, min_kb, max_kb, seed)
        self.latency_s, self.robots = latency_s, robots
        self._numbers = {path_of(number): number for number in range(pages)}
        self._versions: dict[str, int] = {}
        self._extra: dict[str, tuple[bytes, str]] = {}
        self._behaviours: dict[str, tuple[Behaviour, int | None]] = {}
        self._rendered: dict[tuple[int, int], bytes] = {}
        self._unheld: int | None = None
        self._hold_s: float | None = None
        self._released = asyncio.Event()
        self.forget()

    def forget(self) -> None:
        """Empty the request log."""
        self.visits: list[Visit] = []
        self.requests: Counter[str] = Counter()
        self.fetched: Counter[str] = Counter()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The start page, from which every page can be reached."""
        return self.root + path_of(0)

    @property
    def paths(self) -> list[str]:
        return list(self._numbers)

    def behave(self, path: str, behaviour: Behaviour, times: int | None = None) -> None:
        """`path` behaves so for the next `times` requests, or for good."""
        self._behaviours[path] = (behaviour, times)

    def heal(self, path: str) -> None:
        self._behaviours.pop(path, None)

    def hold(self, after: int, each_s: float | None = None) -> None:
        """Answers `after` more pages; each one beyond waits for `release`, or for `each_s` if that is sooner.

        What a test does in the middle of a crawl is so done there, however slow the machine.
        """
        self._unheld, self._hold_s = after, each_s
        self._released.clear()

    def release(self) -> None:
        self._unheld = None
        self._released.set()

    def put(self, path: str, body: str | bytes, content_type: str = "text/html; charset=utf-8") -> None:
        """Adds a page, or replaces one; nothing links to it by itself."""
        self._extra[path] = (body.encode() if isinstance(body, str) else body, content_type)

    def edit(self, path: str) -> None:
        """The page gets another text, and so another ETag."""
        self._versions[path] = self._versions.get(path, 0) + 1

    def remove(self, path: str) -> None:
        """404 from now on; links to it stay."""
        self._extra.pop(path, None)
        self._numbers.pop(path, None)

    def render_all(self) -> int:
        """Makes every page before it is asked for, so that a benchmark does not measure it. Bytes of HTML."""
        return sum(len(self._body(path)) for path in self._numbers)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._visit)
        return app

    async def _visit(self, request: web.Request) -> web.StreamResponse:
        path, status, came_s = request.path, 0, time.monotonic()
        self.requests[path] += 1
        try:
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            if path in self._numbers:
                await self._turn()
            response = await self._respond(request)
            status = response.status
            self.fetched[path] += status == 200
            return response
        finally:
            agent = request.headers.get("User-Agent", "")
            self.visits.append(Visit(came_s, path, status, agent))

    async def _turn(self) -> None:
        if self._unheld is None:
            return
        if self._unheld:
            self._unheld -= 1
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._released.wait(), self._hold_s)

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        behaviour = self._next_behaviour(request.path)
        if behaviour is not None:
            return await behaviour(request)
        if request.path == "/robots.txt":
            return web.Response(text=self.robots) if self.robots is not None else web.Response(status=404)
        if request.path in self._extra:
            body, content_type = self._extra[request.path]
            return _page(request, body, content_type)
        if request.path in self._numbers:
            return _page(request, self._body(request.path), "text/html; charset=utf-8")
        return web.Response(status=404, text="no such page")

    def _next_behaviour(self, path: str) -> Behaviour | None:
        behaviour, times = self._behaviours.get(path, (None, None))
        if behaviour is not None and times is not None:
            if times <= 1:
                self.heal(path)
            else:
                self._behaviours[path] = (behaviour, times - 1)
        return behaviour

    def _body(self, path: str) -> bytes:
        key = (self._numbers[path], self._versions.get(path, 0))
        if key not in self._rendered:
            self._rendered[key] = page_html(self.shape, *key).encode()
        return self._rendered[key]


def _page(request: web.Request, body: bytes, content_type: str) -> web.Response:
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {"ETag": etag, "Last-Modified": LAST_MODIFIED}
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers | {"Content-Type": content_type})


async def _main(arguments: argparse.Namespace) -> None:
    site = FakeSite(
        arguments.pages,
        port=arguments.port,
        min_kb=arguments.min_kb,
        max_kb=arguments.max_kb,
        seed=arguments.seed,
        latency_s=arguments.latency_ms / 1000,
    )
    site.render_all()
    await site.start()
    await serve_until_signalled(site, site.url)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a fake documentation site")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--min-kb", type=int, default=8, help="size of the smallest pages")
    parser.add_argument("--max-kb", type=int, default=80, help="size of the largest pages")
    parser.add_argument("--port", type=int, default=8901)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency-ms", type=float, default=0)
    asyncio.run(_main(parser.parse_args()))
