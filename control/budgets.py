"""The consumer's request for a pause, where a job's budget is reached, becomes a command.

1. `budget_reached` stands on `events`, under the command revision that the consumer knew.
2. The projection has it. Crash before or after: control reads the log on, and looks at all running jobs as it starts.
3. Where that revision is still the current one, and running, the pause is written, with the request's reason. Crash
   before: as above. Crash after, or a second request: its revision is current no more, and nothing is done.
A person's command in between is newer, and stands: a raised budget is not paused for the old one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from control import questions
from control.books import Books
from control.desk import Desk
from control.problems import Conflict, Problem
from control.projection import Projection
from headrace.errors import DependencyUnwell
from schemas.commands import JobCommand
from schemas.facts import BudgetReached
from schemas.kb import Budget

log = logging.getLogger(__name__)

RETRY_S = 1.0
BY = "budget"

Read = Callable[[list[str]], Awaitable[list[BudgetReached]]]


def reader(projection: Projection) -> Read:
    return lambda jobs: projection.read(lambda cursor: questions.budget_reached(cursor, jobs))


class Budgets:
    """`touch` jobs whose facts may have changed, from the event loop; `run` acts on them, and returns never."""

    def __init__(self, books: Books, desk: Desk, read: Read) -> None:
        self._books, self._desk, self._read = books, desk, read
        self._touched = {command.job_id for command in books.commands.all()}
        self._wake = asyncio.Event()
        self._wake.set()

    def touch(self, job_ids: set[str]) -> None:
        self._touched |= job_ids
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            touched, self._touched = self._touched, set()
            try:
                await self._pause_those_that_ask(touched)
            except (Problem, DependencyUnwell) as exc:  # Kafka or the disk is away: the request stands where it stood
                log.warning("a budget is reached, and the job can't be paused yet: %s", exc)
                await asyncio.sleep(RETRY_S)
                self.touch(touched)

    async def _pause_those_that_ask(self, touched: set[str]) -> None:
        commands = [self._books.commands.get(job_id) for job_id in sorted(touched)]
        running = {command.job_id: command for command in commands if command is not None and _limited(command)}
        if not running:
            return
        for asked in await self._read(list(running)):
            command = running[asked.job_id]
            if command.revision == asked.revision:
                await self._pause(command, asked.reason)

    async def _pause(self, command: JobCommand, reason: str) -> None:
        try:
            await self._desk.change(command.kb_id, "pause", by=BY, reason=reason, only=command)
        except Conflict as exc:  # it is over by now
            log.info("job %s is not paused for its budget: %s", command.job_id, exc)


def _limited(command: JobCommand) -> bool:
    return command.desired == "running" and command.definition.budget != Budget()
