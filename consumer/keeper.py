"""The owner's duties to the jobs of its partitions, records or none: hold, undo, take up again."""

import asyncio
import logging

from consumer.embed import Profiles, place_of
from consumer.generations import Generations
from consumer.judge import Judge
from consumer.parking import Parking
from consumer.reports import Reports
from consumer.stalls import Stalls
from consumer.window import Window
from headrace.state.commands import Commands
from headrace.state.parked import Parked
from headrace.vectors import VectorStore
from schemas.commands import JobCommand

log = logging.getLogger(__name__)

SETTLE_S = 3.0
"""What was embedded already may still be written before `holding` is told; for longer than this only where Weaviate is
unwell, and a pause need not wait for that."""

_PROBE = ["headrace"]
_TASK = "keep "


class Keeper:
    """One task per job, started anew by each command and each assignment; `release` ends them all.

    Each duty can be cut off at any point and begun again: what it does is decided by durable state alone.
    """

    def __init__(
        self,
        *,
        commands: Commands,
        parked: Parked,
        judge: Judge,
        generations: Generations,
        parking: Parking,
        stalls: Stalls,
        store: VectorStore,
        profiles: Profiles,
        reports: Reports,
    ) -> None:
        self._commands, self._parked, self._judge = commands, parked, judge
        self._generations, self._parking, self._stalls = generations, parking, stalls
        self._store, self._profiles, self._reports = store, profiles, reports
        self._partitions: frozenset[int] = frozenset()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.window: Window | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def assigned(self, partitions: frozenset[int]) -> None:
        self._partitions = partitions
        for partition in partitions:
            for command in self._commands.of_partition(partition):
                if not self._over(command):
                    self._pursue(command)

    async def release(self) -> None:
        self._partitions = frozenset()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def command_changed(self, command: JobCommand) -> None:
        if command.partition in self._partitions and not self._over(command):
            self._pursue(command)

    def step_aside(self, command: JobCommand, dependency: str) -> None:
        """The job's embedding is stalled for long: its records are parked until `dependency` is well again."""
        command = self._commands.get(command.job_id) or command
        if command.partition in self._partitions and command.job_id not in self._judge.stalled:
            self._judge.stalled.add(command.job_id)
            log.warning("job %s steps aside until %s is well again", command.job_id, dependency)
            self._start(command, self._await_recovery(command, dependency))

    def parked(self, command: JobCommand) -> None:
        """Records of the job were just parked: if it runs (again) by now, they are taken up at once."""
        command = self._commands.get(command.job_id) or command
        if command.partition not in self._partitions:
            return  # drained before they are given away: the next owner takes them up
        task = self._tasks.get(command.job_id)
        if self._judge.may_embed(command.job_id) and (task is None or task.done()):
            self._start(command, self._parking.requeue(command))

    def _over(self, command: JobCommand) -> bool:
        """Published: later generations may stand on its chunks, so no command of the job has any effect.

        An undone one is looked after all the same: `undone` must be told under the current revision.
        """
        state = self._generations.state(command)
        return state is not None and state.state == "published"

    def _pursue(self, command: JobCommand) -> None:
        self._judge.stalled.discard(command.job_id)
        self._stalls.forget(command.job_id)
        duty = {"running": self._run, "paused": self._hold}.get(command.desired, self._undo)
        self._start(command, duty(command))

    def _start(self, command: JobCommand, duty):  # type: ignore[no-untyped-def]
        before = self._tasks.pop(command.job_id, None)
        if before:
            before.cancel()
        task = asyncio.create_task(duty, name=_TASK + command.job_id)
        task.add_done_callback(self._ended)
        self._tasks[command.job_id] = task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        job_id = task.get_name().removeprefix(_TASK)
        if self._tasks.get(job_id) is task:
            del self._tasks[job_id]
        if not task.cancelled() and task.exception() and not self.failed.done():
            self.failed.set_exception(task.exception() or RuntimeError())

    async def _run(self, command: JobCommand) -> None:
        state = self._generations.state(command)
        if state is None or state.state == "open":
            await self._reports.running(command)
            await self._parking.requeue(command)

    async def _hold(self, command: JobCommand) -> None:
        assert self.window is not None
        await self.window.quiet(command.job_id)
        try:
            async with asyncio.timeout(SETTLE_S):
                await self.window.settled_of(command.job_id)
        except TimeoutError:
            log.info("job %s holds while its last batches still wait to be written", command.job_id)
        await self._reports.holding(command)

    async def _undo(self, command: JobCommand) -> None:
        """Cancel leaves no trace.

        1. The state `undone` stands on `kbs`. Crash after: the next owner goes on here.
        2. The batch being settled is done: later ones see the state and write nothing.
        3. Objects are deleted until a count finds none; the spans are forgotten.
        4. `undone` is told, under the command's revision.
        """
        assert self.window is not None
        await self._generations.undo(command, command.reason or "cancelled")
        await self.window.settled()
        place = place_of(command)
        deleted = await self._stalls.retry(lambda: self._store.undo(place, command.generation), [command])
        await self._parking.forget(command, self._parked.of(command.job_id))
        await self._reports.undone(command, deleted)

    async def _await_recovery(self, command: JobCommand, dependency: str) -> None:
        embedder, room = self._profiles.of(command.definition.embedding)

        async def probe() -> None:
            async with room:
                await embedder.embed(_PROBE)

        await self._stalls.retry(probe, [command])
        await self._stalls.over([command], dependency)
        self._judge.stalled.discard(command.job_id)
        await self._run(command)  # all of it: stepping aside may have cut it off before `running` was told
