"""Records, commands and states as the consumer meets them, and a log that is a list."""

from typing import Any

import msgspec

from consumer.item import Item, item_of
from headrace.kafka.records import RawRecord
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from headrace.state.parked import Parked
from schemas import identity
from schemas.chunks import Chunk, CrawlBegin, CrawlEnd, PageEnd, RepairEnd
from schemas.codec import encode, headers_for, with_fields
from schemas.commands import Desired, JobCommand
from schemas.events import Event, Place
from schemas.facts import CallSettled
from schemas.kb import Definition, Embedding, GenerationState, Source, resolve
from schemas.parked import ParkedSpan, RequeuedThrough

NOW = "2026-11-24T09:15:00.000Z"
KB, JOB, PARTITION = "docs", "job", 2
DEFINITION = resolve(
    Definition(
        source=Source(urls=("https://docs.example.org/",)),
        embedding=Embedding(provider="openai", model="text-embedding-3-small", dimensions=8),
    ),
    openai_available=True,
)


def command(desired: Desired = "running", revision: int = 1, **changed: Any) -> JobCommand:
    fields: dict[str, Any] = {
        "job_id": JOB, "kb_id": KB, "generation": 1, "partition": PARTITION, "definition": DEFINITION,
        "desired": desired, "revision": revision, "issued_at": NOW, "issued_by": "test",
    }  # fmt: skip
    return JobCommand(**fields | changed)


def begin(origin: Place | None = None, **changed: Any) -> CrawlBegin:
    fields: dict[str, Any] = {
        "job_id": JOB, "kb_id": KB, "generation": 1, "base": None, "owner": "test", "began_at": NOW, "origin": origin,
    }  # fmt: skip
    return CrawlBegin(**fields | changed)


def chunk(text: str = "text", *, epoch: int = 0, **changed: Any) -> Chunk:
    doc_hash = identity.doc_hash(text, url="https://docs.example.org/", heading_path=(), occurrence=0)
    fields: dict[str, Any] = {
        "job_id": JOB, "kb_id": KB, "generation": 1, "epoch": epoch, "attempt": 1, "doc_hash": doc_hash,
        "chunk_id": identity.chunk_id(KB, 1, doc_hash), "url": "https://docs.example.org/", "title": "T",
        "text_hash": identity.text_hash(identity.embedding_input("T", (), text)), "heading_path": (),
        "ordinal": 0, "occurrence": 0, "text": text, "tokens": 1, "fetched_at": NOW,
    }  # fmt: skip
    return Chunk(**fields | changed)


def page_end(epoch: int = 0) -> PageEnd:
    return PageEnd(
        job_id=JOB, kb_id=KB, generation=1, epoch=epoch, attempt=1, url="https://docs.example.org/", chunk_ids=()
    )


def crawl_end(epoch: int = 0, **changed: Any) -> CrawlEnd:
    fields: dict[str, Any] = {
        "job_id": JOB, "kb_id": KB, "generation": 1, "epoch": epoch, "pages": 0, "pages_partition": 0,
        "pages_end_offset": 0, "digest": identity.manifest_digest([]), "frontier_emptied": True, "errors": 0,
        "ended_at": NOW,
    }  # fmt: skip
    return CrawlEnd(**fields | changed)


def record(event: Event, offset: int = 0, *, partition: int = PARTITION, key: bytes | None = None) -> RawRecord:
    return RawRecord(
        topic=event.TOPIC, partition=partition, offset=offset, key=event.key().encode() if key is None else key,
        value=encode(event), headers=tuple(headers_for(event, "test")),
    )  # fmt: skip


def newer(event: Event, offset: int = 0, **fields: Any) -> RawRecord:
    """The record in a version to come, with fields that joined it."""
    raw = record(event, offset)
    ce_type = f"headrace.{event.TYPE}.v{event.VERSION + 1}".encode()
    headers = tuple((name, ce_type if name == "ce_type" else value) for name, value in raw.headers)
    return msgspec.structs.replace(raw, value=with_fields(raw.value or b"", **fields), headers=headers)


def item(event: Event, offset: int = 0, **place: Any) -> Item:
    return item_of(record(event, offset, **place))


def repair_end() -> RepairEnd:
    return RepairEnd(job_id=JOB, kb_id=KB, generation=1, requested_at=NOW)


def generation(state: Any, epoch: int = 0, **changed: Any) -> GenerationState:
    return GenerationState(
        kb_id=KB, generation=1, job_id=JOB, state=state, base=None, collection="C", epoch=epoch, changed_at=NOW,
        **changed,
    )  # fmt: skip


def span(first: int, last: int) -> ParkedSpan:
    return ParkedSpan(
        job_id=JOB, kb_id=KB, generation=1, partition=PARTITION, first_offset=first, last_offset=last, revision=2,
        parked_at=NOW,
    )  # fmt: skip


class Known:
    """What the followed topics say."""

    def __init__(self, *events: Event) -> None:
        self.commands, self.kbs, self.parked = Commands(), KnowledgeBases(), Parked()
        self.told = 0
        for event in events:
            self.tell(event)

    def tell(self, event: Event) -> None:
        folds = {"commands": self.commands.apply, "kbs": self.kbs.apply, "parked": self.parked.apply}
        folds[event.TOPIC](record(event, self.told))
        self.told += 1

    def command(self, desired: Desired) -> JobCommand:
        """The job's next command."""
        current = self.commands.get(JOB)
        assert current is not None
        following = msgspec.structs.replace(current, desired=desired, revision=current.revision + 1)
        self.tell(following)
        return following

    def requeued_through(self, offset: int) -> None:
        self.tell(RequeuedThrough(job_id=JOB, partition=PARTITION, offset=offset))


class Told:
    """Reports whose facts are a list."""

    worker, group_generation = "worker", 1

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, event: Event, partition: int) -> None:
        self.events.append(event)

    hand_over = publish

    async def stall(self, *_: Any, **__: Any) -> None: ...

    def paid(self) -> tuple[int, int, int]:
        """Texts, tokens and requests."""
        settled = [event for event in self.events if isinstance(event, CallSettled)]
        return sum(e.texts for e in settled), sum(e.tokens for e in settled), sum(e.requests for e in settled)


class LateCommands:
    """A follower whose `commands` come only when it is asked to catch up."""

    def __init__(self, known: Known, *late: JobCommand) -> None:
        self._known, self._late, self.asked = known, list(late), 0

    async def catch_up(self, *topics: str) -> None:
        self.asked += 1
        while self._late:
            self._known.tell(self._late.pop(0))
