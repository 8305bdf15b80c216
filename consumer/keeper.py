"""The owner's duties to the jobs of its partitions, records or none: hold, undo, take up again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from consumer.embed import place_of
from consumer.generations import Generations
from consumer.judge import Judge
from consumer.parking import Parking
from consumer.reports import Reports
from consumer.stalls import Stalls
from consumer.tasks import Tasks
from consumer.window import Window
from headrace.state.commands import Commands
from headrace.state.parked import Parked
from headrace.vectors import VectorStore
from schemas.commands import JobCommand, stands_on

log = logging.getLogger(__name__)

SETTLE_S = 3.0
"""What was embedded already may still be written before `holding` is told; for longer than this only where Weaviate is
unwell, and a pause need not wait for that."""


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
        probe: Callable[[JobCommand], Awaitable[None]],
        reports: Reports,
        tasks: Tasks,
    ) -> None:
        self._commands, self._parked, self._judge = commands, parked, judge
        self._generations, self._parking, self._stalls = generations, parking, stalls
        self._store, self._probe, self._reports = store, probe, reports
        self._partitions: frozenset[int] = frozenset()
        self._tasks = tasks
        self.window: Window | None = None

    def assigned(self, partitions: frozenset[int]) -> None:
        self._partitions = partitions
        for job_id in self._stalls.told:
            known = self._commands.get(job_id)
            if known is None or known.partition not in partitions:
                self._stalls.forget(job_id)  # another owner tells of it now
        for partition in partitions:
            for command in self._commands.of_partition(partition):
                if not self._over(command):
                    self._stalls.forget(command.job_id)  # another owner may have ended it since
                    self._pursue(command)

    async def release(self) -> None:
        self._partitions = frozenset()
        await self._tasks.release()

    def command_changed(self, command: JobCommand) -> None:
        if command.partition in self._partitions and not self._over(command):
            self._pursue(command)

    def step_aside(self, command: JobCommand, dependency: str) -> None:
        """The job's embedding is stalled for long: its records are parked until `dependency` is well again."""
        command = self._commands.get(command.job_id) or command
        if command.partition in self._partitions and command.job_id not in self._judge.stalled:
            self._judge.stalled.add(command.job_id)
            log.warning("job %s steps aside until %s is well again", command.job_id, dependency)
            self._tasks.start(command.job_id, self._await_recovery(command, dependency))

    def parked(self, command: JobCommand) -> None:
        """Records of the job were just parked: if it runs (again) by now, they are taken up at once."""
        command = self._commands.get(command.job_id) or command
        if command.partition not in self._partitions:
            return  # drained before they are given away: the next owner takes them up
        waits = command.job_id in self._judge.reviewing or not self._judge.may_embed(command.job_id)
        if not waits and not self._tasks.running(command.job_id):
            self._tasks.start(command.job_id, self._take_up(command))

    def _over(self, command: JobCommand) -> bool:
        """Published: later generations may stand on its chunks, so no command has any effect but a rollback.

        Its parked records are a repair's, and taken up all the same. An undone one is looked after until `undone` is
        told under the current revision.
        """
        state = self._generations.state(command)
        if state is None or self._parked.of(command.job_id):
            return False
        if state.state == "undone":
            return state.told_revision == command.revision
        return state.state == "published" and command.desired != "rolled_back"

    def _pursue(self, command: JobCommand) -> None:
        self._judge.stalled.discard(command.job_id)
        self._judge.reviewing.discard(command.job_id)
        self._tasks.start(command.job_id, self._duty(command))

    def _duty(self, command: JobCommand) -> Coroutine[Any, Any, None]:
        if self._judge.cancelled(command.job_id):
            return self._undo(command)
        if command.desired == "paused" and not self._judge.repairable(command):
            return self._hold(command)
        return self._run(command)

    async def _run(self, command: JobCommand) -> None:
        state = self._generations.state(command)
        if state is None or state.state == "open":
            self._stalls.forget(command.job_id)
            await self._reports.running(command)
        if state is None or state.state != "undone":
            await self._take_up(command)

    async def _take_up(self, command: JobCommand) -> None:
        assert self.window is not None
        await self._parking.requeue(command, self.window.passed)

    async def _hold(self, command: JobCommand) -> None:
        assert self.window is not None
        await self.window.quiet(command.job_id)
        try:
            async with asyncio.timeout(SETTLE_S):
                await self.window.settled_of(command.job_id)
        except TimeoutError:
            log.info("job %s holds while its last batches still wait to be written", command.job_id)
        self._stalls.forget(command.job_id)
        await self._reports.holding(command)

    async def _undo(self, command: JobCommand) -> None:
        """Cancel leaves no trace, nor does a rollback of what was published.

        0. A generation that a later one may stand on stays: control refuses to roll it back, so this is no request of
           its. Nor is another job's touched: this one was given its number by hand, and wrote nothing.
        1. The state `undone` stands on `kbs`; a cancel that finds `published` there came too late, and does nothing.
           Crash after: the next owner goes on here.
        2. The batch being settled is done: later ones see the state and write nothing.
        3. Objects are deleted until a count finds none; the spans are forgotten.
        4. `undone` is told, under the command's revision.
        5. The state says so, and the next owner has nothing to do. Crash before: it is told again, of no object.
        """
        assert self.window is not None
        if by := self._built_on(command):
            log.warning("job %s is not undone: generation %d builds on it", command.job_id, by)
            return
        known = self._generations.state(command)
        if known is not None and known.job_id != command.job_id:
            log.warning("job %s undoes nothing: its generation is job %s's", command.job_id, known.job_id)
            await self._reports.undone(command, 0)
            return
        if not await self._generations.undo(command, command.reason or "cancelled"):
            return
        await self.window.settled()
        place = place_of(command)
        deleted = await self._stalls.retry(lambda: self._store.undo(place, [command.generation]), [command])
        await self._parking.forget(command, self._parked.of(command.job_id))
        self._stalls.forget(command.job_id)
        await self._reports.undone(command, deleted)
        await self._generations.note_told(command)

    def _built_on(self, command: JobCommand) -> int | None:
        """A later generation that may stand on chunks of the command's, where that is published."""
        known = self._generations.state(command)
        if known is None or known.state != "published":
            return None  # nothing builds on it; or it is undone already, and only the rest is to be done
        for job in self._commands.all():
            if job.kb_id != command.kb_id or job.generation <= command.generation:
                continue
            state = self._generations.state(job)
            standing = state is not None and state.state == "published"
            under_way = state is None or state.state == "open"
            if standing or (
                under_way and stands_on(job) == command.generation and not self._judge.cancelled(job.job_id)
            ):
                return job.generation
        return None

    async def _await_recovery(self, command: JobCommand, dependency: str) -> None:
        await self._stalls.retry(lambda: self._probe(command), [command])
        await self._stalls.over([command], dependency)
        self._judge.stalled.discard(command.job_id)
        await self._run(command)  # all of it: stepping aside may have cut it off before `running` was told
