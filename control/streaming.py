"""Answers that are sent piece by piece, to those who take them."""

import array
import asyncio
import contextlib
import fcntl
import termios
from collections.abc import Callable
from typing import NoReturn

from aiohttp import web

TAKES_WITHIN_S = 30.0
"""Who takes nothing for so long is not there any more, or wants to be in the way; who is slow takes some."""


async def send(request: web.Request, response: web.StreamResponse, piece: bytes) -> None:
    """Raises ConnectionError where the client has left, or is cut off."""
    writing = asyncio.ensure_future(response.write(piece))
    try:
        await _while_taken(writing, lambda: _left(request))
        await writing
    except TimeoutError:
        cut_off(request, f"nothing was taken for {TAKES_WITHIN_S:g} s")
    finally:
        writing.cancel()


def cut_off(request: web.Request, why: str) -> NoReturn:
    """What was sent is seen to be no whole answer. Raises ConnectionError."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionAbortedError(why)


async def _while_taken(writing: asyncio.Future[None], left: Callable[[], int]) -> None:
    """Until it is done. `left`: bytes that nobody has taken yet. Raises TimeoutError when they get no fewer."""
    await asyncio.sleep(0)  # the connection has all of the piece now
    before = left()
    while not (await asyncio.wait({writing}, timeout=TAKES_WITHIN_S))[0]:
        now = left()
        if now >= before:
            raise TimeoutError
        before = now


def _left(request: web.Request) -> int:
    """What the system holds, too: it takes more only once a third of its buffer, up to some MiB, is free."""
    transport = request.transport
    if transport is None:
        return 0
    held = array.array("i", [0])
    with contextlib.suppress(OSError):  # some systems don't tell
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
    return transport.get_write_buffer_size() + held[0]
