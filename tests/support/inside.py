"""The consumer inside the test's own process, cut off between two steps of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from consumer.service import main
from headrace.settings import Settings


class Cut(RuntimeError):
    """Where the process would have been killed."""


class CutOff:
    """`at` names a step; the first consumer that comes there ends, those started later go past it."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self._settings, self._patch = settings, patch
        self._pending = 0
        # A process ends with a stream that does not stop in time; in this one it would live on, and befall later tests.
        patch.setattr("consumer.service.STREAM_STOP_S", 90.0)

    def at(
        self, owner: type, method: str, when: Literal["before", "after"], of: Callable[..., bool] = lambda *args: True
    ) -> None:
        """`of(*arguments)` picks the call."""
        original, self._pending = getattr(owner, method), 1

        async def cut(it: Any, *args: Any, **named: Any) -> Any:
            mine = self._pending and of(*args)
            if mine and when == "before":
                self._pending = 0
                raise Cut(f"before {method}")
            result = await original(it, *args, **named)
            if mine:
                self._pending = 0
                raise Cut(f"after {method}")
            return result

        self._patch.setattr(owner, method, cut)

    async def run(self, within_s: float = 120.0) -> None:
        """Returns once a consumer was cut off, and has stopped."""
        async with asyncio.timeout(within_s):
            with pytest.raises(Cut):
                await main(self._settings, asyncio.Event())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Another consumer goes on."""
        stop = asyncio.Event()
        serving = asyncio.ensure_future(main(self._settings, stop))
        try:
            yield
        finally:
            stop.set()
            await serving
