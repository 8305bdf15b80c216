"""Resolves the host names of webhooks in threads that nothing waits for.

uvloop resolves on four threads that all of control shares, and a look-up can't be ended: with a name server that does
not answer, a few hold each other, Kafka's too, and a stop, for a minute.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


class Resolver(AbstractResolver):
    """A thread for each look-up; it ends by itself, or with the process."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def look_up() -> None:
            try:
                result: Any = _addresses(host, port, family)
            except Exception as exc:
                result = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_settle, found, result)

        threading.Thread(target=look_up, name="webhook-resolver", daemon=True).start()
        return await found

    async def close(self) -> None:
        """Nothing is kept."""


def _settle(found: "asyncio.Future[list[ResolveResult]]", result: Any) -> None:
    if found.done():
        return
    if isinstance(result, Exception):
        found.set_exception(result)
    else:
        found.set_result(result)


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """Numeric ones, link-local ones with their zone. Raises OSError, or UnicodeError for what is no name."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        ResolveResult(
            hostname=host,
            host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
            port=port,
            family=found,
            proto=proto,
            flags=flags,
        )
        for found, _, proto, _, address in socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    ]
