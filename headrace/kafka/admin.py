"""The explicit, idempotent step that creates topics; and offsets, read for people."""

import logging
import time
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from headrace.kafka.servers import Servers
from schemas.topics import TOPICS, Topic

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
ANSWER_S = 5.0
"""For what is asked again and again: whoever stops meanwhile waits no longer than this."""
SHOWN_WITHIN_S = 20.0
"""For what brokers tell each other after one of them has answered."""
_AGAIN_S = 0.05

_REFUSALS = {
    KafkaError._AUTHENTICATION: "see KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
    KafkaError._SSL: "see KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_CAFILE, and KAFKA_SSL_CERTFILE where it asks for one",
    KafkaError.INVALID_REPLICATION_FACTOR: "start as many brokers as HEADRACE_REPLICATION says, or lower it",
}
"""What passes by no waiting: error code to what mends it."""

_UNDECIDED = (KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT)
_LEADERLESS = "a broker answers, but the controllers don't decide: most of them are away, or busy"


@dataclass(frozen=True)
class Difference:
    """A topic whose setting on the broker is not the one of its definition."""

    topic: str
    setting: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, the definition says {self.wanted}"


def admin_client(bootstrap_servers: Servers) -> AdminClient:
    """What goes wrong, its answers raise: it says nothing past the log."""
    return AdminClient({**Servers(bootstrap_servers).librdkafka(), "log_level": 0, "socket.timeout.ms": 10_000})


def reached(bootstrap_servers: Servers, timeout_s: float) -> AdminClient:
    """A client that a broker has answered. Raises KafkaException; where one refuses us, or we it, with the reason."""
    refusals: list[KafkaError] = []
    config = {
        **Servers(bootstrap_servers).librdkafka(),
        "socket.timeout.ms": 10_000,
        "log_level": 0,
        "error_cb": lambda error: refusals.append(error) if error.code() in _REFUSALS else None,
    }
    admin = AdminClient(config)
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException:
        admin.poll(0)
        if refusals:
            raise KafkaException(refusals[-1]) from None
        raise
    return admin


def absence(bootstrap_servers: Servers, exc: KafkaException) -> str:
    """Why Kafka doesn't answer, for people."""
    error = exc.args[0]
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return f"Kafka at {bootstrap_servers} is there, but {error.str()}"
    mend = _REFUSALS.get(error.code())
    if mend is None:
        return f"Kafka is away at {bootstrap_servers}: {error.str()}"
    return f"Kafka at {bootstrap_servers} is there, but {error.str()}: {mend}"


def ensure_topics(
    bootstrap_servers: Servers, *, prefix: str, partitions: int, replication: int = 1, min_insync: int = 1
) -> list[Difference]:
    """Creates the topics that are missing; blocks. Returns what differs on those that were there.

    Raises:
        KafkaException: the broker can't be reached or refuses.
    """
    admin = reached(bootstrap_servers, TIMEOUT_S)
    wanted = [
        NewTopic(prefix + topic.name, partitions, replication, config=_config(topic, min_insync))
        for topic in TOPICS.values()
    ]
    for future in admin.create_topics(wanted, request_timeout=TIMEOUT_S).values():
        try:
            future.result()
        except KafkaException as exc:
            code = exc.args[0].code()
            if code in _UNDECIDED:
                raise KafkaException(KafkaError(code, _LEADERLESS)) from exc
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return differences(admin, prefix=prefix, partitions=partitions, replication=replication, min_insync=min_insync)


def _config(topic: Topic, min_insync: int) -> dict[str, str]:
    return {**topic.config, "min.insync.replicas": str(min_insync)}


def _shown(admin: AdminClient, names: set[str], within_s: float) -> dict[str, TopicMetadata]:
    """Of the topics that there are. Brokers learn of a new one in turn, after its creation is answered: whoever is
    asked, and does not know it yet, is asked again. Raises KafkaException where one stays unknown."""
    deadline = time.monotonic() + within_s
    while missing := names - (topics := admin.list_topics(timeout=TIMEOUT_S).topics).keys():
        if time.monotonic() > deadline:
            unknown = f"it doesn't show {', '.join(sorted(missing))}"
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, unknown))
        time.sleep(_AGAIN_S)
    return topics


def _configs(admin: AdminClient, names: set[str]) -> dict[str, dict[str, ConfigEntry]]:
    """Topic to setting to what it is; asks again as `_shown` does."""
    deadline = time.monotonic() + SHOWN_WITHIN_S
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in sorted(names)]
    while True:
        answers = admin.describe_configs(resources, request_timeout=TIMEOUT_S)
        try:
            return {resource.name: future.result() for resource, future in answers.items()}
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)


def differences(
    admin: AdminClient, *, prefix: str, partitions: int, replication: int, min_insync: int
) -> list[Difference]:
    names = {prefix + name for name in TOPICS}
    found: list[Difference] = []
    metadata = _shown(admin, names, SHOWN_WITHIN_S)
    for name, config in _configs(admin, names).items():
        for setting, value in _config(TOPICS[name.removeprefix(prefix)], min_insync).items():
            if config[setting].value != value:
                found.append(Difference(name, setting, value, str(config[setting].value)))
        found += _shape(name, metadata[name], partitions, replication)
    return found


def _shape(name: str, topic: TopicMetadata, partitions: int, replication: int) -> list[Difference]:
    found: list[Difference] = []
    if len(topic.partitions) != partitions:
        found.append(Difference(name, "partitions", str(partitions), str(len(topic.partitions))))
    # Replicas on brokers that are away count: they are assigned.
    assigned = sorted({len(each.replicas) for each in topic.partitions.values()})
    if assigned != [replication]:
        found.append(Difference(name, "replication", str(replication), " and ".join(map(str, assigned))))
    return found


def partition_count(bootstrap_servers: Servers, topic: str, *, within_s: float = 0.0) -> int:
    """Partitions of a topic (full name). Raises KafkaException where the broker is away, or knows none of that name.

    `within_s`: for how long it is asked again, where the topic is certain to be there.
    """
    return len(_shown(admin_client(bootstrap_servers), {topic}, within_s)[topic].partitions)


class GroupOffsets:
    """What a group has committed of a topic, and where its partitions end; read without joining. Blocks; `close`.

    Through a consumer, not the admin client: the latter's request for a group's offsets takes the whole process down
    (librdkafka 2.16) where the broker answers that the coordinator has moved, as a new broker does at first.
    """

    def __init__(self, bootstrap_servers: Servers, *, group: str, topic: str, partitions: int) -> None:
        config = {
            **Servers(bootstrap_servers).librdkafka(),
            "group.id": group,
            "enable.auto.commit": False,
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 0,
        }
        self._consumer = Consumer(config)
        self._admin = admin_client(bootstrap_servers)
        self._topic, self._partitions = topic, partitions

    def committed(self) -> dict[int, int]:
        """Partition to committed offset; partitions without a commit are absent. Raises KafkaException."""
        wanted = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
        return {each.partition: each.offset for each in self._consumer.committed(wanted, ANSWER_S) if each.offset >= 0}

    def ends(self) -> dict[int, int]:
        """Partition to the offset after its last record. Raises KafkaException."""
        wanted = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in range(self._partitions)}
        futures = self._admin.list_offsets(wanted, request_timeout=ANSWER_S)
        try:
            return {each.partition: future.result().offset for each, future in futures.items()}
        except KafkaException:
            # A broker that came back has a new leader epoch, which the client doesn't ask for by itself (2.16).
            self._admin.list_topics(self._topic, timeout=ANSWER_S)
            raise

    def close(self) -> None:
        self._consumer.close()
