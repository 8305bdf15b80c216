"""Where the group's reading begins, looked at anew at each assignment, before a record is read.

Per partition, by what the group has committed:
* Nothing, but `events` has outcomes of it: its offsets were deleted, or the group goes by another name. Beginning at
  the log's start or at its end are both a person's choice: nothing is read, and the jobs say so, those too that come
  or change meanwhile.
* More than the log's end: it was cut off, made anew, or restored from an older copy. What it holds now may have been
  read or not, and epochs are offsets: a person's choice too.
* Less than the log's start, or nothing where the log does not start at 0: unread records are gone. They are told
  (consumer/losses.py), then the log's start is committed. Crash before that: told again.
* Nothing, and no outcomes: the log's start is committed before the gate opens, so that a crash before the first batch
  can't be taken for deleted offsets.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from consumer.generations import Generations
from consumer.losses import Losses
from consumer.reports import Reports
from consumer.tasks import Tasks
from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from headrace.state.commands import Commands
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.facts import Outcomes

log = logging.getLogger(__name__)

_OUTCOMES = f"headrace.{Outcomes.TYPE}.".encode()

Ends = Callable[[Iterable[int]], Awaitable[Mapping[int, int]]]
Committed = Callable[[Iterable[int]], Awaitable[Mapping[int, int | None]]]
Commit = Callable[[Mapping[int, int]], Awaitable[None]]


class Offsets:
    """`committed(partitions)` gives what the group committed, None for nothing; `commit(offsets)` commits.

    `settle` at each assignment, `release` before partitions go; commands in between to `command_changed`.
    `ends(partitions)`: the offsets after the last records.
    """

    def __init__(
        self, settings: Settings, commands: Commands, generations: Generations, reports: Reports, losses: Losses,
        tasks: Tasks, *, committed: Committed, ends: Ends, commit: Commit,
    ) -> None:  # fmt: skip
        self._settings, self._commands, self._generations = settings, commands, generations
        self._reports, self._losses = reports, losses
        self._tasks, self._committed, self._ends, self._commit = tasks, committed, ends, commit
        self._mine: frozenset[int] = frozenset()
        self._waits: _Wait | None = None

    async def settle(self, log_start: Mapping[int, int]) -> dict[int, int] | None:
        """The offset at which reading begins, by partition. None where a person must decide: then nothing may be read.

        `log_start`: the assigned partitions, with the first offset that their log still holds.
        """
        self._mine = frozenset(log_start)
        committed = await self._committed(log_start)
        new = [partition for partition, offset in committed.items() if offset is None]
        if reason := await self._trouble(committed):
            await self._stall(reason)
            return None
        self._waits = None
        behind = {p: offset or 0 for p, offset in committed.items() if (offset or 0) < log_start[p]}
        for partition, offset in behind.items():
            for command in self._needing(partition):
                await self._losses.tell(command, "unread", offset, log_start[partition])
        if begins := {partition: log_start[partition] for partition in {*new, *behind}}:
            await self._commit(begins)
        return {p: offset or 0 for p, offset in committed.items()} | begins

    def release(self) -> None:
        self._mine = frozenset()

    def command_changed(self, command: JobCommand) -> None:
        if self._waits and command.partition in self._mine and self._left(command):
            self._tasks.start(f"offsets {command.job_id}", self._tell(command, self._waits))

    async def _trouble(self, committed: Mapping[int, int | None]) -> str | None:
        """What a person must decide on."""
        new = [partition for partition, offset in committed.items() if offset is None]
        if gone := [partition for partition in new if await self._has_outcomes(partition)]:
            return self._reason("has no offsets on", gone, "which were read before", "")
        ends = await self._ends(committed)
        if beyond := [partition for partition, offset in committed.items() if (offset or 0) > ends[partition]]:
            return self._reason(
                "has offsets beyond the end of", beyond, "which were cut off or made anew",
                ", then cancel the jobs that are under way and start them again",
            )  # fmt: skip
        return None

    async def _has_outcomes(self, partition: int) -> bool:
        bootstrap, prefix = self._settings.bootstrap_servers, self._settings.topic_prefix
        end = await end_offset(bootstrap, Outcomes.TOPIC, partition, prefix=prefix)
        async for record in stream_span(bootstrap, Outcomes.TOPIC, partition, 0, end, prefix=prefix):
            if _is_outcomes(record):
                return True
        return False

    async def _stall(self, reason: str) -> None:
        log.error("nothing is read: %s", reason)
        waits = self._waits = _Wait(reason, self._waits.since if self._waits else now())
        for partition in self._mine:
            for command in self._commands.of_partition(partition):
                if self._left(command):
                    await self._tell(command, waits)

    async def _tell(self, command: JobCommand, waits: "_Wait") -> None:
        await self._reports.stall(command, dependency="offsets", reason=waits.reason, since=waits.since, ended=False)

    def _reason(self, has: str, which: list[int], why: str, then: str) -> str:
        group, topic = self._settings.consumer_group, self._settings.topic("chunks")
        partitions = ",".join(str(partition) for partition in sorted(which))
        return (
            f"group {group} {has} partitions {partitions} of {topic}, {why}: stop every "
            "consumer, run kafka-consumer-groups --bootstrap-server "
            f"{self._settings.bootstrap_servers} --group {group} --topic {topic}:{partitions} --reset-offsets "
            "--to-earliest --execute (what was read before is read again, and nothing is paid for twice), start them"
            f"{then}"
        )

    def _needing(self, partition: int) -> list[JobCommand]:
        """Jobs whose records have, or may have, something left to do."""
        jobs = self._commands.of_partition(partition)
        return [command for command in jobs if command.desired in ("running", "paused") and self._open(command)]

    def _left(self, command: JobCommand) -> bool:
        """Whether the job waits for anything, be it for its undo."""
        state = self._generations.state(command)
        if state is None or state.state == "open":
            return True
        return state.state == "published" and command.desired == "rolled_back"

    def _open(self, command: JobCommand) -> bool:
        state = self._generations.state(command)
        return state is None or state.state == "open"


@dataclass(frozen=True)
class _Wait:
    """For a person to decide. `since`: UTC, RFC 3339; of the first assignment in a row that found no other way."""

    reason: str
    since: str


def _is_outcomes(record: RawRecord) -> bool:
    return any(name == "ce_type" and (value or b"").startswith(_OUTCOMES) for name, value in record.headers)
