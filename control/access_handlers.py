"""The endpoints of access: log in, log out, who am I."""

import msgspec
from aiohttp import web

from control import answers
from control.access import GATE, Caller, caller_of
from control.engine import Engine
from control.sessions import COOKIE, LASTS_S

_PATH = "/api/ingestion"


async def whoami(engine: Engine, request: web.Request) -> answers.WhoAmI:
    return _who(caller_of(request))


async def login(engine: Engine, request: web.Request) -> web.Response:
    """The token comes as everywhere, in the header, which no other site's page can make a browser send."""
    caller, sessions = caller_of(request), request.app[GATE].sessions
    response = _response(_who(caller))
    if caller.token is not None:
        sessions.end(request.cookies.get(COOKIE, ""))
        value = sessions.begin(caller.token.id, caller.digest)
        encrypted = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
        response.set_cookie(
            COOKIE, value, max_age=LASTS_S, path=_PATH, httponly=True, samesite="Strict", secure=encrypted
        )
    return response


async def logout(engine: Engine, request: web.Request) -> web.Response:
    request.app[GATE].sessions.end(request.cookies.get(COOKIE, ""))
    response = _response(answers.LoggedOut())
    response.del_cookie(COOKIE, path=_PATH, httponly=True, samesite="Strict")
    return response


def _who(caller: Caller) -> answers.WhoAmI:
    token = caller.token
    return answers.WhoAmI(
        token=token.name if token else None,
        role=caller.role,
        kbs=list(caller.kbs),
        expires_at=token.expires_at if token else None,
    )


def _response(answer: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
