"""The consumer from the window to the embedding API, without Kafka and Weaviate: records come from memory and are
settled by counting."""

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from consumer.calls import Calls, Profiles
from consumer.embed import EmbedStage
from consumer.item import Batch, item_of
from consumer.judge import Judge
from consumer.ledger import Ledger
from consumer.reports import Reports
from consumer.shares import Shares
from consumer.stalls import Stalls
from consumer.vector_cache import VectorCache
from consumer.window import Window, split
from headrace.embedding import embedder_for
from headrace.kafka.follower import Follower
from headrace.kafka.records import RawRecord
from headrace.prices import Prices
from headrace.settings import Secret, Settings
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from headrace.vectors import Found, VectorStore
from schemas import identity
from schemas.chunks import Chunk
from schemas.codec import encode, headers_for, now
from schemas.commands import JobCommand
from schemas.events import Event
from schemas.facts import CallSettled
from schemas.kb import Budget, Definition, Embedding, Source, resolve

MODEL = "text-embedding-3-small"
UNBOUND = Budget()
READ_AHEAD = 512
"""Records handed to the window at once, as Faust would."""


@dataclass(eq=False)
class _Message:
    partition: int
    offset: int
    generation_id: int = 1


class _Read:
    """A record as Faust hands it over."""

    def __init__(self, raw: RawRecord) -> None:
        self.raw, self.message = raw, _Message(raw.partition, raw.offset)

    def ack(self) -> None: ...


class Job:
    """Chunks of one job on a partition; `done_at` each of them."""

    def __init__(self, rig: "EmbedRig", partition: int, texts: list[str], budget: Budget = UNBOUND) -> None:
        self.command = rig.command(partition, budget)
        self.texts, self.done = texts, 0
        self.finished = asyncio.Event()

    def records(self, first: int) -> "list[RawRecord]":
        return [_record(chunk_of(self.command, text, i), first + i, self.command.partition)
                for i, text in enumerate(self.texts)]  # fmt: skip


class EmbedRig:
    """`add` jobs, `run` until some are done. `ledger(judge)` makes another one than that which is kept in memory."""

    def __init__(
        self,
        base_url: str,
        dimensions: int | None = None,
        *,
        ledger: Callable[[Judge], Ledger] | None = None,
    ) -> None:
        self._dimensions = dimensions
        me: Any = self
        settings = Settings(openai_api_key=Secret("sk-bench"), openai_base_url=base_url)
        self._commands, self._kbs = Commands(), KnowledgeBases()
        judge = Judge(cast(Follower, me), self._commands, self._kbs)
        stalls = Stalls(cast(Reports, me))
        self.profiles = Profiles(lambda embedding: embedder_for(embedding, settings))
        kept = ledger(judge) if ledger else Ledger(cast(Reports, me), judge, Prices(), cast(Any, None))
        self.calls = Calls(self.profiles, stalls, judge.may_embed, kept)
        cache = VectorCache(settings.embed_window * settings.embed_batch)
        shares = Shares(judge, settings.embed_batch)
        stage = EmbedStage(
            judge, shares, stalls, cast(VectorStore, me), self.calls, cache, lambda command, dependency: None
        )
        self.window = Window(
            width=settings.embed_window, most_records=settings.embed_batch, cut=self._cut, prepare=stage.prepare,
            settle=self._settle, generation=lambda: 1, commit=_nothing, crash=self._crash, hold=self._hold,
        )  # fmt: skip
        self._batch, self._numbers = settings.embed_batch, itertools.count()
        self._unread: dict[int, deque[RawRecord]] = {}
        self._ends: Counter[int] = Counter()
        self._held: frozenset[int] = frozenset()
        self._read_on = asyncio.Event()
        self._jobs: dict[str, Job] = {}
        self.worker, self.group_generation = "bench", 1
        self.stalls: list[str] = []
        self.texts, self.tokens = 0, 0

    def command(self, partition: int, budget: Budget) -> JobCommand:
        number = next(self._numbers)
        command = command_of(str(number), partition, self._dimensions, budget=budget)
        self._commands.apply(_record(command, number, partition))
        return command

    def add(self, job: Job) -> None:
        partition = job.command.partition
        self._jobs[job.command.job_id] = job
        records = job.records(self._ends[partition])
        self._unread.setdefault(partition, deque()).extend(records)
        self._ends[partition] += len(records)
        self._read_on.set()

    def forget(self, job: Job) -> None:
        del self._jobs[job.command.job_id]

    async def feed(self) -> None:
        """Hands records over as Faust would: of all partitions in turn, but not of those held."""
        while True:
            self._read_on.clear()
            ready = [p for p, records in self._unread.items() if records and p not in self._held]
            if not ready:
                await self._read_on.wait()
                continue
            taken = [self._unread[p].popleft() for p in ready for _ in range(min(READ_AHEAD, len(self._unread[p])))]
            await self.window.submit([_Read(raw) for raw in taken])
            await asyncio.sleep(0)

    def _cut(self, events: list[_Read]) -> list[Batch]:
        return split([item_of(event.raw) for event in events], events, 1, lambda _: self._batch)

    async def _settle(self, batch: Batch) -> None:
        for job_id, items in batch.jobs().items():
            assert all(item.vector is not None for item in items)
            job = self._jobs[job_id]
            job.done += len(items)
            if job.done == len(job.texts):
                job.finished.set()

    def _hold(self, partitions: frozenset[int]) -> None:
        self._held = partitions
        self._read_on.set()

    async def _crash(self, exc: BaseException) -> None:
        raise exc

    # What stands for Kafka and Weaviate.

    async def catch_up(self, *topics: str) -> None: ...

    async def lookup(self, place: Any, ids: Any, text_hashes: Any) -> Found:
        return Found(frozenset(), {})

    async def publish(self, event: Event, partition: int) -> None: ...

    async def hand_over(self, event: Event, partition: int) -> None:
        assert isinstance(event, CallSettled)
        self.texts, self.tokens = self.texts + event.texts, self.tokens + event.tokens

    async def stall(self, command: JobCommand, *, reason: str, **_: Any) -> None:
        self.stalls.append(reason)


@asynccontextmanager
async def embed_rig(
    base_url: str, dimensions: int | None = None, *, ledger: Callable[[Judge], Ledger] | None = None
) -> AsyncIterator[EmbedRig]:
    rig = EmbedRig(base_url, dimensions, ledger=ledger)
    rig.window.start()
    rig.window.assigned(dict.fromkeys(range(8), 0))
    rig.window.gate.set()
    feeding = asyncio.create_task(rig.feed())
    try:
        yield rig
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        await rig.window.stop()
        await rig.calls.stop()
        await rig.profiles.stop()


async def timed(job: Job) -> float:
    """Seconds until all its chunks are settled."""
    began = time.perf_counter()
    await job.finished.wait()
    return time.perf_counter() - began


async def _nothing() -> None: ...


def _record(event: Event, offset: int, partition: int) -> RawRecord:
    return RawRecord(
        topic=event.TOPIC, partition=partition, offset=offset, key=event.key().encode(), value=encode(event),
        headers=tuple(headers_for(event, "bench")),
    )  # fmt: skip


def tokens_of(text: str) -> int:
    """As the fake server estimates, so that both count alike."""
    return max(1, len(text.encode()) // 4)


def command_of(name: str, partition: int, dimensions: int | None = None, *, budget: Budget = UNBOUND) -> JobCommand:
    embedding = Embedding(provider="openai", model=MODEL, dimensions=dimensions)
    of = Definition(source=Source(urls=("https://bench.example/",)), embedding=embedding, budget=budget)
    return JobCommand(
        job_id=f"job-{name}", kb_id=f"kb-{name}", generation=1, partition=partition, desired="running", revision=1,
        definition=resolve(of, openai_available=True), issued_at=now(), issued_by="bench",
    )  # fmt: skip


def chunk_of(command: JobCommand, text: str, number: int, epoch: int = 0) -> Chunk:
    url, title = f"https://bench.example/{number}", "Bench"
    doc_hash = identity.doc_hash(text, url=url, heading_path=(), occurrence=0)
    embedded = identity.embedding_input(title, (), text)
    return Chunk(
        job_id=command.job_id, kb_id=command.kb_id, generation=1, epoch=epoch, attempt=1, doc_hash=doc_hash,
        chunk_id=identity.chunk_id(command.kb_id, 1, doc_hash), url=url, title=title, heading_path=(), ordinal=0,
        text_hash=identity.text_hash(embedded), occurrence=0, text=text, tokens=tokens_of(embedded), fetched_at=now(),
    )  # fmt: skip
