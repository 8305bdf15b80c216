"""Below the application: connections on which no whole request has come yet, and requests that are none."""

import asyncio
import logging

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from headrace.service import Quiet

HEADERS_WITHIN_S = 15.0
"""A client sends its first whole header in one packet or two; one that takes longer holds a connection for nothing."""
KEEP_ALIVE_S = 150.0
"""Of a connection without a request under way. Proxies keep theirs for one or two minutes, and must be the first to
close: a request that crosses the close is lost."""

_SERVER = "aiohttp.server"


def server_log() -> logging.Logger:
    """aiohttp's, with the filter that it needs."""
    logger = logging.getLogger(_SERVER)
    logger.filters = [Malformed()]
    return logger


class Malformed(Quiet):
    """Says who sent what could not be parsed, every few seconds at most, and nothing of what it held.

    aiohttp's own errors quote it, and it may be a token or a login.
    """

    def __init__(self) -> None:
        super().__init__(_SERVER)

    def filter(self, record: logging.LogRecord) -> bool:
        exc = record.exc_info[1] if record.exc_info else None
        if isinstance(exc, HttpProcessingError | web.RequestPayloadError):
            record.msg, record.args = "malformed request from %s", record.args or ("a client",)
            record.exc_info = None
            if record.levelno > logging.WARNING:
                record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return super().filter(record)


def has_left(request: web.Request) -> bool:
    """Whether the client has hung up, or its connection was cut."""
    return request.transport is None or request.transport.is_closing()


class Unasked:
    """Connections that have asked nothing yet; `close` ends one that is still among them."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.BaseProtocol] = set()

    def asks(self, request: web.Request) -> None:
        self._waiting.discard(request.protocol)

    def connected(self, connection: RequestHandler) -> RequestHandler:
        self._waiting.add(connection)
        asyncio.get_running_loop().call_later(HEADERS_WITHIN_S, self.close, connection)
        return connection

    def close(self, connection: RequestHandler) -> None:
        if connection in self._waiting:
            self._waiting.discard(connection)
            connection.force_close()


class Site(web.BaseSite):
    """An address and port, on which `unasked` is told of each connection."""

    def __init__(self, runner: web.AppRunner, unasked: Unasked, host: str, port: int) -> None:
        super().__init__(runner)
        self._unasked, self._host, self._port = unasked, host, port

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._unasked.connected(server()), self._host, self._port, reuse_address=True, backlog=self._backlog
        )
