"""One job, for as long as its partition is owned: does what the newest command says, and answers it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException

from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from producer.base import Ground
from producer.crawl import Crawl
from producer.epoch import Ending, Epoch
from producer.reembed import Reembedding
from producer.report import State
from producer.spill import SpillError
from producer.tools import Tools
from schemas.commands import JobCommand
from schemas.facts import CrawlCounts
from schemas.kb import GenerationState
from schemas.pages import EXTRACTOR

log = logging.getLogger(__name__)

PAUSE_GRACE_S: Final = 1.0
"""For pages under way when a command changes; what isn't done by then is fetched again after the resume."""
BACK_OFF_S: Final = 2.0
FULL_DISK_S: Final = 20.0
"""Between looks at a disk that is full: what was known is read from the log again each time."""
OUTLIVED_S: Final = 5.0
"""Before an owner that was outlived begins anew: some heartbeats, so that one that lost the job learns of it first."""
MAX_FAULTS: Final = 3
"""Crawls in a row that end by an unexpected error without a page recorded: then the program is wrong, and crashes."""


@dataclass(frozen=True)
class _Finished:
    """A crawl that ended, and by which scope it went."""

    ending: Ending
    scope_revision: int


class Keeper:
    """`run` until the job is over; `stop` ends it earlier; `wake` after each change of what it looks at.

    `catch_up` returns once `commands` and `kbs` hold all that stood in their topics when it was called.
    """

    def __init__(
        self,
        command: JobCommand,
        commands: Commands,
        kbs: KnowledgeBases,
        tools: Tools,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._command, self._commands, self._kbs, self._tools = command, commands, kbs, tools
        self._catch_up = catch_up
        self._changed = asyncio.Event()
        self._stopping = False
        self._grace_s = PAUSE_GRACE_S
        self._finished: _Finished | None = None
        self._crawl: Epoch | None = None
        self._faults = 0
        self._epoch, self._counts = 0, CrawlCounts()
        self._looked = False

    async def run(self) -> None:
        """Each command is answered, then waited on; a crawl is cut off by the next command."""
        while not self._stopping:
            if self._command.desired == "running" and not self._is_finished():
                await (self._leave_alone() if self._command.extractor > EXTRACTOR else self._run_epoch())
            else:
                await self._answer()
                await self._next_command()
            if self._is_outlived():
                await self._step_back()
            newest = self._commands.get(self._command.job_id) or self._command
            if newest == self._command and self.over(newest):
                return
            self._command = newest

    def wake(self) -> None:
        self._changed.set()

    def stop(self, grace_s: float) -> None:
        """`run` returns within about `grace_s`; pages under way may be recorded until then."""
        self._stopping, self._grace_s = True, grace_s
        self._changed.set()

    def over(self, command: JobCommand) -> bool:
        """Published or undone, or the generation of another job: nothing is left to do for it."""
        state = self._kbs.generation(command.kb_id, command.generation)
        return state is not None and (state.state != "open" or state.job_id != command.job_id)

    @property
    def _state(self) -> GenerationState | None:
        return self._kbs.generation(self._command.kb_id, self._command.generation)

    def _is_finished(self) -> bool:
        """A scope that was changed after the end of the crawl asks for another look at the site, and so do records that
        were lost since."""
        finished = self._finished
        return finished is not None and finished.scope_revision == self._command.scope_revision and not self._is_lost()

    def _is_lost(self) -> bool:
        return self._crawl is not None and self._state is not None and self._crawl.lost(self._state.recrawl)

    def _is_outlived(self) -> bool:
        """Another producer, which should not have, began a newer epoch: what this one writes now is dropped."""
        return self._crawl is not None and self._crawl.outlived_by(self._state.epoch if self._state else 0)

    def _must_begin_anew(self) -> bool:
        return self._is_outlived() or (self._command.desired == "running" and self._is_lost())

    async def _step_back(self) -> None:
        """Who still owns the job when the group has had time to say otherwise begins anew."""
        log.warning("job %s: another producer began a newer epoch; waiting to see who owns it", self._command.job_id)
        self._crawl = self._finished = None
        await self._back_off(OUTLIVED_S)

    async def _next_command(self) -> None:
        """Returns when the command is no longer the newest, the epoch or the job is over, or this is to stop."""
        while not self._stopping and not self.over(self._command) and not self._must_begin_anew():
            if self._commands.get(self._command.job_id) != self._command:
                return
            self._changed.clear()
            await self._changed.wait()

    async def _leave_alone(self) -> None:
        """Until the next command or owner: what this would cut its own way, a refresh would take for cut as asked."""
        if not self._looked:
            await self._look()
        await self._report("crawling", None)
        reason = f"this producer extracts by version {EXTRACTOR}, the job asks for {self._command.extractor}"
        log.warning("job %s waits: %s", self._command.job_id, reason)
        await self._tools.reports.stall(self._command, dependency="version", reason=reason)
        await self._next_command()

    async def _run_epoch(self) -> None:
        """One epoch, until its end, the next command, or a fault; what is on its way to the log has arrived then."""
        self._finished = None
        crawl = self._crawl = self._new_epoch()
        try:
            ending = await self._until_next_command(crawl)
        except (KafkaError, KafkaException) as exc:
            if _fatal(exc):
                raise
            log.warning("job %s: Kafka is unwell: %r; beginning anew", self._command.job_id, exc)
            await self._back_off(BACK_OFF_S)
        except SpillError as exc:
            log.warning("job %s: %s; beginning anew in %.0f s", self._command.job_id, exc, FULL_DISK_S)
            await self._tools.reports.stall(self._command, dependency="disk", reason=str(exc))
            await self._back_off(FULL_DISK_S)
        except Exception:
            self._tools.metrics.faults.inc()
            self._faults = 1 if crawl.progressed else self._faults + 1
            if self._faults >= MAX_FAULTS:
                raise
            log.exception("job %s: an unexpected error; beginning anew", self._command.job_id)
            await self._back_off(BACK_OFF_S * self._faults)
        else:
            self._faults = 0
            self._finished = _Finished(ending, self._command.scope_revision) if ending else None
        finally:
            self._epoch, self._counts, self._looked = crawl.epoch, crawl.counts, not crawl.cut_off
            await self._settle(crawl)

    async def _settle(self, crawl: Epoch) -> None:
        """For as long as it takes, since a next epoch of this process must find it on the log; less when stopping."""
        settling = asyncio.create_task(crawl.settle())
        await asyncio.wait({settling}, timeout=self._grace_s if self._stopping else None)
        settling.cancel()

    async def _until_next_command(self, crawl: Epoch) -> Ending | None:
        running = asyncio.create_task(crawl.run())
        waiting = asyncio.create_task(self._next_command())
        try:
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            crawl.halt()
            await asyncio.wait({running}, timeout=self._grace_s)
        finally:
            waiting.cancel()
            running.cancel()
            await asyncio.wait({running, waiting})
        return None if running.cancelled() else running.result()

    async def _answer(self) -> None:
        """Holding for a job that is not to run; for one whose crawl has ended, how it did."""
        if not self._looked and self._command.desired == "paused":
            await self._look()
        if self._command.desired != "running":
            await self._report("holding", None)
        elif self._finished is not None:
            failure = self._finished.ending.failure
            self._epoch, self._counts = self._finished.ending.epoch, self._finished.ending.counts
            await self._report("failed" if failure else "finished", failure)

    async def _report(self, state: State, reason: str | None) -> None:
        epoch, counts = self._epoch, self._counts
        await self._tools.reports.report(self._command, state, epoch=epoch, counts=counts, reason=reason)

    async def _look(self) -> None:
        """A job that was paused before this process owned it has progress to show all the same."""
        crawl = self._new_epoch()
        try:
            await crawl.look()
        except SpillError as exc:
            log.warning("job %s: its progress is not shown: %s", self._command.job_id, exc)
            return
        self._epoch, self._counts, self._looked = crawl.epoch, crawl.counts, True

    def _new_epoch(self) -> Epoch:
        if self._command.reembeds is not None:
            return Reembedding(self._command, self._tools, self._reembedded)
        asked_by = self._commands.traceparent(self._command)
        return Crawl(self._command, self._tools, self._ground, asked_by)

    async def _reembedded(self) -> GenerationState | None:
        await self._catch_up()
        published = self._kbs.published_all(self._command.kb_id)
        return next((state for state in published if state.generation == self._command.reembeds), None)

    async def _ground(self) -> Ground:
        """What is known of base, at least as of now: the start command may have been read before it."""
        if self._command.base is None:
            return Ground()
        await self._catch_up()
        state = self._kbs.generation(self._command.kb_id, self._command.base)
        if state is None:
            return Ground()
        job, own = self._commands.get(state.job_id), self._state
        return Ground(
            job.definition if job else None,
            frozenset(state.not_indexed),
            state.not_indexed_cut,
            frozenset(own.not_indexed if own else ()),
            own.not_indexed_cut if own else False,
        )

    async def _back_off(self, seconds: float) -> None:
        """Cut short by the next command."""
        waiting = asyncio.create_task(self._next_command())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()


def _fatal(exc: KafkaError | KafkaException) -> bool:
    """The idempotent producer can't go on, and can't be mended from within (librdkafka's fatal errors)."""
    if not isinstance(exc, KafkaException):
        return False
    error = exc.args[0]
    return bool(error.fatal()) or error.code() == ClientError._FATAL  # which poll() raises, and says no of itself
