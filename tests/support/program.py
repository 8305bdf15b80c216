"""A server that is not ours as a child process, with a log of its own."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

from tests.support.waiting import until


@contextlib.asynccontextmanager
async def serving(
    arguments: Sequence[str], directory: Path, answers: Callable[[], Awaitable[bool]], **environment: str
) -> AsyncIterator[None]:
    """From when it answers; ended at the end, whatever happened. Its home is the directory."""
    log = directory / f"{Path(arguments[0]).name}.log"
    home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments, env=os.environ | home | environment, cwd=directory, stdout=output, stderr=output
        )

    async def ready() -> bool:
        assert process.returncode is None, f"{arguments[0]} ended: {log.read_text(errors='replace')[-2_000:]}"
        try:
            return await answers()
        except (OSError, aiohttp.ClientError):
            return False

    try:
        await until(ready, within_s=30, what=f"{arguments[0]} answers")
        yield
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
