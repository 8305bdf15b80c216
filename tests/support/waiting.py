"""Waiting for a condition, with a deadline: never a sleep in its place."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(
    condition: Callable[[], Awaitable[T]], *, within_s: float = 60.0, what: str = "", every_s: float = 0.05
) -> T:
    """The condition's first true value. Raises AssertionError with the last value seen when time is up."""
    deadline = time.monotonic() + within_s
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what or condition}; last seen: {value!r}")
        await asyncio.sleep(every_s)
