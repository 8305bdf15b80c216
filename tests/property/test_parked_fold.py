"""`parked`: the union of the spans that no tombstone took, in any order of partitions, compacted or not."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.kafka.records import RawRecord
from headrace.state.parked import Parked
from schemas.identity import partition_for
from schemas.parked import ParkedSpan, RequeuedThrough
from tests.property.log import Topic, cleaned, delivered
from tests.unit.consumer.made import NOW

JOBS = ("job-a", "job-b", "job-c")
PARTITIONS = 2


@st.composite
def histories(draw: st.DrawFn) -> Topic:
    """Spans set aside and taken up again, some of them twice; copies only ever reach further."""
    topic, through = Topic("parked"), 0
    for _ in range(draw(st.integers(0, 25))):
        job_id = draw(st.sampled_from(JOBS))
        partition = partition_for(job_id, PARTITIONS)
        span = _span(job_id, partition, draw(st.integers(0, 3)), draw(st.integers(0, 3)))
        match draw(st.integers(0, 2)):
            case 0:
                topic.append(span, partition)
            case 1:
                topic.append_raw(span.key().encode(), None, partition)
            case _:
                through += draw(st.integers(0, 5))
                topic.append(RequeuedThrough(job_id=job_id, partition=partition, offset=through), partition)
        topic.mark(partition)
    return topic


def _span(job_id: str, partition: int, first: int, length: int) -> ParkedSpan:
    return ParkedSpan(
        job_id=job_id, kb_id="docs", generation=1, partition=partition, first_offset=first,
        last_offset=first + length, revision=2, parked_at=NOW,
    )  # fmt: skip


def state(records: list[RawRecord]) -> list[tuple[list[ParkedSpan], int]]:
    parked = Parked()
    for raw in records:
        parked.apply(raw)
    return [(parked.of(job_id), parked.requeued_through(job_id)) for job_id in JOBS]


def model(topic: Topic) -> list[list[bytes | None]]:
    """The values of spans that stand: the last of each key, where it is no tombstone."""
    last = {raw.key: raw for log in topic.partitions.values() for raw in log}
    standing = [raw for raw in last.values() if raw.value and b"first_offset" in raw.value]
    return [sorted(raw.key or b"" for raw in standing if (raw.key or b"").startswith(job.encode())) for job in JOBS]


@given(st.data())
def test_what_stands_is_what_was_set_aside_and_not_taken_up(data: st.DataObject) -> None:
    topic = data.draw(histories())
    found = state(data.draw(delivered(topic.partitions.values())))
    assert [sorted(span.key().encode() for span in spans) for spans, _ in found] == model(topic)


@given(st.data())
def test_a_new_reader_after_compaction_knows_what_an_old_one_knows(data: st.DataObject) -> None:
    topic = data.draw(histories())
    old = state([raw for log in topic.partitions.values() for raw in log])
    assert state([raw for log in data.draw(cleaned(topic)) for raw in log]) == old
