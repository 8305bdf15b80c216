"""A batch that comes late, that another owner has by now, or that holds what no topic takes."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer.item import MAX_REASON, Batch, item_of
from consumer.judge import Judge
from consumer.parking import Parking
from consumer.reports import Reports
from consumer.settle import Lifecycle, SettleStage
from consumer.stalls import Stalls
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.kafka.records import RawRecord
from headrace.vectors import StoredChunk, Tenancy, VectorStore
from schemas.codec import Headers, encode
from schemas.dead_letters import PREFIX
from schemas.events import Event, Place
from schemas.facts import DeadLettered, Outcomes
from schemas.topics import MAX_RECORD_BYTES, TOPICS
from tests.unit.consumer.made import Known, LateCommands, begin, chunk, command, generation, item, record


class Store:
    def __init__(self) -> None:
        self.ids: set[str] = set()

    async def ensure(self, place: Tenancy) -> None: ...

    async def insert(self, place: Tenancy, chunks: Sequence[StoredChunk], vectors: Sequence[Any]) -> dict[int, str]:
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


class NothingToPark:
    async def park(self, items: Any) -> None: ...


def stage_of(judge: Judge, store: Store, log: Log, *, late_s: float = 60.0) -> SettleStage:
    return SettleStage(
        judge, Stalls(cast(Reports, log)), cast(VectorStore, store), cast(Publisher, log),
        cast(Parking, NothingToPark()), cast(Lifecycle, None), cast(Reports, Told(log)), lambda command: None,
        late_s=late_s,
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
