"""What is parked is exactly what was set aside, and it is taken up whole."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import parking as module
from consumer.item import Item, item_of
from consumer.losses import Losses
from consumer.parking import BITE_S, MOST_COPIES, Bites, Parking, _bite, _runs
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.chunks import Chunk
from schemas.codec import copied_headers, with_fields
from schemas.events import Event, Place
from schemas.parked import ParkedSpan, RequeuedThrough
from tests.unit.consumer.made import JOB, PARTITION, Known, chunk, command, item, newer, record, span


def parked_items(results: list[Any], offsets: list[int]) -> list[Item]:
    items = [item(chunk(), offset) for offset in offsets]
    for each, result in zip(items, results, strict=True):
        each.result, each.command = result, command("paused")
    return items


@given(st.data())
def test_runs_cover_what_is_parked_and_no_other_record_of_the_job(data: st.DataObject) -> None:
    """A batch may hold other jobs' records in between: those are not of this job, and gaps here."""
    offsets = sorted(data.draw(st.sets(st.integers(0, 60), max_size=30)))
    most = data.draw(st.integers(1, 40))
    results = data.draw(
        st.lists(st.sampled_from(["parked", "indexed", None]), min_size=len(offsets), max_size=len(offsets))
    )
    runs = _runs(parked_items(results, offsets), most)
    assert all(len(run) <= most for run in runs)
    covered = {o for run in runs for o in range(run[0].raw.offset, run[-1].raw.offset + 1)} & set(offsets)
    assert covered == {o for o, result in zip(offsets, results, strict=True) if result == "parked"}
    assert [each.raw.offset for run in runs for each in run] == sorted(covered)


@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 400)), min_size=1, max_size=12), st.integers(1, 900))
def test_bites_hold_every_span_once_in_order_and_are_bounded(bounds: list[tuple[int, int]], size: int) -> None:
    spans = left = sorted((span(first, first + length) for first, length in bounds), key=lambda s: s.first_offset)
    bitten = []
    while left:
        bite = _bite(left, size)
        bitten += bite
        left = left[len(bite) :]
        assert len(bite) == 1 or sum(each.last_offset - each.first_offset + 1 for each in bite) <= size
    assert bitten == spans


class TestBites:
    """Two bites stand on the log; `per_s` is what embedding takes, `latency_s` what it takes of one record alone."""

    def sizes(self, per_s: float, latency_s: float, first_s: float = 0.0) -> list[int]:
        bites, clock = Bites(64, 0.0), first_s
        sizes, standing = [bites.size], deque([(first_s, bites.size)])
        for _ in range(40):
            standing.append((clock, bites.size))
            delivered, size = standing.popleft()
            clock = max(clock + size / per_s, delivered + latency_s)
            bites.acked(clock, size)
            sizes.append(bites.size)
        return sizes

    def test_they_grow_until_embedding_is_busy(self) -> None:
        sizes = self.sizes(per_s=1_500, latency_s=0.5)
        assert sizes[:3] == [64, 128, 256] and sizes[-1] == pytest.approx(1_500 * BITE_S, rel=0.3)

    def test_not_for_ever(self) -> None:
        assert self.sizes(per_s=1e6, latency_s=0.1)[-1] == MOST_COPIES

    def test_where_the_rate_is_limited_little_stands_before_others(self) -> None:
        assert max(self.sizes(per_s=47, latency_s=0.3)) <= 2 * 47 * BITE_S

    def test_what_the_first_ones_stand_behind_does_not_count_for_long(self) -> None:
        assert max(self.sizes(per_s=47, latency_s=0.3, first_s=30.0)) <= 2 * 47 * BITE_S
        assert self.sizes(per_s=1_500, latency_s=0.5, first_s=30.0)[-1] == pytest.approx(1_500 * BITE_S, rel=0.3)

    def test_they_never_shrink_to_nothing(self) -> None:
        assert min(self.sizes(per_s=1, latency_s=1)) == 64


class Log:
    """Partition 2 of `chunks`, and what is written to `parked`, as a publisher and a follower of both."""

    def __init__(self, known: Known, records: list[RawRecord]) -> None:
        self.known, self.records = known, records
        self.fail_at: str | None = None
        self.deeds: list[str] = []
        self.start = 0
        self.passes: list[int] = []
        self.lost: list[tuple[str, int, int]] = []

    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        assert partition == PARTITION
        self._did(event.TYPE)
        offset = len(self.records)
        if isinstance(event, ParkedSpan | RequeuedThrough):
            self.known.tell(event)
        else:
            self.records.append(record(event, offset))
        return self._delivered(offset)

    async def publish_copy(
        self, event: Event, original: RawRecord, *, partition: int, **fields: Any
    ) -> "asyncio.Future[Place]":
        assert partition == PARTITION and original.value is not None
        self._did(event.TYPE)
        offset = len(self.records)
        value, headers = with_fields(original.value, **fields), tuple(copied_headers(original.headers, "test"))
        self.records.append(msgspec.structs.replace(original, offset=offset, value=value, headers=headers))
        return self._delivered(offset)

    async def send(self, event: Event, *, partition: int) -> Place:
        return await (await self.publish(event, partition=partition))

    async def tombstone(self, topic: str, key: str, *, partition: int) -> "asyncio.Future[Place]":
        self._did("tombstone")
        self.known.parked.apply(RawRecord(topic=topic, partition=partition, offset=0, key=key.encode(), value=None))
        return self._delivered(0)

    async def reached(self, topic: str, place: Place) -> None:
        """All is applied at once."""

    async def passed(self, place: Place) -> None:
        """So it is acked."""
        self.passes.append(place.offset)

    def stream_span(self, *where: Any, prefix: str) -> AsyncIterator[RawRecord]:
        _, topic, partition, first, end = where
        assert (topic, partition) == ("chunks", PARTITION)
        return self._span(first, end)

    async def _span(self, first: int, end: int) -> AsyncIterator[RawRecord]:
        for each in self.records[max(first, self.start) : end]:
            yield each

    async def tell(self, command: Any, needed: str, first: int, end: int) -> None:
        self._did("lost")
        self.lost.append((needed, first, end))

    def _did(self, what: str) -> None:
        if what == self.fail_at:
            raise ConnectionError(what)
        self.deeds.append(what)

    def _delivered(self, offset: int) -> "asyncio.Future[Place]":
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        future.set_result(Place(PARTITION, offset))
        return future

    @property
    def copies(self) -> list[tuple[int, str]]:
        """(original offset, text) of each copy."""
        events = [item_event(each) for each in self.records]
        return [(e.origin.offset, e.text) for e in events if e.origin]


def item_event(raw: RawRecord) -> Chunk:
    event = item_of(raw).event
    assert isinstance(event, Chunk)
    return event


@pytest.fixture
def known() -> Known:
    return Known(command())


@pytest.fixture
def log(known: Known, monkeypatch: pytest.MonkeyPatch) -> Log:
    mine = [record(chunk(f"text {o}"), o) for o in range(8)]
    mine[4] = record(chunk("another's", job_id="other"), 4)
    log = Log(known, mine)
    monkeypatch.setattr(module, "stream_span", log.stream_span)
    return log


@pytest.fixture
def parking(log: Log, known: Known) -> Parking:
    return Parking(Settings(), cast(Publisher, log), cast(Follower, log), known.parked, cast(Losses, log))


async def test_takes_up_the_jobs_records_in_the_spans_and_only_those(parking: Parking, log: Log, known: Known) -> None:
    for each in (span(0, 1), span(3, 5), span(5, 6)):
        known.tell(each)
    await parking.requeue(command(), log.passed)
    assert log.copies == [(o, f"text {o}") for o in (0, 1, 3, 5, 6)]
    assert known.parked.of(JOB) == []
    assert known.parked.requeued_through(JOB) == len(log.records) - 1


async def test_no_more_than_two_bites_stand_on_the_log_before_others(
    parking: Parking, log: Log, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_COPIES", 1)
    parking._longest_span = 1
    for offset in (0, 1, 2, 3):
        known.tell(span(offset, offset))
    standing = []

    async def passed(place: Place) -> None:
        standing.append(len(log.records) - 1 - place.offset)
        await log.passed(place)

    await parking.requeue(command(), passed)
    assert log.passes == [8, 9, 10, 11] and max(standing) == 1
    assert known.parked.of(JOB) == []


async def test_a_bite_that_is_being_taken_up_is_waited_for(parking: Parking, log: Log, known: Known) -> None:
    known.tell(span(0, 1))
    taking_up = asyncio.create_task(parking.requeue(command(), log.passed))
    await asyncio.sleep(0)
    await parking.bitten(command())
    assert known.parked.of(JOB) == [] and len(log.copies) == 2
    await taking_up


async def test_what_is_durable_before_what(parking: Parking, log: Log, known: Known) -> None:
    known.tell(span(0, 1))
    await parking.requeue(command(), log.passed)
    assert log.deeds == ["chunk", "chunk", "requeued_through", "tombstone"]


@pytest.mark.parametrize("gap", ["chunk", "requeued_through", "tombstone"])
async def test_cut_off_in_any_gap_nothing_is_lost(parking: Parking, log: Log, known: Known, gap: str) -> None:
    for each in (span(0, 1), span(3, 3)):
        known.tell(each)
    log.fail_at = gap
    with pytest.raises(ConnectionError):
        await parking.requeue(command(), log.passed)
    assert known.parked.of(JOB), "spans stand until all their copies do"
    log.fail_at = None
    await parking.requeue(command(), log.passed)
    assert {origin for origin, _ in log.copies} == {0, 1, 3}
    assert known.parked.of(JOB) == []


async def test_what_is_gone_is_told_before_its_span_is_forgotten_and_what_is_left_is_taken_up(
    parking: Parking, log: Log, known: Known
) -> None:
    for each in (span(0, 1), span(3, 6)):
        known.tell(each)
    log.start = 5
    await parking.requeue(command(), log.passed)
    assert log.lost == [("parked", 0, 5)]
    assert log.copies == [(5, "text 5"), (6, "text 6")]
    assert log.deeds == ["chunk", "chunk", "lost", "requeued_through", "tombstone", "tombstone"]
    assert known.parked.of(JOB) == []


async def test_a_span_that_is_gone_whole_is_no_more_than_that(parking: Parking, log: Log, known: Known) -> None:
    known.tell(span(0, 1))
    log.start = 8
    await parking.requeue(command(), log.passed)
    assert (log.lost, log.deeds) == ([("parked", 0, 2)], ["lost", "tombstone"])


async def test_cut_off_before_the_loss_is_told_it_is_told_the_next_time(
    parking: Parking, log: Log, known: Known
) -> None:
    known.tell(span(0, 1))
    log.start, log.fail_at = 1, "lost"
    with pytest.raises(ConnectionError):
        await parking.requeue(command(), log.passed)
    assert known.parked.of(JOB)
    log.fail_at = None
    await parking.requeue(command(), log.passed)
    assert log.lost == [("parked", 0, 1)] and known.parked.of(JOB) == []


async def test_a_record_whose_key_lies_is_not_copied(parking: Parking, log: Log, known: Known) -> None:
    log.records[1] = record(chunk("another's", job_id="other"), 1, key=JOB.encode())
    known.tell(span(0, 2))
    await parking.requeue(command(), log.passed)
    assert log.copies == [(0, "text 0"), (2, "text 2")]


async def test_a_copy_of_a_copy_keeps_the_first_place(parking: Parking, log: Log, known: Known) -> None:
    known.tell(span(0, 0))
    await parking.requeue(command(), log.passed)
    known.tell(span(8, 8))
    await parking.requeue(command(), log.passed)
    assert log.copies == [(0, "text 0"), (0, "text 0")]


async def test_a_copy_keeps_what_this_consumer_does_not_know(parking: Parking, log: Log, known: Known) -> None:
    """Fields that joined the version, and records in a newer one."""
    joined = record(chunk("text 0"), 0)
    log.records[0] = msgspec.structs.replace(joined, value=with_fields(joined.value or b"", x={"y": [1, 2]}))
    log.records[1] = newer(chunk("text 1"), 1, x="z")
    known.tell(span(0, 1))
    await parking.requeue(command(), log.passed)
    for original, copy in zip(log.records[:2], log.records[-2:], strict=True):
        place = {"partition": PARTITION, "offset": original.offset}
        assert json.loads(copy.value or b"") == json.loads(original.value or b"") | {"origin": place}
        assert dict(copy.headers)["ce_type"] == dict(original.headers)["ce_type"]
        assert dict(copy.headers)["ce_id"] != dict(original.headers)["ce_id"]


async def test_a_span_without_records_of_the_job_is_forgotten(parking: Parking, log: Log, known: Known) -> None:
    known.tell(span(4, 4))
    await parking.requeue(command(), log.passed)
    assert (log.copies, log.deeds) == ([], ["tombstone"])


async def test_parks_one_span_per_run_under_the_commands_revision(parking: Parking, known: Known) -> None:
    items = parked_items(["parked", "parked", "superseded", "parked"], [0, 1, 2, 3])
    await parking.park(items)
    assert [(s.first_offset, s.last_offset, s.revision) for s in known.parked.of(JOB)] == [(0, 1, 1), (3, 3, 1)]
