"""A compacted topic in memory: its partitions, what a cleaner leaves of them, and the orders a reader may see."""

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from headrace.kafka.records import RawRecord
from schemas.codec import encode, headers_for
from schemas.events import Event


class Topic:
    """Records by partition. `marks` are the ends that a cleaner may clean up to, by partition."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.partitions: dict[int, list[RawRecord]] = {}
        self.marks: dict[int, list[int]] = {}

    def append(self, event: Event, partition: int) -> RawRecord:
        return self.append_raw(event.key().encode(), encode(event), partition, tuple(headers_for(event, "test")))

    def append_raw(
        self, key: bytes | None, value: bytes | None, partition: int, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> RawRecord:
        log = self.partitions.setdefault(partition, [])
        raw = RawRecord(topic=self.name, partition=partition, offset=len(log), key=key, value=value, headers=headers)
        log.append(raw)
        return raw

    def mark(self, partition: int) -> None:
        self.marks.setdefault(partition, [0]).append(len(self.partitions.get(partition, [])))

    def end(self, partition: int) -> int:
        return len(self.partitions.get(partition, []))


def compacted(log: Sequence[RawRecord], end: int, *, tombstones: bool) -> list[RawRecord]:
    """Of the records before `end` the last of each key; `tombstones`: whether they are kept still."""
    last = {raw.key: raw.offset for raw in log[:end]}
    kept = [raw for raw in log[:end] if last[raw.key] == raw.offset and (tombstones or raw.value is not None)]
    return [*kept, *log[end:]]


@st.composite
def interleaved(draw: st.DrawFn, partitions: Iterable[Sequence[RawRecord]]) -> list[RawRecord]:
    """One order of all records that keeps each partition's."""
    rest = [list(reversed(log)) for log in partitions if log]
    order = []
    while rest:
        log = rest[draw(st.integers(0, len(rest) - 1))]
        order.append(log.pop())
        rest = [each for each in rest if each]
    return order


@st.composite
def delivered(draw: st.DrawFn, partitions: Iterable[Sequence[RawRecord]]) -> list[RawRecord]:
    """An order in which some records come twice in a row, as a writer's retry leaves them."""
    order = draw(interleaved(partitions))
    twice = draw(st.sets(st.integers(0, max(len(order) - 1, 0)), max_size=4))
    return [raw for index, each in enumerate(order) for raw in ([each, each] if index in twice else [each])]


@st.composite
def cleaned(draw: st.DrawFn, topic: Topic) -> list[list[RawRecord]]:
    """The topic's partitions after the cleaner has been at some of them, each up to one of its marks."""
    return [
        compacted(log, draw(st.sampled_from(topic.marks.get(partition, [0]))), tombstones=draw(st.booleans()))
        for partition, log in topic.partitions.items()
    ]
