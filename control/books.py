"""What `commands` and `kbs` say now, in memory: read whole at every start, since both are compacted and small.

Commands can only be judged from a job's first record on, so this is never resumed from a stored offset.

A job that control did not start, written by hand, is refused where it names a generation of another job, or one that
was never begun. While the log is first read, `commands` and `kbs` come in no common order: `settle` judges then.
"""

import asyncio
import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from control.problems import Unavailable
from control.writer import Written
from headrace.kafka.follower import Follower
from headrace.kafka.records import RawRecord
from headrace.kafka.servers import Servers
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.kb import KbDefined

log = logging.getLogger(__name__)

READ_BACK_S = 10.0
"""A committed record comes back within milliseconds; longer means that Kafka is away."""


@dataclass(frozen=True)
class Refused:
    """A record on `commands` that is no valid successor."""

    place: Place
    key: str
    reason: str


class Books:
    """`start`, `catch_up` before the first decision, `applied` after each commit, `stop`."""

    def __init__(
        self,
        bootstrap_servers: Servers,
        *,
        prefix: str,
        on_change: Callable[[str], None],
        on_refused: Callable[[], None],
    ) -> None:
        """`on_change(kb_id)` and `on_refused()` are called from the event loop and must not block."""
        self.refused: list[Refused] = []
        self._announced: Sequence[Event] = ()
        self._own: set[str] = set()
        self._settled = False
        self._usurped: dict[str, int] = {}
        self._on_change, self._on_refused = on_change, on_refused
        self.commands = Commands(on_change=self._command, on_refused=self._refuse, first=self._unfit)
        self.kbs = KnowledgeBases(on_change=lambda event: on_change(event.kb_id))
        self._jobs: dict[str, dict[int, str]] = {}
        self._by_key: dict[str, str] = {}
        self._started: Container[str] = frozenset()
        self._places: dict[str, Place] = {}
        self._naming: dict[tuple[str, int], list[str]] = {}
        self._applied: dict[tuple[str, int], int] = {}
        self._moved = asyncio.Condition()
        self._wakes: set[asyncio.Task[None]] = set()
        self._follower = Follower(
            bootstrap_servers, {"commands": self._apply_command, "kbs": self._apply_kb}, prefix=prefix
        )

    def start(self) -> None:
        self._follower.start()

    async def stop(self) -> None:
        await self._follower.stop()

    async def failure(self) -> None:
        """Returns never; raises what ended the reading: what is known would grow old without a word."""
        await self._follower.failed()

    async def catch_up(self) -> None:
        await self._follower.catch_up()

    def settle(self, started: Container[str]) -> None:
        """Judges the jobs that were read, once all is; `started` are those with an audit event of their start."""
        self._settled, self._started = True, started
        for command in self.commands.all():
            if reason := self._unfit(command):
                self.commands.forget(command.job_id)
                self._naming[command.kb_id, command.generation].remove(command.job_id)
                self._note_refused(self._places[command.job_id], command.job_id, reason)
        self._jobs.clear()
        self._by_key.clear()
        for command in self.commands.all():
            self._index(command)

    def announce(self, events: Sequence[Event]) -> None:
        """Control is about to write these; nothing, once they are read back."""
        self._announced = events
        self._own |= {event.job_id for event in events if isinstance(event, JobCommand)}

    async def applied(self, written: Sequence[Written]) -> None:
        """Returns once these records have been read back; raises Unavailable where that takes too long."""
        ends = {(w.topic, w.place.partition): w.place.offset for w in written if w.topic in ("commands", "kbs")}
        try:
            async with asyncio.timeout(READ_BACK_S), self._moved:
                await self._moved.wait_for(lambda: all(self._applied.get(tp, -1) >= end for tp, end in ends.items()))
        except TimeoutError as exc:
            raise Unavailable("the command is written, and Kafka is away before it could be read back") from exc

    def jobs(self, kb_id: str) -> list[JobCommand]:
        """Newest first."""
        of_kb = self._jobs.get(kb_id, {})
        found = [self.commands.get(of_kb[generation]) for generation in sorted(of_kb, reverse=True)]
        return [command for command in found if command is not None]

    def record(self, kb_id: str) -> KbDefined | None:
        """The KB's record; where it is being written, as it will be."""
        written = (each for each in self._announced if isinstance(each, KbDefined) and each.kb_id == kb_id)
        return next(written, self.kbs.get(kb_id))

    def undone(self, kb_id: str) -> frozenset[int]:
        """Generations that are undone, or that a command has the consumer undo."""
        written = [each for each in self._announced if isinstance(each, JobCommand) and each.kb_id == kb_id]
        commanded = {command.generation for command in [*self.jobs(kb_id), *written] if self._undoes(command)}
        return self.kbs.undone(kb_id) | commanded

    def switching(self, kb_id: str) -> JobCommand | None:
        """The job that embedded the KB's texts anew, is published, and whose model the definition is yet to take."""
        known = self.kbs.get(kb_id)
        if known is None or known.deleted or known.reembedding is None:
            return None
        state = self.kbs.generation(kb_id, known.reembedding)
        return self.commands.get(state.job_id) if state is not None and state.state == "published" else None

    def used(self, kb_id: str) -> int:
        """The highest generation that anybody has named: one that was refused may be under way all the same."""
        known = self.kbs.generations(kb_id)
        return max(known[-1].generation if known else 0, self._usurped.get(kb_id, 0))

    def _unfit(self, command: JobCommand) -> str | None:
        """Why control can't have started this job; None too where that isn't known yet."""
        if not self._settled or self._is_ours(command.job_id):
            return None
        name = f"generation {command.generation} of {command.kb_id}"
        kb = self.kbs.get(command.kb_id)
        reason = None
        if (holder := self._holder(command)) != command.job_id:
            reason = f"{name} is job {holder}'s"
        elif kb is None or command.generation > kb.last_generation:
            reason = f"{name} was never begun: jobs are started by control alone"
        if reason is not None:
            self._usurped[command.kb_id] = max(command.generation, self._usurped.get(command.kb_id, 0))
        return reason

    def _holder(self, command: JobCommand) -> str:
        """Whose generation it is: the job's that control started, else of who opened it, else of who came first."""
        place = command.kb_id, command.generation
        written = [e.job_id for e in self._announced if isinstance(e, JobCommand) and (e.kb_id, e.generation) == place]
        rivals = [*self._naming.get(place, ()), *written, command.job_id]
        state = self.kbs.generation(*place)
        ours = [job_id for job_id in rivals if self._is_ours(job_id)]
        holders: list[str] = [*ours, *([state.job_id] if state else []), *rivals]
        return holders[0]

    def _is_ours(self, job_id: str) -> bool:
        return job_id in self._own or job_id in self._started

    def _undoes(self, command: JobCommand) -> bool:
        """A published one goes by a rollback alone, and the consumer lets it stay where a later one builds on it."""
        state = self.kbs.generation(command.kb_id, command.generation)
        if state is None or state.state != "published":
            return command.desired in ("cancelled", "rolled_back")
        return command.desired == "rolled_back" and self.kbs.published(command.kb_id) == state

    def by_idempotency_key(self, key: str) -> JobCommand | None:
        return self.commands.get(self._by_key.get(key, ""))

    def _command(self, command: JobCommand) -> None:
        naming = self._naming.setdefault((command.kb_id, command.generation), [])
        if command.job_id not in naming:
            naming.append(command.job_id)
        self._index(command)
        self._on_change(command.kb_id)

    def _index(self, command: JobCommand) -> None:
        self._jobs.setdefault(command.kb_id, {})[command.generation] = command.job_id
        if command.idempotency_key is not None:
            self._by_key.setdefault(command.idempotency_key, command.job_id)

    def _refuse(self, raw: RawRecord, reason: str) -> None:
        key = (raw.key or b"").decode(errors="replace")
        self._note_refused(Place(raw.partition, raw.offset), key, reason)

    def _note_refused(self, place: Place, key: str, reason: str) -> None:
        self.refused.append(Refused(place, key, reason))
        self._on_refused()

    def _apply_command(self, raw: RawRecord) -> None:
        if raw.value is None:
            self._refuse(raw, "a tombstone: a job's command is never deleted")
        elif not self._settled:
            self._places[(raw.key or b"").decode(errors="replace")] = Place(raw.partition, raw.offset)
        self.commands.apply(raw)
        self._note(raw)

    def _apply_kb(self, raw: RawRecord) -> None:
        self.kbs.apply(raw)
        self._note(raw)

    def _note(self, raw: RawRecord) -> None:
        self._applied[(raw.topic, raw.partition)] = raw.offset
        if len(self._wakes) == 0:
            task = asyncio.create_task(self._wake())
            self._wakes.add(task)
            task.add_done_callback(self._wakes.discard)

    async def _wake(self) -> None:
        async with self._moved:
            self._moved.notify_all()
