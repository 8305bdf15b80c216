"""`commands` and `kbs` in memory: what a desk commits stands in its books once it is read back."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from control.books import Books
from control.desk import Desk
from control.rules import Job
from control.writer import Outgoing, Writer, Written
from headrace.kafka.records import RawRecord
from headrace.prices import Prices
from schemas.codec import encode, headers_for
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.kb import GenerationState, KbDefined, parse_definition

DEFINITION = parse_definition({"source": {"urls": ["https://example.org/docs/"]}})


async def nothing() -> None:
    pass


class MemoryLog(Writer):
    """The writer of a desk, and what anybody else writes: `told`. Every job is over at once, unless it is in `active`.

    `between` runs when a commit is durable and nobody has read it yet.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.committed: list[Event] = []
        self.transactions: list[list[Event]] = []
        self.refused: list[str] = []
        self.active: set[str] = set()
        self.between: Callable[[], Awaitable[None]] = nothing
        self.books = Books("nowhere", prefix="", on_change=lambda kb_id: None, on_refused=lambda: None)
        self.desk = Desk(self.books, self, self._job_of, partitions=partitions, openai_available=False, prices=Prices())
        self._ends = Counter[str]()
        self.books.settle(frozenset())

    async def settled(self) -> list[Written]:
        return []

    async def commit(self, outgoing: Sequence[Outgoing]) -> list[Written]:
        self.transactions.append([each.event for each in outgoing])
        self.committed += self.transactions[-1]
        await self.between()
        return [self.told(each.event) for each in outgoing]

    def told(self, event: Event) -> Written:
        """A record that control has read."""
        place = Place(event.partition if isinstance(event, JobCommand) else 0, self._ends[event.TOPIC])
        self._ends[event.TOPIC] += 1
        raw = RawRecord(
            topic=event.TOPIC, partition=place.partition, offset=place.offset, key=event.key().encode(),
            value=encode(event), headers=tuple(headers_for(event, "test")),
        )  # fmt: skip
        if event.TOPIC in ("commands", "kbs"):
            self.books._follower._apply[event.TOPIC](raw)
        return Written(event.TOPIC, place)

    async def started(self, kb_id: str = "docs") -> JobCommand:
        return await self.desk.start(kb_id, DEFINITION, by="test", reason=None, idempotency_key=None)

    async def published(self, kb_id: str = "docs", *, collection: str = "Headrace_test") -> JobCommand:
        """A job that ran and was published."""
        command = await self.started(kb_id)
        self.state(command, "published", collection=collection)
        return command

    def state(self, command: JobCommand, state: Any, *, collection: str = "Headrace_test") -> None:
        self.told(
            GenerationState(
                kb_id=command.kb_id, generation=command.generation, job_id=command.job_id, state=state, base=None,
                collection=collection, changed_at="t",
            )
        )  # fmt: skip

    def kb(self, kb_id: str = "docs") -> KbDefined:
        found = self.books.kbs.get(kb_id)
        assert found is not None
        return found

    async def _job_of(self, command: JobCommand) -> Job:
        return Job(command, None if command.job_id in self.active else "completed")
