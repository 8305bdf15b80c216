"""An aiohttp application on a loopback port, started and stopped by hand."""

import asyncio
import signal
from typing import Self

from aiohttp import web


class LoopbackServer:
    """Subclasses give the application; `port` 0 takes a free one. Usable as `async with`."""

    def __init__(self, port: int = 0) -> None:
        self._wanted_port, self._port = port, 0
        self._runner: web.AppRunner | None = None

    def application(self) -> web.Application:
        raise NotImplementedError

    @property
    def port(self) -> int:
        if not self._port:
            raise RuntimeError("the server was not started")
        return self._port

    async def start(self) -> None:
        """Started again after `stop`, it listens on the same port as before."""
        self._runner = web.AppRunner(
            self.application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port or self._wanted_port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def serve_until_signalled(server: LoopbackServer, url: str) -> None:
    """For `python -m`: prints the address, serves until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(url, flush=True)
    await stop.wait()
    await server.stop()
