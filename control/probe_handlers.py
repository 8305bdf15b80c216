"""What machines ask again and again: does it live, does it answer, how is it."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from control import answers
from control.engine import Engine
from control.metrics import READY, REGISTRY


async def healthz(engine: Engine, request: web.Request) -> answers.Health:
    return answers.Health(status="ok")


async def readyz(engine: Engine, request: web.Request) -> answers.Ready:
    engine.check_ready()
    return answers.Ready(ready=True)


async def metrics(engine: Engine, request: web.Request) -> web.Response:
    READY.set(engine.unready is None)
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
