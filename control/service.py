"""Control, from start to stop.

1. HTTP listens at once; until all is read, everything but `/healthz` answers 503 with the reason.
2. The engine takes up its parts: projection file, topics, the fenced writer, then the log.
3. It serves until it is asked to stop, or until another instance takes over, which ends this one with an error.
"""

import asyncio
import logging

from control.engine import Engine
from control.http import check_host, listen
from control.problems import Problem
from headrace.errors import DependencyUnwell
from headrace.settings import Settings

log = logging.getLogger(__name__)


async def main(settings: Settings, stop: asyncio.Event) -> None:
    check_host(settings)
    engine = Engine(settings)
    server = await listen(engine)
    stopping = asyncio.create_task(stop.wait())
    try:
        if await _first(stopping, asyncio.create_task(engine.start())):
            await _first(stopping, asyncio.create_task(engine.failure()))
        if settings.pause_on_stop and engine.unready is None:
            await _pause_all(engine)
        engine.unready = "stopping"
    finally:
        stopping.cancel()
        await server.cleanup()
        await engine.stop()


async def _first(stopping: "asyncio.Task[bool]", work: "asyncio.Task[None]") -> bool:
    """Whether `work` ended by itself; raises its error. It is cancelled at a stop."""
    await asyncio.wait({stopping, work}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
        return True
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return False


async def _pause_all(engine: Engine) -> None:
    try:
        await engine.pause_all()
    except (Problem, DependencyUnwell) as exc:  # there is nobody to tell, and the jobs stand as they are
        log.warning("jobs could not be paused before stopping: %s", exc)
