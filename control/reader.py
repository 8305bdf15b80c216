"""Reading `events` and `pages` off the log, fast: librdkafka fetches ahead without the interpreter's lock."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from control.folds import FOLLOWED, Batch, Folder, Partition
from headrace.kafka.records import RawRecord, headers_of
from headrace.kafka.servers import Servers

log = logging.getLogger(__name__)

BATCH_S = 0.1
"""How long records are collected: what a status may be late, against one transaction per record."""
BATCH_RECORDS = 20_000
"""Records taken into one batch at most: about 0.2 s of work."""
CALL_S = 5.0
"""How long a question to the broker may take."""

_CONFIG: dict[str, Any] = {
    "group.id": "headrace-projection",  # the client insists on one; nothing is committed, nobody joins
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 10,  # the default of 1 s lets the queue run dry: a third of the speed
    "queued.max.messages.kbytes": 65_536,
    "reconnect.backoff.max.ms": 1_000,
    "log_level": 3,
}


class LogReader:
    """`find`, `assign`, then `read` again and again; `ends`; `close`. Every method blocks, and runs on one thread.

    The client reconnects by itself for ever and keeps its positions.
    """

    def __init__(self, bootstrap_servers: Servers, *, prefix: str) -> None:
        self._folder = Folder({})
        self._names = {prefix + name: name for name in FOLLOWED}
        self._partitions: list[TopicPartition] = []
        self._consumer = Consumer(
            _CONFIG | Servers(bootstrap_servers).librdkafka(), logger=logging.getLogger("librdkafka")
        )

    def find(self) -> None:
        """All partitions of topics that are there. Raises KafkaException."""
        topics = self._consumer.list_topics(timeout=CALL_S).topics
        self._partitions = [
            TopicPartition(topic, number) for topic in self._names for number in topics[topic].partitions
        ]

    def assign(self, offsets: Mapping[Partition, int]) -> None:
        """`offsets`: where unread records begin; a partition that is not named is read from its start."""
        self._folder = Folder(offsets)
        for each in self._partitions:
            each.offset = offsets.get((self._names[each.topic], each.partition), OFFSET_BEGINNING)
        self._consumer.assign(self._partitions)

    def read(self) -> Batch:
        """What came within `BATCH_S`, folded; perhaps nothing."""
        records, ends = [], {}
        for message in self._consumer.consume(BATCH_RECORDS, BATCH_S):
            error = message.error()
            if error is None:
                records.append(self._raw(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[self._names[message.topic() or ""], message.partition() or 0] = message.offset() or 0
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("reading the log: %s", error.str())
        return self._folder.fold(records, ends)

    def ends(self) -> dict[Partition, int]:
        """The offset after each partition's last committed record. Raises KafkaException."""
        found = {}
        for each in self._partitions:
            _, end = self._consumer.get_watermark_offsets(each, timeout=CALL_S)
            found[self._names[each.topic], each.partition] = end
        return found

    def close(self) -> None:
        self._consumer.close()

    def _raw(self, message: Message) -> RawRecord:
        """With its headers, wherever it stands: they alone tell a version that this code does not know.

        Without them, where they can't be read, what needs them passes the record over.
        """
        return RawRecord(
            topic=self._names[message.topic() or ""],
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            key=message.key(),
            value=message.value(),
            headers=headers_of(message) or (),
        )
