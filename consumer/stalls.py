"""Waiting for a dependency that is unwell: retries with growing pauses, and says so in the job's status."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from consumer.metrics import STALLED
from consumer.reports import Reports
from headrace.errors import DependencyUnwell
from schemas.codec import now
from schemas.commands import JobCommand

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0
LONGEST_ASKED_S = 60.0
"""A Retry-After beyond this is not waited for in one piece: the answer may change, and so may the command."""
SAY_AFTER_S = 1.5
"""A hiccup shorter than this is no stall worth telling."""
SLOW_S = 8.0
"""An answer that takes longer is told while it is awaited: clients wait for up to a minute. Full batches take 1-3 s."""


class GaveUp(Exception):
    """`keep_trying` said no while the dependency was still unwell, or the job is not this worker's any more."""

    def __init__(self, cause: DependencyUnwell, waited_s: float) -> None:
        super().__init__(str(cause))
        self.cause, self.waited_s = cause, waited_s


class Stalls:
    def __init__(self, reports: Reports, term: Callable[[], int] = lambda: 0) -> None:
        """`term()` changes when another may own what calls are made for (`Window.term`)."""
        self._reports, self._term = reports, term
        self._told: dict[tuple[str, str], tuple[str, str]] = {}
        self._telling = asyncio.Lock()

    async def retry(
        self,
        call: Callable[[], Awaitable[T]],
        commands: Iterable[JobCommand],
        keep_trying: Callable[[DependencyUnwell, float], bool] = lambda cause, waited_s: True,
        *,
        server: str = "",
        asked_s: Callable[[], float | None] | None = None,
    ) -> T:
        """The call's result, however long its dependency takes to get well.

        `keep_trying(cause, waited_s)` is asked after each failure; `waited_s` will have passed by the next try. Raises
        GaveUp; the stall then stays told. So it does once the term is another: what was to be written then may be out
        of date.
        `server`: the dependency, where a call of it that takes longer than `SLOW_S` is a stall too; where it is not
        asked all the while, `asked_s()` is the monotonic time since when it is, or None.
        """
        wait, term = _Wait(list(commands), time.monotonic()), self._term()
        while True:
            if self._term() != term:
                raise GaveUp(DependencyUnwell("job", "another worker has it"), time.monotonic() - wait.began_s)
            try:
                result = await (self._watched(call, wait, server, asked_s) if server else call())
            except DependencyUnwell as exc:
                await self._failed(wait, exc, keep_trying)
            except GaveUp:
                raise  # the dependency was not even asked
            except Exception:  # an answer, if no good one: the dependency is well
                await self.over(wait.jobs, wait.unwell)
                raise
            else:
                await self.over(wait.jobs, wait.unwell)
                return result

    async def over(self, commands: Iterable[JobCommand], dependency: str) -> None:
        """The dependency works again for these jobs. What is just being told of them stands on the log before."""
        for command in commands:
            if (command.job_id, dependency) in self._told:
                async with self._telling:
                    await self._end(command, dependency)

    async def _end(self, command: JobCommand, dependency: str) -> None:
        told = self._told.pop((command.job_id, dependency), None)
        if told:
            self._count()
            reason, since = told
            log.info("job %s goes on: %s is well again", command.job_id, dependency)
            await self._reports.stall(command, dependency=dependency, reason=reason, since=since, ended=True)

    def forget(self, job_id: str) -> None:
        """Its owner is about to report on the job, which ends what was told: what lasts is told again, behind that."""
        for key in [key for key in self._told if key[0] == job_id]:
            del self._told[key]
        self._count()

    @property
    def told(self) -> frozenset[str]:
        """Jobs with a stall that is not over."""
        return frozenset(job_id for job_id, _ in self._told)

    def _count(self) -> None:
        STALLED.clear()
        for dependency, jobs in Counter(dependency for _, dependency in self._told).items():
            STALLED.labels(dependency).set(jobs)

    async def _watched(
        self, call: Callable[[], Awaitable[T]], wait: "_Wait", server: str, asked_s: Callable[[], float | None] | None
    ) -> T:
        """The call's result; where the server takes long over it, that is told meanwhile."""
        answer, began_s = asyncio.ensure_future(call()), time.monotonic()

        def left_s() -> float:
            since = began_s if asked_s is None else asked_s()
            return SLOW_S if since is None else since + SLOW_S - time.monotonic()

        try:
            while not answer.done() and (timeout := left_s()) > 0:
                await asyncio.wait({answer}, timeout=timeout)
            if not answer.done():
                wait.unwell = server
                untold = [job for job in wait.jobs if (job.job_id, server) not in self._told]
                await self.tell(untold, DependencyUnwell(server, f"no answer for {SLOW_S:.0f} s"))
            return await answer
        finally:
            if not answer.done():
                answer.cancel()
                await asyncio.wait({answer})

    async def _failed(
        self, wait: "_Wait", exc: DependencyUnwell, keep_trying: Callable[[DependencyUnwell, float], bool]
    ) -> None:
        """Returns when it is time to ask again. Raises GaveUp."""
        wait.unwell, waited_s = exc.dependency, time.monotonic() - wait.began_s
        asked_s = min(LONGEST_ASKED_S, exc.retry_after_s or 0)
        if exc.lasting or waited_s + asked_s > SAY_AFTER_S:
            await self.tell(wait.jobs, exc)
        pause_s = max(asked_s, wait.pause_s * random.uniform(0.8, 1.2))
        if not keep_trying(exc, waited_s + pause_s):
            raise GaveUp(exc, waited_s) from exc
        await asyncio.sleep(pause_s)
        wait.pause_s = min(LONGEST_PAUSE_S, wait.pause_s * 2)

    async def tell(self, commands: Iterable[JobCommand], exc: DependencyUnwell) -> None:
        """Once for each reason, until it is over or forgotten."""
        untold = []
        for command in commands:
            key = (command.job_id, exc.dependency)
            reason, since = self._told.get(key, ("", now()))
            if reason != exc.reason:
                self._told[key] = (exc.reason, since)
                self._count()
                untold.append((command, since))
                log.warning("job %s waits: %s", command.job_id, exc)
        async with self._telling:
            for command, since in untold:
                if (command.job_id, exc.dependency) in self._told:  # else it was forgotten meanwhile
                    await self._reports.stall(
                        command, dependency=exc.dependency, reason=exc.reason, since=since, ended=False
                    )


@dataclass(slots=True)
class _Wait:
    """Of one call, for these jobs. `unwell`: the dependency that was in trouble during it, or nothing."""

    jobs: list[JobCommand]
    began_s: float
    pause_s: float = FIRST_PAUSE_S
    unwell: str = ""
