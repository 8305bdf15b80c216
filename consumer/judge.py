"""What is to be done with a record, judged by its job's command, its generation and its epoch."""

import logging

from consumer.item import Item, JobRecord, Newer
from headrace.kafka.follower import Follower
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from schemas import identity
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd, RepairEnd
from schemas.commands import JobCommand
from schemas.facts import Result
from schemas.kb import GenerationState

log = logging.getLogger(__name__)


class Judge:
    """`note` each item in log order, then `judge` it any number of times; the later judgement counts.

    `stalled`: jobs whose records are parked until a dependency is well, a newer consumer reads what this one can't, or
    a command follows, with a larger budget perhaps.
    `reviewing`: jobs whose `crawl_end` is parked until a person decides; like the former, discarded by each new command
    and each assignment.
    """

    def __init__(self, follower: Follower, commands: Commands, kbs: KnowledgeBases) -> None:
        self._follower, self._commands, self._kbs = follower, commands, kbs
        self._epochs: dict[tuple[str, int], int] = {}
        self.stalled: set[str] = set()
        self.reviewing: set[str] = set()
        self._running: dict[int, set[str]] = {}
        self._running_at = 0, 0

    def note(self, item: Item) -> None:
        """By partition: a `crawl_begin` on a wrong one is refused, and its offset there means nothing here."""
        if isinstance(item.event, CrawlBegin):
            command = self._commands.get(item.event.job_id)
            if command is not None and _misfit(item, item.event, command):
                return  # it is refused, and must not make the owner's records stale
            key = item.event.job_id, item.raw.partition
            self._epochs[key] = max(item.epoch, self._epochs.get(key, -1))

    async def judge(self, item: Item) -> None:
        """Sets the item's command and, unless it is to be indexed or to take effect, its result."""
        if item.event is None:
            return
        item.command = await self._command(item.event.job_id)
        if item.command is None:
            item.refuse("judge", f"no command names the job {item.event.job_id}")
        elif misfit := _misfit(item, item.event, item.command):
            item.refuse("judge", misfit)
        else:
            item.result = self._result(item, item.command)

    def over(self, item: Item) -> bool:
        """The item's generation, epoch or scope is over, or its job cancelled: it must have no effect."""
        assert item.command is not None
        command = self._commands.get(item.command.job_id) or item.command
        state = self._kbs.generation(command.kb_id, command.generation)
        if self.cancelled(command.job_id) or self._stale(item, command):
            return True
        if state is not None and state.job_id != command.job_id:
            return True  # two jobs were given one generation, by hand: it is the one's that opened it
        if state is not None and state.state != "open":
            return not (isinstance(item.event, CrawlEnd) or (_is_repair(item) and self.repairable(command)))
        return isinstance(item.event, CrawlEnd) and _outdated(item.event, command, state)

    def reconsider(self, item: Item) -> None:
        """Just before it is written: what was judged when it was read may hold no more."""
        if item.command is None or item.result not in (None, "duplicate", "parked"):
            return
        if self.over(item):
            item.result = "superseded"
        elif isinstance(item.event, CrawlEnd | RepairEnd) and item.result is None:
            item.result = self._result(item, self._commands.get(item.command.job_id) or item.command)

    def cancelled(self, job_id: str) -> bool:
        """The generation is to be undone. A cancel that came after publication has no effect, a rollback has."""
        command = self._commands.get(job_id)
        if command is None or command.desired != "cancelled":
            return command is not None and command.desired == "rolled_back"
        state = self._kbs.generation(command.kb_id, command.generation)
        return state is None or state.state != "published"

    def repairable(self, command: JobCommand) -> bool:
        """The generation is the one that searches see: retried dead letters join it."""
        published = self._kbs.published(command.kb_id)
        return (
            published is not None and published.generation == command.generation and not self.cancelled(command.job_id)
        )

    def may_embed(self, job_id: str) -> bool:
        command = self._commands.get(job_id)
        if command is None or job_id in self.stalled:
            return False
        return command.desired == "running" or self.repairable(command)

    def at_work(self, partition: int) -> set[str]:
        """Jobs of the partition that run, whose generation is not over, and that wait for nobody."""
        version = self._commands.changes, self._kbs.changes
        if version != self._running_at:
            self._running_at, self._running = version, {}
        if partition not in self._running:  # of all that ever were, few: not to be looked for with each batch
            of_partition = self._commands.of_partition(partition)
            running = {c.job_id for c in of_partition if c.desired == "running" and not self.ended(c)}
            self._running[partition] = running
        return self._running[partition] - self.stalled - self.reviewing

    def outdated(self, item: Item) -> bool:
        """A `crawl_end` of an earlier scope or owner, or of a crawl that begins anew: another one is to come."""
        command = self._commands.get(item.job_id or "")
        assert isinstance(item.event, CrawlEnd) and command is not None
        return _outdated(item.event, command, self._kbs.generation(command.kb_id, command.generation))

    def undone(self, item: Item) -> bool:
        assert item.command is not None
        state = self._kbs.generation(item.command.kb_id, item.command.generation)
        return state is not None and state.state == "undone"

    async def refresh(self) -> None:
        """Reads what stands on the topics by now."""
        await self._follower.catch_up("commands", "kbs")

    def newest(self, command: JobCommand) -> JobCommand:
        return self._commands.get(command.job_id) or command

    def _result(self, item: Item, command: JobCommand) -> Result | None:
        if self.over(item):
            return "superseded"
        if isinstance(item.event, CrawlBegin):
            return None
        if isinstance(item.event, Newer):
            self.stalled.add(command.job_id)
            return "parked"
        ended = self.ended(command)
        if ended and isinstance(item.event, CrawlEnd):
            return None  # its last steps, which a crash may have cut off, are not for a pause to hold up
        if (command.desired == "paused" and not ended) or command.job_id in self.stalled:
            return "parked"
        return None

    def ended(self, command: JobCommand) -> bool:
        """Published or undone. A crawl_end still unacked may be the one that did it: it has effect all the same."""
        state = self._kbs.generation(command.kb_id, command.generation)
        return state is not None and state.state != "open"

    def _stale(self, item: Item, command: JobCommand) -> bool:
        """Written by an owner after a newer one had begun.

        An epoch is the offset of its `crawl_begin`, so what was written before the newer one began is not stale: the
        newer owner counts on it.
        """
        state = self._kbs.generation(command.kb_id, command.generation)
        newest = max(self._epochs.get((command.job_id, command.partition), -1), state.epoch if state else -1)
        return item.epoch < newest < item.place.offset

    def command_known(self, job_id: str | None) -> JobCommand | None:
        return self._commands.get(job_id) if job_id else None

    async def _command(self, job_id: str) -> JobCommand | None:
        command = self._commands.get(job_id)
        if command is None:  # `commands` and `chunks` have no common order
            await self._follower.catch_up("commands")
            command = self._commands.get(job_id)
        return command


def _is_repair(item: Item) -> bool:
    return isinstance(item.event, RepairEnd) or (item.event is not None and item.event.retry_of is not None)


def _outdated(end: CrawlEnd, command: JobCommand, state: GenerationState | None) -> bool:
    if end.scope_revision < command.scope_revision:
        return True
    return state is not None and (end.epoch <= state.recrawl or (state.state == "open" and end.epoch < state.epoch))


def _misfit(item: Item, event: JobRecord, command: JobCommand) -> str | None:
    """What of the record contradicts its job or itself: such a record would be lost or do harm further on.

    Parking finds a job's records by key; Weaviate refuses a whole request for one id that is no UUID; a vector is
    reused for every text with the same text_hash.
    """
    if item.raw.key != event.job_id.encode():
        return "the record's key is not its job_id"
    if item.raw.partition != command.partition:
        return f"stands on partition {item.raw.partition}, the job's is {command.partition}"
    if (event.kb_id, event.generation) != (command.kb_id, command.generation):
        return f"is of {event.kb_id}/{event.generation}, the job of {command.kb_id}/{command.generation}"
    return _chunk_misfit(event) if isinstance(event, Chunk) else None


def _chunk_misfit(chunk: Chunk) -> str | None:
    if chunk.chunk_id != identity.chunk_id(chunk.kb_id, chunk.generation, chunk.doc_hash):
        return "chunk_id is not the one of its generation and doc_hash"
    if chunk.text_hash != identity.text_hash(identity.embedding_input(chunk.title, chunk.heading_path, chunk.text)):
        return "text_hash is not that of the text to embed"
    if not 0 <= chunk.ordinal < 2**31:
        return f"ordinal {chunk.ordinal} is out of range"
    return None
