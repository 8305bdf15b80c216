"""`POST /sql`: a query in, rows or a Parquet file out."""

import asyncio

from aiohttp import web

from control import requests
from control.access import GATE, caller_of
from control.engine import Engine
from control.sql import SqlRequest
from control.streaming import cut_off, send

PARQUET = "application/vnd.apache.parquet"
TRUNCATED = "Headrace-Truncated"
_PIECE = 256 * 1024


async def sql(engine: Engine, request: web.Request) -> web.StreamResponse:
    asked = await requests.of_type(request, SqlRequest)
    engine.check_ready()
    with request.app[GATE].downloads.taken(caller_of(request).token):
        return await _answered(engine, request, asked)


async def _answered(engine: Engine, request: web.Request, asked: SqlRequest) -> web.StreamResponse:
    """Cut off when what admitted the caller ends."""
    gate, caller = request.app[GATE], caller_of(request)
    async with engine.sql.answer(asked) as result:
        response = web.StreamResponse(headers={TRUNCATED: str(result.truncated).lower()})
        response.content_type = "application/json" if asked.format == "json" else PARQUET
        with await asyncio.to_thread(result.path.open, "rb") as file:
            await response.prepare(request)
            while piece := await asyncio.to_thread(file.read, _PIECE):
                if not gate.stands(caller):
                    cut_off(request, "what admitted the caller was ended")
                await send(request, response, piece)
    return response
