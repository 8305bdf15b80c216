"""A cancelled job is looked after until that is told, and no longer."""

import pytest

from consumer import parking as parking_module
from headrace.vectors import Tenancy
from schemas.codec import decode
from schemas.facts import IndexReport
from tests.property.worker import PARTITION, Durable, Worker, reads
from tests.unit.consumer.made import command, generation


class Assigned(Worker):
    """Counts what is asked of the store."""

    undos = 0

    async def undo(self, place: Tenancy, generations: list[int]) -> int:
        self.undos += 1
        return await super().undo(place, generations)


async def owner(durable: Durable) -> Assigned:
    """A worker that is given the partition, and does all that it has to."""
    worker = Assigned(durable, lambda *_: None)
    await worker.go(1_000, lambda choices: 0)
    return worker


def told(durable: Durable) -> list[tuple[str, int, int]]:
    events = [decode("events", raw.headers, raw.value) for raw in durable.records("events")]
    return [(e.state, e.revision, e.objects_deleted) for e in events if isinstance(e, IndexReport)]


async def test_an_undo_is_told_once_and_costs_the_next_owner_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking_module, "stream_span", parking_module.stream_span)
    durable = Durable()
    reads(durable)
    for topic, event in (
        ("commands", command(partition=PARTITION)), ("kbs", generation("open")),
        ("commands", command("cancelled", 2, partition=PARTITION)),
    ):  # fmt: skip
        durable.topics[topic].append(event, PARTITION)
    durable.objects["docs"] = {"one", "two"}
    first = await owner(durable)
    assert (first.undos, told(durable)) == (1, [("undone", 2, 2)])
    await first.crash()
    second = await owner(durable)
    assert (second.undos, told(durable)) == (0, [("undone", 2, 2)])
    await second.crash()
    durable.topics["commands"].append(command("rolled_back", 3, partition=PARTITION), PARTITION)
    third = await owner(durable)
    assert (third.undos, told(durable)[1:]) == (1, [("undone", 3, 0)]), "another revision is answered"
    await third.crash()
