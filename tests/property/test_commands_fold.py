"""`commands`: one state after any history, in any order of partitions, before and after compaction."""

import itertools
from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.kafka.records import RawRecord
from headrace.state.commands import Commands
from schemas.codec import encode
from schemas.commands import ALLOWED, Desired, JobCommand
from schemas.identity import partition_for
from tests.property.log import Topic, cleaned, delivered
from tests.unit.consumer.made import command

JOBS = ("job-a", "job-b", "job-c")
PARTITIONS = 2
DESIRED: tuple[Desired, ...] = get_args(Desired)
FINAL: set[Desired] = {"cancelled", "rolled_back"}


def first(job_id: str) -> JobCommand:
    return command(job_id=job_id, kb_id=job_id, partition=partition_for(job_id, PARTITIONS))


@st.composite
def histories(draw: st.DrawFn) -> Topic:
    """Control's commands, an operator's records of any kind, and control's repair of what those hide.

    Compaction waits for days, a repair for moments: the cleaner never stops between the two.
    """
    topic, known, refused = Topic("commands"), Commands(), list[RawRecord]()
    known = Commands(on_refused=lambda raw, reason: refused.append(raw))
    for _ in range(draw(st.integers(0, 20))):
        job_id = draw(st.sampled_from(JOBS))
        current = known.get(job_id)
        if current is None or draw(st.booleans()):
            raw = topic.append(_successor(draw, current or first(job_id), current is None), first(job_id).partition)
        else:
            raw = _operators(draw, topic, current)
        known.apply(raw)
        if refused or raw.value is None:
            hidden = known.get((raw.key or b"").decode())
            if hidden and hidden.partition == raw.partition:
                known.apply(topic.append(hidden, hidden.partition))
            refused.clear()
        for partition in range(PARTITIONS):
            topic.mark(partition)
    return topic


def _successor(draw: st.DrawFn, current: JobCommand, begins: bool) -> JobCommand:
    if begins:
        return current
    desired = draw(st.sampled_from(sorted(ALLOWED[current.desired])))
    return msgspec.structs.replace(current, desired=desired, revision=current.revision + 1)


def _operators(draw: st.DrawFn, topic: Topic, current: JobCommand) -> RawRecord:
    """Valid or not: another revision, another state, another KB, another key, another place, or no command at all."""
    change = {
        "desired": draw(st.sampled_from(DESIRED)),
        "revision": current.revision + draw(st.integers(-2, 3)),
        "kb_id": draw(st.sampled_from([current.kb_id, "other"])),
    }
    value = encode(msgspec.structs.replace(current, **change))
    key = current.job_id.encode()
    partition = draw(st.integers(0, PARTITIONS - 1))
    return topic.append_raw(
        draw(st.sampled_from([key, key, key, b"other", None])),
        draw(st.sampled_from([value, value, value, b"{", b"", None])),
        draw(st.sampled_from([current.partition, current.partition, partition])),
    )


def state(records: list[RawRecord]) -> dict[str, JobCommand]:
    known = Commands()
    for raw in records:
        known.apply(raw)
    return {command.job_id: command for command in known.all()}


@given(st.data())
def test_the_order_of_partitions_and_repeats_do_not_show(data: st.DataObject) -> None:
    topic = data.draw(histories())
    straight = state([raw for log in topic.partitions.values() for raw in log])
    assert state(data.draw(delivered(topic.partitions.values()))) == straight


@given(st.data())
def test_a_new_reader_after_compaction_knows_what_an_old_one_knows(data: st.DataObject) -> None:
    topic = data.draw(histories())
    old = state([raw for log in topic.partitions.values() for raw in log])
    assert state([raw for log in data.draw(cleaned(topic)) for raw in log]) == old


@given(st.data())
def test_an_end_is_final_and_revisions_rise_by_one(data: st.DataObject) -> None:
    changes: list[JobCommand] = []
    known = Commands(on_change=changes.append)
    for raw in data.draw(delivered(data.draw(histories()).partitions.values())):
        known.apply(raw)
    for job_id in JOBS:
        mine = [each for each in changes if each.job_id == job_id]
        assert [each.revision for each in mine] == list(range(1, len(mine) + 1))
        for before, after in itertools.pairwise(mine):
            assert before.desired not in FINAL or after.desired in FINAL
            assert before.desired != "rolled_back" or after.desired == "rolled_back"
