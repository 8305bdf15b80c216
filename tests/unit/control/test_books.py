"""Jobs that nobody started: written by hand under a generation that is another's, or that was never begun."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from control.books import Books
from headrace.kafka.records import RawRecord
from schemas.codec import encode, headers_for
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.kb import GenerationState, KbDefined
from tests.unit.control.memory_log import MemoryLog, nothing
from tests.unit.control.test_rules import KB, command
from tests.unit.control.test_search import asked


def by_hand(of: JobCommand, **changed: Any) -> JobCommand:
    return msgspec.structs.replace(of, job_id="by-hand", revision=1, idempotency_key=None, **changed)


@pytest.mark.parametrize(
    ("changed", "says"),
    [({}, "generation 1 of docs is job"), ({"generation": 2}, "never begun"), ({"kb_id": "other"}, "never begun")],
)
async def test_a_job_that_nobody_started_is_refused(changed: dict[str, Any], says: str) -> None:
    log = MemoryLog()
    first = await log.published()
    log.told(by_hand(first, **changed))
    assert [says in refused.reason for refused in log.books.refused] == [True]
    assert log.books.refused[0].key == "by-hand"
    assert log.books.jobs("docs") == [first] and log.books.commands.get("by-hand") is None


async def test_it_can_t_come_between_a_start_and_its_reading_back() -> None:
    log = MemoryLog()

    async def usurp() -> None:
        (started,) = [event for event in log.committed if isinstance(event, JobCommand)]
        log.told(next(event for event in log.committed if isinstance(event, KbDefined)))
        log.told(by_hand(started))

    log.between = usurp
    started = await log.started()
    assert [refused.key for refused in log.books.refused] == ["by-hand"]
    assert log.books.jobs("docs") == [started]


async def test_its_generation_is_not_given_to_another_nor_searched() -> None:
    """Producer and consumer may have begun it: they judge by commands alone."""
    log = MemoryLog()
    first = await log.published()
    foreign = by_hand(first, generation=4)
    log.told(foreign)
    log.state(foreign, "published")
    assert await asked(log, lambda log: nothing()) == 1
    assert (await log.started()).generation == 5


HISTORY: dict[str, tuple[Event, int]] = {
    "kb": (KB, 0),
    "ours": (command(job_id="ours"), 0),
    "theirs": (command(job_id="theirs"), 1),
    "state": (
        GenerationState(kb_id="docs", generation=6, job_id="theirs", state="open", base=None, collection="C",
                        changed_at="t"), 0,
    ),
    "ahead": (command(job_id="ahead", generation=9, partition=1), 1),
}  # fmt: skip


@pytest.mark.parametrize("order", list(permutations(["kb", "ours", "theirs", "state", "ahead"], 5))[::7])
async def test_at_a_start_what_control_told_of_decides_in_whatever_order_it_is_read(order: tuple[str, ...]) -> None:
    refused: list[None] = []
    books = Books("nowhere", prefix="", on_change=lambda kb: None, on_refused=lambda: refused.append(None))
    for name in order:
        event, partition = HISTORY[name]
        if isinstance(event, JobCommand):
            event = msgspec.structs.replace(event, partition=partition)
        key, headers = event.key().encode(), tuple(headers_for(event, "test"))
        raw = RawRecord(
            topic=event.TOPIC, partition=partition, offset=order.index(name), key=key, value=encode(event),
            headers=headers,
        )  # fmt: skip
        books._follower._apply[event.TOPIC](raw)
    books.settle({"ours"})
    assert [job.job_id for job in books.jobs("docs")] == ["ours"]
    assert {each.key: each.place for each in books.refused} == {
        name: Place(1, order.index(name)) for name in ("theirs", "ahead")
    }
    assert len(refused) == 2
    by_key = books.by_idempotency_key("key")
    assert by_key is not None and by_key.job_id == "ours"
