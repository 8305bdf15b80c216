"""What is to be done with a record, judged by its job's command, its generation and its epoch."""

import logging

from consumer.item import Item
from headrace.kafka.follower import Follower
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from headrace.state.parked import Parked
from schemas.chunks import CrawlBegin, CrawlEnd
from schemas.commands import JobCommand
from schemas.facts import Result

log = logging.getLogger(__name__)


class Judge:
    """`note` each item in log order, then `judge` it any number of times; the later judgement counts."""

    def __init__(self, follower: Follower, commands: Commands, kbs: KnowledgeBases, parked: Parked) -> None:
        self._follower, self._commands, self._kbs, self._parked = follower, commands, kbs, parked
        self._epochs: dict[str, int] = {}
        self.stalled: set[str] = set()

    def note(self, item: Item) -> None:
        if isinstance(item.event, CrawlBegin):
            self._epochs[item.event.job_id] = max(item.epoch, self._epochs.get(item.event.job_id, -1))

    async def judge(self, item: Item) -> None:
        """Sets the item's command and, unless it is to be indexed or to take effect, its result."""
        if item.event is None:
            return
        item.command = await self._command(item.event.job_id)
        if item.command is None:
            item.refuse("judge", f"no command names the job {item.event.job_id}")
        elif item.raw.partition != item.command.partition:
            item.refuse("judge", f"stands on partition {item.raw.partition}, the job's is {item.command.partition}")
        else:
            item.result = self._result(item, item.command)

    def over(self, item: Item) -> bool:
        """The item's generation or epoch is over, or its job cancelled: it must have no effect."""
        assert item.command is not None
        command = self._commands.get(item.command.job_id) or item.command
        return command.desired == "cancelled" or not self._open(item, command) or self._stale(item, command)

    def may_embed(self, job_id: str) -> bool:
        command = self._commands.get(job_id)
        return command is not None and command.desired == "running" and job_id not in self.stalled

    def _result(self, item: Item, command: JobCommand) -> Result | None:
        if self.over(item):
            return "superseded"
        if isinstance(item.event, CrawlBegin):
            return None
        if command.desired == "paused" or command.job_id in self.stalled:
            return "parked"
        if isinstance(item.event, CrawlEnd) and self._parked.of(command.job_id):
            return "parked"  # it must not overtake what is parked; requeueing goes by offset, so it comes last
        return None

    def _open(self, item: Item, command: JobCommand) -> bool:
        state = self._kbs.generation(command.kb_id, command.generation)
        if state is None or state.state == "open":
            return True
        # A crawl_end that is still unacked may be the one that published: its last steps are done again.
        return state.state == "published" and isinstance(item.event, CrawlEnd)

    def _stale(self, item: Item, command: JobCommand) -> bool:
        """Written by an owner after a newer one had begun.

        An epoch is the offset of its `crawl_begin`, so what was written before the newer one began is not stale: the
        newer owner counts on it.
        """
        state = self._kbs.generation(command.kb_id, command.generation)
        newest = max(self._epochs.get(command.job_id, -1), state.epoch if state else -1)
        return item.epoch < newest < item.place.offset

    def command_known(self, job_id: str | None) -> JobCommand | None:
        return self._commands.get(job_id) if job_id else None

    async def _command(self, job_id: str) -> JobCommand | None:
        command = self._commands.get(job_id)
        if command is None:  # `commands` and `chunks` have no common order
            await self._follower.catch_up("commands")
            command = self._commands.get(job_id)
        return command
