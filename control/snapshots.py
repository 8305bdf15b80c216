"""The status of every job that is asked for or active, made once per change and served from memory."""

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from duckdb import DuckDBPyConnection

from control import answers, costs, questions, rules
from control.ailments import Ailments
from control.books import Books
from control.metrics import JOBS, QUEUED
from control.offsets import OffsetWatch, PartitionOffsets
from control.picture import Costs, aged, build, offsets_answer
from control.projection import Projection
from control.status import OVER, PASSING, Facts, Report
from headrace.errors import DependencyUnwell
from schemas.commands import JobCommand

log = logging.getLogger(__name__)

TICK_S = 0.1
"""How often changed jobs are made anew."""
SHARE = 0.1
"""A job's status takes at most this share of the projection's time: large jobs are made anew less often."""
SHARE_AWAITED = 0.5
"""While it passes from one status to another, which is what people and scripts wait for."""
RETRY_S = 1.0
"""Until a status is tried again that could not be made."""
READING = "projection (reading)"
"""What it is called in a stall."""
RATE_WINDOW_S = 10.0
WATCHED_S = 5.0
"""A job that was asked for within this time has its offsets kept current."""


@dataclass
class _Entry:
    """One job in memory. `pace` holds (monotonic time, chunks processed) of the last seconds."""

    job_id: str
    answer: answers.StatusAnswer | None = None
    dirty: bool = True
    not_before: float = 0.0
    asked_at: float = 0.0
    pace: deque[tuple[float, int]] = field(default_factory=deque)


class Snapshots:
    """`start`, `of`, `wait_for`, `stop`. `touch` and its like mark what changed; all from the event loop."""

    def __init__(
        self,
        books: Books,
        projection: Projection,
        ailments: Ailments,
        *,
        on_change: Callable[[answers.StatusAnswer, bool], None],
        watched: Callable[[], bool],
    ) -> None:
        """`on_change(answer, newest)` is called from the event loop with each new status; `newest`: whether it is of
        its knowledge base's newest job.

        `watched()`: whether somebody wants those without asking for them.
        """
        self._books, self._projection, self._ailments = books, projection, ailments
        self._on_change, self._watched = on_change, watched
        self._offsets: OffsetWatch | None = None
        self._entries: dict[str, _Entry] = {}
        self._failing: set[str] = set()
        self._changed = asyncio.Condition()
        self._making = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self, offsets: OffsetWatch) -> None:
        self._offsets = offsets
        for kb in self._books.kbs.all():
            self.touch_kb(kb.kb_id)
        self._task = asyncio.create_task(self._keep_current(), name="snapshots")

    async def failure(self) -> None:
        """Returns never; raises what ended the keeping."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def touch(self, job_ids: set[str]) -> None:
        for job_id in job_ids:
            self._entries.setdefault(job_id, _Entry(job_id)).dirty = True

    def touch_all(self) -> None:
        self.touch(set(self._entries))

    def touch_kb(self, kb_id: str) -> None:
        self.touch({command.job_id for command in self._books.jobs(kb_id)[:2]})

    def touch_partitions(self, partitions: set[int]) -> None:
        self.touch(
            {c.job_id for c in self._books.commands.all() if c.partition in partitions and self._interesting(c.job_id)}
        )

    def wants_offsets(self) -> bool:
        return any(self._interesting(job_id) for job_id in self._entries)

    async def of(self, command: JobCommand) -> answers.StatusAnswer:
        """Raises DependencyUnwell where it can't be made now, and there is no older one."""
        entry = self._entries.setdefault(command.job_id, _Entry(command.job_id))
        entry.asked_at = time.monotonic()
        stale = entry.answer is None or entry.answer.revision != command.revision
        # a job that is over is made anew when asked for; a running one by the clock
        if stale or (entry.dirty and entry.answer is not None and entry.answer.status in OVER):
            await self._make(entry)
        assert entry.answer is not None
        if entry.answer.status in OVER:  # its counts no longer hang on the offsets, which go on
            return msgspec.structs.replace(entry.answer, offsets=offsets_answer(command.partition, self._of(command)))
        return entry.answer

    def _of(self, command: JobCommand) -> PartitionOffsets | None:
        return self._offsets.of(command.partition) if self._offsets else None

    def active(self, job_id: str) -> bool:
        """As of the newest snapshot; a job that has none yet counts as active."""
        entry = self._entries.get(job_id)
        return entry is None or entry.answer is None or entry.answer.status not in OVER

    async def wait_for(
        self, command: JobCommand, done: Callable[[answers.StatusAnswer], bool], *, timeout_s: float
    ) -> answers.StatusAnswer:
        """The first status that is `done`, or the one that stands at the end of the time."""
        answer = await self.of(command)
        try:
            async with asyncio.timeout(timeout_s):
                while not done(answer):
                    async with self._changed:
                        await self._changed.wait()
                    answer = await self.of(self._books.commands.get(command.job_id) or command)
        except TimeoutError:
            return answer
        return answer

    async def job_of(self, command: JobCommand) -> rules.Job:
        """How the job ended, for the rules."""
        told = await self._projection.read(lambda cursor: questions.told(cursor, command.job_id))
        undone = told.index is not None and told.index.state == "undone"
        return rules.job_end(
            command,
            outcome=told.finished.outcome if told.finished else None,
            undone_revision=told.index.revision if told.index and undone else None,
            generation=self._books.kbs.generation(command.kb_id, command.generation),
            review=told.review.digest if told.review and told.review.revision == command.revision else None,
        )

    def _interesting(self, job_id: str) -> bool:
        entry = self._entries.get(job_id)
        if entry is None or entry.answer is None:
            return False
        return entry.answer.status not in OVER or time.monotonic() - entry.asked_at < WATCHED_S

    async def _keep_current(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            QUEUED.set(self._projection.queued)
            now = time.monotonic()
            due = [e for e in self._entries.values() if e.dirty and now >= e.not_before and self._live(e)]
            for entry in due:
                try:
                    await self._make(entry)
                except DependencyUnwell as exc:
                    log.warning("job %s has no status yet: %s", entry.job_id, exc)
            if due:
                self._count()

    def _live(self, entry: _Entry) -> bool:
        """A job that is over waits until somebody asks or watches; so does a fact whose job has no command read yet."""
        command = self._books.commands.get(entry.job_id)
        if command is None:
            return False
        if entry.answer is None:
            return self._newest(command)
        return self._interesting(entry.job_id) or (self._watched() and self._newest(command))

    async def _make(self, entry: _Entry) -> None:
        """Where it can't be made now, the old answer stays and says so; raises DependencyUnwell where there is none."""
        before = entry.answer
        async with self._making:
            command = self._books.commands.get(entry.job_id)
            if command is None:
                return
            began = time.monotonic()
            entry.dirty = False
            try:
                entry.answer = await self._answer(command, entry.pace)
                self._made(entry)
            except DependencyUnwell as exc:
                self._could_not_make(entry, exc)
            ended = time.monotonic()
            pause_s = (ended - began) * (1 / _share(entry.answer) - 1)
            entry.not_before = ended + (max(pause_s, RETRY_S) if entry.dirty else pause_s)
        if entry.answer == before or entry.answer is None:
            return
        self._on_change(entry.answer, self._newest(command))
        async with self._changed:
            self._changed.notify_all()

    def _made(self, entry: _Entry) -> None:
        self._failing.discard(entry.job_id)
        if not self._failing:
            self._ailments.over(READING)

    def _could_not_make(self, entry: _Entry, why: DependencyUnwell) -> None:
        self._failing.add(entry.job_id)
        entry.dirty = True
        self._ailments.tell(READING, why.reason)
        if entry.answer is None:
            entry.not_before = time.monotonic() + RETRY_S
            raise why
        entry.answer = aged(entry.answer, self._ailments.all())

    async def _answer(self, command: JobCommand, pace: deque[tuple[float, int]]) -> answers.StatusAnswer:
        offsets = self._of(command)
        committed = offsets.committed if offsets else None
        newest = self._newest(command)

        def ask(cursor: DuckDBPyConnection) -> tuple[questions.Told, questions.Tally, Costs]:
            told = questions.told(cursor, command.job_id)
            spent = Costs(costs.of_job(cursor, command.job_id), costs.of_kb(cursor, command.kb_id) if newest else None)
            over = told.over(committed)
            told = told if over else dataclasses.replace(told, finished=None)
            upto, anew = None if over else committed or 0, command.reembeds is not None
            return told, questions.tally(cursor, command.job_id, command.generation, upto, anew=anew), spent

        told, tally, spent = await self._projection.read(ask)
        published = self._books.kbs.published(command.kb_id)
        state = self._books.kbs.generation(command.kb_id, command.generation)
        ailments = self._ailments.all()
        facts = Facts(
            desired=command.desired,
            revision=command.revision,
            crawl=Report(told.crawl.state, told.crawl.revision) if told.crawl else None,
            index=Report(told.index.state, told.index.revision) if told.index else None,
            crawl_over=told.crawl_over,
            all_processed=tally.processed >= tally.chunks,
            generation=state.state if state else None,
            finished=told.finished.outcome if told.finished else None,
            waits_for=frozenset(stall.dependency for stall in told.stalls),
            review_revision=told.review.revision if told.review else None,
            blind=bool(ailments),
        )
        rate = pace_of(pace, tally.processed)
        generation = published.generation if published else None
        return build(command, facts, told, tally, offsets, spent, rate, generation, ailments)

    def _newest(self, command: JobCommand) -> bool:
        return any(each.job_id == command.job_id for each in self._books.jobs(command.kb_id)[:1])

    def _count(self) -> None:
        counts: dict[str, int] = {}
        for entry in self._entries.values():
            if entry.answer:
                counts[entry.answer.status] = counts.get(entry.answer.status, 0) + 1
        JOBS.clear()
        for status, count in counts.items():
            JOBS.labels(status).set(count)


def _share(answer: answers.StatusAnswer | None) -> float:
    return SHARE_AWAITED if answer is not None and answer.status in PASSING else SHARE


def pace_of(pace: deque[tuple[float, int]], processed: int) -> float | None:
    """Chunks per second over the last seconds; None until there are two points. Adds the new one."""
    now = time.monotonic()
    pace.append((now, processed))
    while len(pace) > 2 and now - pace[1][0] > RATE_WINDOW_S:
        pace.popleft()
    then, before = pace[0]
    return max(0.0, (processed - before) / (now - then)) if now - then >= 0.5 else None
