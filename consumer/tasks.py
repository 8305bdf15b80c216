"""Tasks by name, of which the newer replaces the older."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """`start` by name, `release` ends them all. An exception in one is a fault of the program: `failed` has it."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, name: str, duty: Coroutine[Any, Any, None]) -> None:
        before = self._tasks.pop(name, None)
        if before:
            before.cancel()
        task = asyncio.create_task(duty, name=name)
        task.add_done_callback(self._ended)
        self._tasks[name] = task

    def running(self, name: str) -> bool:
        task = self._tasks.get(name)
        return task is not None and not task.done()

    async def release(self) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._tasks.get(task.get_name()) is task:
            del self._tasks[task.get_name()]
        if not task.cancelled() and task.exception() and not self.failed.done():
            self.failed.set_exception(task.exception() or RuntimeError())
