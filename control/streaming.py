"""Answers that are sent piece by piece, to those who take them."""

import asyncio

from aiohttp import web

TAKES_WITHIN_S = 30.0
"""For each piece: who takes none of it for so long is not there any more, or wants to be in the way."""


async def send(request: web.Request, response: web.StreamResponse, piece: bytes) -> None:
    """Raises ConnectionError where the client has left, or is cut off."""
    try:
        async with asyncio.timeout(TAKES_WITHIN_S):
            await response.write(piece)
    except TimeoutError as exc:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError(f"nothing was taken for {TAKES_WITHIN_S:g} s") from exc
