"""A server that takes webhooks, and checks each signature by itself, from the specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from tests.fakes.serving import LoopbackServer


@dataclass(frozen=True)
class Received:
    id: str
    body: Any
    headers: dict[str, str]
    raw: bytes

    def signed_by(self, secret: str) -> bool:
        """Whether one of its signatures is by this `whsec_` secret."""
        key = base64.b64decode(secret[len("whsec_") :])
        content = self.id.encode() + b"." + self.headers["webhook-timestamp"].encode() + b"." + self.raw
        wanted = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        return f"v1,{wanted}" in self.headers["webhook-signature"].split(" ")


@dataclass
class WebhookReceiver(LoopbackServer):
    """Answers with the next of `answers` (status and headers), and with 204 where there is none."""

    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._take)
        return application

    def types(self) -> list[str]:
        return [each.body["type"] for each in self.received]

    async def _take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(headers["webhook-id"], msgspec.json.decode(raw), headers, raw))
        status, more = self.answers.popleft() if self.answers else (204, {})
        return web.Response(status=status, headers=more)
