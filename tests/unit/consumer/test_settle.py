"""A batch that comes late, that another owner has by now, or that holds what no topic takes."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer.item import MAX_REASON, Batch, Item, item_of
from consumer.judge import Judge
from consumer.metrics import REGISTRY
from consumer.parking import Parking
from consumer.reports import Reports
from consumer.settle import Lifecycle, SettleStage
from consumer.stalls import Stalls
from headrace.errors import DependencyUnwell
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.kafka.records import RawRecord
from headrace.vectors import StoredChunk, Tenancy, VectorStore
from schemas.codec import Headers, encode
from schemas.dead_letters import PREFIX
from schemas.events import Event, Place
from schemas.facts import DeadLettered, Outcomes
from schemas.topics import MAX_RECORD_BYTES, TOPICS
from tests.unit.consumer.made import (
    JOB,
    Known,
    LateCommands,
    begin,
    chunk,
    command,
    crawl_end,
    generation,
    item,
    record,
    span,
)


class Store:
    """`trouble()` comes before each write: what it raises, or does, the write meets."""

    def __init__(self, trouble: Callable[[], None] = lambda: None) -> None:
        self.ids: set[str] = set()
        self._trouble = trouble

    async def ensure(self, place: Tenancy) -> None: ...

    async def insert(self, place: Tenancy, chunks: Sequence[StoredChunk], vectors: Sequence[Any]) -> dict[int, str]:
        self._trouble()
        self.ids |= {each.chunk_id for each in chunks}
        return {}

    async def delete_ids(self, place: Tenancy, ids: Sequence[str]) -> None:
        self.ids -= set(ids)


class Log:
    worker, group_generation = "test", 0

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.letters: list[RawRecord] = []
        self.takes = 10**9
        """Bytes of a dead letter."""

    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        self.told.append(event)
        return self._delivered(partition, 0)

    async def publish_raw(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers, partition: int
    ) -> "asyncio.Future[Place]":
        letter = RawRecord(
            topic=topic, partition=partition, offset=len(self.letters), key=key, value=value, headers=tuple(headers)
        )
        if letter.size > self.takes:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.letters.append(letter)
        return self._delivered(partition, letter.offset)

    def _delivered(self, partition: int, offset: int) -> "asyncio.Future[Place]":
        done: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        done.set_result(Place(partition, offset))
        return done


class Told:
    """Reports on the same log."""

    worker = "test"

    def __init__(self, log: Log) -> None:
        self._log = log

    async def publish(self, event: Event, partition: int) -> None:
        await self._log.publish(event, partition=partition)


class Spans:
    """Parking on the same log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def park(self, items: list[Item]) -> None:
        for each in items:
            if each.result == "parked":
                await self._log.publish(span(each.raw.offset, each.raw.offset), partition=each.raw.partition)


def stage_of(
    judge: Judge, store: Store, log: Log, *, late_s: float = 60.0, term: Callable[[], int] = lambda: 1, end: Any = None
) -> SettleStage:
    return SettleStage(
        judge, Stalls(cast(Reports, Told(log)), term), cast(VectorStore, store), cast(Publisher, log),
        cast(Parking, Spans(log)), cast(Lifecycle, end), cast(Reports, Told(log)), lambda command: None,
        live=lambda batch: batch.group_generation == term(), late_s=late_s,
    )  # fmt: skip


async def settled(known: Known, late: Sequence[Event], late_s: float) -> tuple[Store, list[str]]:
    """What is stored, and the outcomes, of a chunk; `late` stands on the log and was not read before the write."""
    store, log = Store(), Log()
    judge = Judge(cast(Follower, LateCommands(known, *cast(Any, late))), known.commands, known.kbs)
    stage = stage_of(judge, store, log, late_s=late_s)
    each = item(chunk())
    await judge.judge(each)
    each.vector = np.ones(8, dtype=np.float32)
    await stage.settle(Batch([each], [None], 1))
    return store, [entry.result for told in log.told if isinstance(told, Outcomes) for entry in told.entries]


@pytest.mark.parametrize(
    ("late", "late_s", "stored", "result"),
    [
        ([], -1.0, 1, "indexed"),
        ([generation("undone")], -1.0, 0, "superseded"),
        ([generation("published")], -1.0, 1, "indexed"),
        ([generation("undone")], 60.0, 1, "indexed"),
    ],
)
async def test_what_was_written_after_the_undo_is_deleted(
    late: list[Event], late_s: float, stored: int, result: str
) -> None:
    """In the last case it was written in time: the owner that undid it has deleted it since."""
    store, results = await settled(Known(command(), generation("open")), late, late_s)
    assert (len(store.ids), results) == (stored, [result])


def console(value: bytes, *, ce_type: str = "headrace.chunk.v1", key: bytes = b"console") -> RawRecord:
    headers = (("ce_type", ce_type.encode()),)
    return RawRecord(topic="chunks", partition=2, offset=1, key=key, value=value, headers=headers)


@pytest.mark.parametrize(
    "raw",
    [
        console(b"x" * 1_040_000),
        console(b"x", ce_type="x" * 600_000),
        console(b"x", key=b"k" * 600_000),
        record(chunk("text " * 210_000), 1),
        record(begin(job_id="j" * 600_000), 1),
        record(chunk(kb_id="k" * 600_000), 1),
        record(chunk(chunk_id="c" * 600_000), 1),
    ],
    ids=["garbage", "type", "key", "chunk", "job", "knowledge base", "chunk id"],
)
@pytest.mark.parametrize("takes", [10**9, 1_000])
async def test_one_large_record_stops_nothing(raw: RawRecord, takes: int) -> None:
    """Neither what is told of it nor, where `dead-letters` doesn't take it, the letter itself is as large."""
    known, store, log = Known(command(), generation("open")), Store(), Log()
    log.takes = takes
    judge = Judge(cast(Follower, LateCommands(known)), known.commands, known.kbs)
    items = [item(chunk("before")), item_of(raw), item(chunk("behind"), 2)]
    for each in items:
        await judge.judge(each)
        each.vector = np.ones(8, dtype=np.float32)
    await stage_of(judge, store, log).settle(Batch(items, [None] * 3, 1))
    assert [each.result for each in items] == ["indexed", "dead_lettered", "indexed"] and len(store.ids) == 2
    (letter,) = log.letters
    reasons = {name: value or b"" for name, value in letter.headers if name.startswith(PREFIX)}
    assert (reasons[PREFIX + "partition"], reasons[PREFIX + "offset"]) == (b"2", b"1")
    assert len(reasons[PREFIX + "exception.message"]) <= MAX_REASON
    assert (letter.key, letter.value) == ((raw.key, raw.value) if takes > raw.size else (None, None))
    assert all(len(encode(event)) + len(event.key()) < 10_000 for event in log.told)
    assert [event.place for event in log.told if isinstance(event, DeadLettered)] == [Place(2, 1)]


def test_what_is_not_refused_can_be_copied() -> None:
    largest, beyond = (record(chunk("x" * length)) for length in (MAX_RECORD_BYTES - 2_000, MAX_RECORD_BYTES))
    event = item_of(largest).event
    assert event is not None and item_of(beyond).event is None
    place = Place(2**31, 2**62)
    copy = record(msgspec.structs.replace(event, origin=place, retry_of=place))
    assert copy.size < int(TOPICS["chunks"].config["max.message.bytes"]) - 1_000


class Term:
    """The group's generation: that of the batch, until `over`."""

    def __init__(self) -> None:
        self.now = 1

    def __call__(self) -> int:
        return self.now

    def over(self) -> None:
        self.now = 2


class Ends:
    def __init__(self, log: Log, when: Callable[[], None]) -> None:
        self._log, self._when = log, when

    async def end(self, command: Any, each: Item) -> str:
        self._when()
        await self._log.publish(crawl_end(), partition=2)
        return "done"


async def left(store: Store, log: Log, term: Term, when_ended: Callable[[], None] = lambda: None) -> list[str]:
    """What stands on the log after a batch with something for every step."""
    known = Known(command(), generation("open"))
    judge = Judge(cast(Follower, LateCommands(known)), known.commands, known.kbs)
    ends = [item(crawl_end(), offset) for offset in (3, 4)]
    items = [item(chunk()), item_of(console(b"x")), item(chunk("set aside"), 2), *ends]
    for each in items:
        await judge.judge(each)
        each.vector = np.ones(8, dtype=np.float32)
    items[2].result = "parked"
    await stage_of(judge, store, log, term=term, end=Ends(log, when_ended)).settle(Batch(items, [None] * 5, 1))
    return [event.TYPE for event in log.told if event.TYPE != "stall"]


async def test_a_batch_has_something_for_every_step() -> None:
    told = await left(Store(), Log(), Term())
    assert told == ["dead_lettered", "parked_span", "crawl_end", "crawl_end", "outcomes"]


async def test_nothing_is_written_after_a_pause_in_which_another_came_to_own_it() -> None:
    """Weaviate is well again by then: an object written now may belong to no page of what the other publishes."""
    term, log = Term(), Log()

    def once() -> None:
        if term.now == 1:
            term.over()
            raise DependencyUnwell("Weaviate", "down")

    store = Store(once)
    assert (await left(store, log, term), store.ids, log.letters) == ([], set(), [])


async def test_a_cancel_ends_the_wait_for_what_weaviate_does_not_take() -> None:
    """The other jobs of its worker wait for it too: a person must have a way out."""
    known, log = Known(command(), generation("open")), Log()

    def trouble() -> None:
        if not judge.cancelled(JOB):
            known.command("cancelled")
            raise DependencyUnwell("Weaviate", "refuses writes: words that nobody knows")

    judge, store = Judge(cast(Follower, LateCommands(known)), known.commands, known.kbs), Store(trouble)
    each = item(chunk())
    await judge.judge(each)
    each.vector = np.ones(8, dtype=np.float32)
    await stage_of(judge, store, log).settle(Batch([each], [None], 1))
    assert (each.result, store.ids) == ("superseded", set())
    assert log.told[-1].TYPE == "outcomes"


async def test_what_is_anothers_after_its_objects_are_written_gets_no_further() -> None:
    term, log = Term(), Log()
    store = Store(term.over)
    assert (await left(store, log, term), len(store.ids), log.letters) == ([], 1, [])


async def test_what_is_anothers_after_an_end_gets_no_further() -> None:
    term = Term()
    told = await left(Store(), Log(), term, when_ended=term.over)
    assert told == ["dead_lettered", "parked_span", "crawl_end"]


async def test_a_write_is_timed_where_weaviate_took_it() -> None:
    """Neither a batch with nothing to write counts, nor a try that failed, nor the pause behind it."""

    def writes() -> float:
        return REGISTRY.get_sample_value("headrace_consumer_write_seconds_count") or 0

    tries, before = 0, writes()

    def once() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise DependencyUnwell("Weaviate", "down")

    known = Known(command(), generation("open"))
    judge = Judge(cast(Follower, LateCommands(known)), known.commands, known.kbs)
    stage = stage_of(judge, Store(once), Log())
    each = item(chunk())
    await judge.judge(each)
    each.vector = np.ones(8, dtype=np.float32)
    await stage.settle(Batch([each], [None], 1))
    assert (each.result, tries, writes() - before) == ("indexed", 2, 1)
    await stage.settle(Batch([each], [None], 1))
    assert writes() - before == 1
