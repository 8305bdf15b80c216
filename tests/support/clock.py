"""A loop whose clock jumps to the next thing that is to happen, so that hours of waiting take no time."""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    """Nothing ever comes from outside: who waits for that would wait for ever."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is to happen")
        self.now += max(0.0, timeout)
        return []


def run_at_once(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns; `time.monotonic` is the loop's clock meanwhile. It may use no socket, thread or process."""
    jump = _Jump()
    loop = asyncio.SelectorEventLoop(jump)
    with patch.object(loop, "time", lambda: jump.now), patch.object(time, "monotonic", lambda: jump.now):
        try:
            return loop.run_until_complete(main)
        finally:
            loop.close()
