"""The jobs of the partitions that this process owns: a keeper for each that isn't over."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from headrace.kafka.follower import Follower
from headrace.settings import Settings
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from producer.keeper import Keeper
from producer.tools import Tools
from schemas.commands import JobCommand
from schemas.kb import GenerationState, KbDefined

log = logging.getLogger(__name__)

REVOKE_GRACE_S: Final = 1.0
"""Others of the group wait meanwhile; far below the rebalance timeout."""
STOP_GRACE_S: Final = 2.0
CUT_OFF_S: Final = 1.0
"""More than a keeper needs after its grace; one that takes longer waits for Kafka, and is cancelled."""


class Jobs:
    """`start`, then `assigned` and `revoked` as the group says, then `stop`. `failed` ends with the error of a keeper,
    of the reading, or of the publisher."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        self._tools = tools
        self._commands = Commands(self._command_changed)
        self._kbs = KnowledgeBases(self._kb_changed)
        self._follower = Follower(
            settings.bootstrap_servers,
            {"commands": self._commands.apply, "kbs": self._kbs.apply},
            prefix=settings.topic_prefix,
        )
        self._owned: frozenset[int] = frozenset()
        self._keepers: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._taking_up: asyncio.Task[None] | None = None
        self._watching: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def owned(self) -> frozenset[int]:
        return self._owned

    @property
    def kept(self) -> list[str]:
        """Ids of the jobs that are looked after."""
        return list(self._keepers)

    def start(self) -> None:
        self._follower.start()
        for failed in (self._follower.failed, self._tools.publisher.failed):
            self._watching.append(asyncio.create_task(failed()))
            self._watching[-1].add_done_callback(self.note_failure)

    def assigned(self, partitions: frozenset[int]) -> None:
        """Takes up the jobs of `partitions` once everything that stands in `commands` and `kbs` now is known."""
        self._taking_up = asyncio.create_task(self._take_up(partitions))
        self._taking_up.add_done_callback(self.note_failure)

    async def revoked(self) -> None:
        """Nothing more is fetched or published when this returns, within about two seconds."""
        await self._release(REVOKE_GRACE_S)

    async def stop(self) -> None:
        await self._release(STOP_GRACE_S)
        for watching in self._watching:
            watching.cancel()
        await self._follower.stop()

    async def _take_up(self, partitions: frozenset[int]) -> None:
        await self._follower.catch_up()
        self._owned = partitions
        self._tools.metrics.partitions.set(len(partitions))
        for partition in sorted(partitions):
            for command in self._commands.of_partition(partition):
                self._keep(command)
        log.info("owns partitions %s: %d jobs to look after", _listed(partitions), len(self._keepers))

    async def _release(self, grace_s: float) -> None:
        if self._taking_up is not None:
            self._taking_up.cancel()
        self._owned = frozenset()
        self._tools.metrics.partitions.set(0)
        keepers, tasks = [keeper for keeper, _ in self._keepers.values()], [task for _, task in self._keepers.values()]
        for keeper in keepers:
            keeper.stop(grace_s)
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=grace_s + CUT_OFF_S)
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, command: JobCommand) -> None:
        keeper = Keeper(command, self._commands, self._kbs, self._tools, self._follower.catch_up)
        if command.job_id in self._keepers or keeper.over(command):
            return
        task = asyncio.create_task(keeper.run(), name=f"job {command.job_id}")
        self._keepers[command.job_id] = (keeper, task)
        task.add_done_callback(lambda done: self._ended(command.job_id, done))
        self._tools.metrics.jobs.set(len(self._keepers))

    def _ended(self, job_id: str, task: "asyncio.Task[None]") -> None:
        del self._keepers[job_id]
        self._tools.metrics.jobs.set(len(self._keepers))
        self.note_failure(task)

    def note_failure(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    def _command_changed(self, command: JobCommand) -> None:
        if command.job_id in self._keepers:
            self._keepers[command.job_id][0].wake()
        elif command.partition in self._owned:
            self._keep(command)

    def _kb_changed(self, event: KbDefined | GenerationState) -> None:
        if isinstance(event, GenerationState) and event.job_id in self._keepers:
            self._keepers[event.job_id][0].wake()


def _listed(partitions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "none"
