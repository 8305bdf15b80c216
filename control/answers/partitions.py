"""Partitions of the topic of chunks, and where the consumer is on them."""

from control.answers.base import Answer


class OffsetsAnswer(Answer, frozen=True, kw_only=True):
    """The job's partition of `chunks`, as `kafka-consumer-groups --describe` shows it; null: nothing committed."""

    partition: int
    committed: int | None
    end: int | None
    lag: int | None


class PartitionAnswer(OffsetsAnswer, frozen=True, kw_only=True):
    """`kbs`: those whose job is under way on it."""

    kbs: list[str]


class PartitionList(Answer, frozen=True, kw_only=True):
    """Of the topic of chunks; offsets as of when a running job or a request last had them read."""

    partitions: list[PartitionAnswer]
