"""The HTTP server: routes, the guard against foreign pages, and problem details for every error."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from control import answers, assets, connections, problems
from control.access import GATE, Gate, guarding
from control.api import ROUTES, Route
from control.engine import Engine
from control.metrics import REQUESTS
from control.openapi import document
from control.problems import Problem
from control.requests import MAX_BODY_BYTES, WAITS, check_sender, is_loopback
from control.roles import need_of
from control.writer import Fenced
from headrace import tracing
from headrace.errors import DependencyUnwell
from headrace.settings import InvalidSetting, Settings
from headrace.tokens import InvalidTokens, read_tokens

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

_ENCODER = msgspec.json.Encoder()
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked all the time, by nobody who would look for a trace."""
LEFT = 499
"""Of a client that hung up before its answer was whole: no server error, and nobody reads it but the metrics."""
STOP_S = 2.0
"""What requests under way are given at a stop; `?after=` waits are cut off."""

_MAKE_ONE = "make a token first: headrace token create NAME --role admin"

ENGINE = web.AppKey("engine", Engine)
UNASKED = web.AppKey("unasked", connections.Unasked)
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def check_host(settings: Settings) -> None:
    """Raises InvalidSetting where strangers could reach an API without tokens, or the tokens can't be read."""
    if settings.tokens_file is not None and not settings.tokens_file.exists():
        raise InvalidSetting(f"HEADRACE_TOKENS_FILE names {settings.tokens_file}, which is not there; {_MAKE_ONE}")
    try:
        tokens = read_tokens(settings.tokens)
    except InvalidTokens as exc:
        raise InvalidSetting(str(exc)) from exc
    if not tokens and not is_loopback(settings.http_host) and not settings.http_trusted_network:
        raise InvalidSetting(
            f"HEADRACE_HTTP_HOST is {settings.http_host}, beyond loopback, and there are no API tokens to ask for: "
            f"{_MAKE_ONE}; or use 127.0.0.1; or set HEADRACE_HTTP_TRUSTED_NETWORK=true where something else keeps "
            "strangers out"
        )


async def listen(engine: Engine) -> web.AppRunner:
    """A server on the settings' host and port. Raises OSError where the port is taken."""
    settings = engine.settings
    app = application(engine)
    runner = web.AppRunner(
        app, access_log=None, logger=connections.server_log(), handle_signals=False, shutdown_timeout=STOP_S,
        keepalive_timeout=connections.KEEP_ALIVE_S,
    )  # fmt: skip
    await runner.setup()
    await connections.Site(runner, app[UNASKED], settings.http_host, settings.http_port).start()
    log.info("listening on http://%s:%d", settings.http_host, settings.http_port)
    return runner


def application(engine: Engine) -> web.Application:
    gate = Gate(engine)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_answering(gate), guarding(gate)])
    app[ENGINE], app[GATE], app[UNASKED] = engine, gate, connections.Unasked()
    app.on_shutdown.append(_end_streams)
    app.on_response_prepare.append(_keep_as_sent)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _serving(engine, route))
    app.router.add_get("/", assets.index)
    app.router.add_get(f"{assets.PREFIX}/{{name}}", assets.asset)
    app.router.add_get("/openapi.json", _openapi)
    for each in app.router.routes():
        need_of(each.method, each.resource.canonical if each.resource else "")
    return app


async def _keep_as_sent(request: web.Request, response: web.StreamResponse) -> None:
    """No browser guesses another type, and no cache keeps it; the page's own files say otherwise."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")


async def _end_streams(app: web.Application) -> None:
    app[ENGINE].hub.close()


def _serving(engine: Engine, route: Route) -> Next:
    async def serve(request: web.Request) -> web.StreamResponse:
        answer = await route.handler(engine, request)
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.Response(
            body=_ENCODER.encode(answer),
            status=route.status_of(answer),
            content_type="application/json",
            headers={"ETag": answer.etag} if isinstance(answer, answers.KbAnswer) else None,
        )

    return serve


def _answering(gate: Gate) -> Middleware:
    async def answer(request: web.Request, handler: Next) -> web.StreamResponse:
        try:
            check_sender(request, open_on=None if gate.tokens.required() else gate.listens_on)
            return await handler(request)
        except Exception as exc:  # whatever it is, the client gets a problem; a fault of ours is logged with its trace
            if isinstance(exc, ConnectionError) and connections.has_left(request):
                return web.Response(status=LEFT)
            return _problem(request, _as_problem(exc, request))

    @web.middleware
    async def answering(request: web.Request, handler: Next) -> web.StreamResponse:
        request.app[UNASKED].asks(request)
        began = time.monotonic()
        route = request.match_info.route.resource
        name = route.canonical if route else "unknown"
        with _traced(request, name) as span:
            response = await answer(request, handler)
            if span is not None:
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= 500:
                    tracing.fail(span, f"status {response.status}")
        REQUESTS.labels(name + request.get(WAITS, ""), request.method, str(response.status)).observe(
            time.monotonic() - began
        )
        return response

    return answering


def _traced(request: web.Request, route: str) -> "contextlib.AbstractContextManager[Span | None]":
    if route in PROBES:
        return contextlib.nullcontext()
    told = {"http.request.method": request.method, "http.route": route}
    parent = request.headers.get(tracing.HEADER)
    return tracing.span(f"{request.method} {route}", told, parent=parent, serves=True)


def _as_problem(exc: Exception, request: web.Request) -> Problem:
    match exc:
        case Problem():
            return exc
        case web.HTTPException():
            return _of_http(exc, request)
        case DependencyUnwell():
            retry = int(exc.retry_after_s) if exc.retry_after_s else None
            return problems.Unavailable(str(exc), code="dependency-unwell", retry_after_s=retry)
        case Fenced():
            return problems.Unavailable("another control instance took over; this one ends", code="fenced")
    log.error("%s %s failed", request.method, request.rel_url.raw_path, exc_info=exc)
    return Problem("an error of this program; its log says more", code="internal-error")


def _of_http(exc: web.HTTPException, request: web.Request) -> Problem:
    """aiohttp's own errors: no such path, method or room for the body."""
    details = {
        404: f"there is nothing at {request.rel_url.raw_path}; see /openapi.json",
        405: f"{request.rel_url.raw_path} does not know {request.method}; allowed: {exc.headers.get('Allow', '')}",
        413: f"the body is larger than {MAX_BODY_BYTES} bytes",
    }
    problem = Problem(details.get(exc.status, exc.reason), code=exc.reason.lower().replace(" ", "-"))
    problem.status, problem.title = exc.status, exc.reason  # type: ignore[misc]
    return problem


def _problem(request: web.Request, problem: Problem) -> web.Response:
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="headrace"'
    body = _ENCODER.encode(problem.details(request.rel_url.raw_path))
    return web.Response(body=body, status=problem.status, content_type=problems.CONTENT_TYPE, headers=headers)


async def _openapi(request: web.Request) -> web.Response:
    return web.Response(body=document(), content_type="application/json")
