"""The topics and their settings. Created by `headrace.kafka.admin.ensure_topics`, never by auto-creation."""

from collections.abc import Mapping
from dataclasses import dataclass

DAY_MS = 86_400_000

MAX_RECORD_BYTES = 1_024_000
"""Of a record of `chunks`: key, value and headers. Our own are of 1,000,000 at most (librdkafka's limit); a copy says
where its original stands in some 200 bytes more. `chunks` takes 1,048,588, and any size that compresses to that."""
MAX_LETTER_BYTES = 16 * 1024 * 1024
"""A dead letter is its record untouched, whatever `chunks` took, and the reason behind it."""


@dataclass(frozen=True)
class Topic:
    """`name` is without the prefix; `config` holds the settings that are checked as well as set."""

    name: str
    config: Mapping[str, str]
    holds: str


_KEEP = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
# Compaction waits for days, so that a reader that was away sees each state a job went through.
_COMPACT = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": str(3 * DAY_MS),
    "delete.retention.ms": str(7 * DAY_MS),
}

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("commands", _COMPACT, "a job's whole desired state, by job"),
        Topic("chunks", _KEEP | {"max.message.bytes": "1048588"}, "crawl_begin, chunk, page_end and crawl_end, by job"),
        Topic("pages", _COMPACT, "what was learnt of a page: checkpoint and manifest"),
        Topic("events", _KEEP, "lifecycle, audit and outcomes, by job"),
        Topic("parked", _COMPACT, "offset spans set aside for paused jobs"),
        Topic(
            "dead-letters",
            _KEEP | {"max.message.bytes": str(MAX_LETTER_BYTES)},
            "records that failed by themselves, untouched, reasons in headers",
        ),
        Topic("kbs", _COMPACT, "KB definitions and generation states"),
    )
}


def topic_name(name: str, prefix: str) -> str:
    """The name on the broker. Raises KeyError for a topic that is not ours."""
    return prefix + TOPICS[name].name
