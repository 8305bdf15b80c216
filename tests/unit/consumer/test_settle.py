"""A worker that slept over its writing takes back what an undone generation must not have."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from consumer.item import Batch
from consumer.judge import Judge
from consumer.parking import Parking
from consumer.reports import Reports
from consumer.settle import Lifecycle, SettleStage
from consumer.stalls import Stalls
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.vectors import StoredChunk, Tenancy, VectorStore
from schemas.events import Event, Place
from schemas.facts import Outcomes
from tests.unit.consumer.made import Known, LateCommands, chunk, command, generation, item


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

    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        self.told.append(event)
        done: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        done.set_result(Place(partition, 0))
        return done


class NothingToPark:
    async def park(self, items: Any) -> None: ...


async def settled(known: Known, late: Sequence[Event], late_s: float) -> tuple[Store, list[str]]:
    """What is stored, and the outcomes, of a chunk; `late` stands on the log and was not read before the write."""
    store, log = Store(), Log()
    judge = Judge(cast(Follower, LateCommands(known, *cast(Any, late))), known.commands, known.kbs)
    stage = SettleStage(
        judge, Stalls(cast(Reports, log)), cast(VectorStore, store), cast(Publisher, log),
        cast(Parking, NothingToPark()), cast(Lifecycle, None), cast(Reports, log), lambda command: None, late_s=late_s,
    )  # fmt: skip
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
