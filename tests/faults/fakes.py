"""The fakes as the harness wants them: an API that remembers every text, and a site that grows."""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.openai_server import OpenAIServer, estimate_tokens
from tests.fakes.site import FakeSite
from tests.fakes.site_pages import path_of


@dataclass
class Asked:
    """One call that was accepted, on `time.monotonic`'s clock. `model` with its dimensions. `readable` is False for an
    answer that breaks off."""

    at_s: float
    worker: str
    model: str
    texts: tuple[str, ...]
    readable: bool


class WatchedOpenAI(OpenAIServer):
    """Each worker has a key of its own, by which it is told from the others."""

    def __init__(self) -> None:
        super().__init__(latency_s=0.1, dimensions=8, tokens_of=estimate_tokens)
        self.asked: list[Asked] = []

    async def _checked(self, request: web.Request) -> dict[str, Any]:
        body = await super()._checked(request)
        worker = request.headers["Authorization"].removeprefix("Bearer sk-")
        model = f"{body['model']} {body.get('dimensions')}"
        return body | {"asked": Asked(time.monotonic(), worker, model, tuple(body["input"]), True)}

    async def _answer(self, body: dict[str, Any], inputs: list[str], counts: list[int]) -> web.Response:
        failure = self._once[0] if self._once else self._always
        if failure is None or failure.error is None:
            asked: Asked = body["asked"]
            asked.readable = failure is None or not failure.malformed
            self.asked.append(asked)
        return await super()._answer(body, inputs, counts)


@dataclass(frozen=True)
class Change:
    """What happens to a site between two jobs: numbers of pages drawn by the schedule."""

    edited: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    added: int = 0
    broken: tuple[int, ...] = field(default=())
    """Answer 500 for the length of the next job."""


class FaultSite(FakeSite):
    """A small documentation site that is edited, shortened and grown between jobs."""

    def change(self, change: Change) -> None:
        for number in change.edited:
            self.edit(path_of(number))
        for number in change.removed:
            self.remove(path_of(number))
        if change.added:
            first = self.shape.pages
            self.shape = dataclasses.replace(self.shape, pages=first + change.added)
            self._numbers |= {path_of(number): number for number in range(first, first + change.added)}
            self._rendered.clear()

    def bodies(self) -> dict[str, bytes]:
        """Every page by its path."""
        return {path: self._body(path) for path in self._numbers}
