"""`GET /events`: each change as it comes, until somebody ends it."""

import contextlib
from contextlib import aclosing

from aiohttp import web

from control import requests
from control.access import GATE, Watched, caller_of
from control.engine import Engine
from control.streaming import send


async def events(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Ends when either side goes, what admitted the caller does, or who watches takes nothing any more."""
    engine.check_ready()
    gate, caller = request.app[GATE], caller_of(request)
    watched = Watched(caller, frozenset(map(requests.kb_id_of, request.query.getall("kb", []))))
    last_id = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    with gate.streams.taken(caller.token), contextlib.suppress(ConnectionError):
        await response.prepare(request)
        async with aclosing(engine.hub.watch(last_id, watched, view=watched.view)) as frames:
            async for some in frames:
                if not gate.stands(caller):
                    break
                await send(request, response, some)
    return response
