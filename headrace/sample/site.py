"""Serves the sample site on loopback, in a thread of its own."""

import asyncio
import hashlib
import pydoc_data.topics
import threading
from concurrent.futures import Future
from email.utils import formatdate
from pathlib import Path
from typing import Self

from aiohttp import web

from headrace.embedded.ports import free_ports, is_free
from headrace.sample.pages import ROOT, Page, pages

HOST = "127.0.0.1"
PORT = 8790
"""The usual port, so that a second run finds the same URLs; another one where it is taken."""
ROBOTS = "User-agent: *\nAllow: /\n"


class SampleSite:
    """`start`, `stop`, or a `with` block. Answers conditional requests, as documentation sites do."""

    def __init__(self, port: int = PORT) -> None:
        self.port = port if is_free(port) else free_ports(1)[0]
        self._etags = {path: _etag(page) for path, page in pages().items()}
        self._last_modified = formatdate(Path(pydoc_data.topics.__file__).stat().st_mtime, usegmt=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="sample-site", daemon=True)
        self._started: Future[None] = Future()
        self._stop = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{ROOT}"

    @property
    def page_count(self) -> int:
        return len(pages())

    def start(self) -> None:
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._answer)
        server = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        try:
            await server.setup()
            await web.TCPSite(server, HOST, self.port).start()
            self._started.set_result(None)
        except OSError as exc:  # the port was taken meanwhile: `start` raises it
            self._started.set_exception(exc)
            return
        await self._stop.wait()
        await server.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == "/":
            raise web.HTTPMovedPermanently(ROOT)
        if request.path == "/robots.txt":
            return web.Response(text=ROBOTS)
        page = pages().get(request.path)
        if page is None:
            return web.Response(status=404, text="There is no such page.\n")
        validators = {"ETag": self._etags[page.path], "Last-Modified": self._last_modified}
        if request.headers.get("If-None-Match") == validators["ETag"]:
            return web.Response(status=304, headers=validators)
        return web.Response(text=page.html, content_type="text/html", charset="utf-8", headers=validators)


def _etag(page: Page) -> str:
    return f'"{hashlib.sha256(page.html.encode()).hexdigest()[:20]}"'
