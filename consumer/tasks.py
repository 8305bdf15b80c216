"""Tasks by name, of which the newer replaces the older."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from consumer.stalls import GaveUp


class Tasks:
    """`start` by name, `release` ends them all. An exception in one is a fault of the program: `failed` has it.

    GaveUp is none: another worker has the job, and this one begins anew with its next assignment.
    """

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
        fault = None if task.cancelled() else task.exception()
        if fault and not isinstance(fault, GaveUp) and not self.failed.done():
            self.failed.set_exception(fault)
