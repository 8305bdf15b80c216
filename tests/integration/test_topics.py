"""Topics are made by one explicit step, and what differs from their definition is told."""

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from headrace.kafka.admin import TIMEOUT_S, Difference, absence, admin_client, ensure_topics, partition_count
from headrace.settings import Settings
from schemas.topics import TOPICS
from tests.support.waiting import until

Ensure = Callable[..., list[Difference]]


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    return admin_client(settings.bootstrap_servers)


@pytest.fixture
def ensure(settings: Settings) -> Ensure:
    def call(partitions: int = settings.partitions, replication: int = 1, min_insync: int = 1) -> list[Difference]:
        return ensure_topics(
            settings.bootstrap_servers,
            prefix=settings.topic_prefix,
            partitions=partitions,
            replication=replication,
            min_insync=min_insync,
        )

    return call


def test_makes_every_topic_with_its_settings(settings: Settings, admin: AdminClient, ensure: Ensure) -> None:
    assert ensure() == []
    found = admin.list_topics(timeout=TIMEOUT_S).topics
    ours = {name: len(topic.partitions) for name, topic in found.items() if name.startswith(settings.topic_prefix)}
    assert ours == {settings.topic(name): settings.partitions for name in TOPICS}
    for name, topic in TOPICS.items():
        resource = ConfigResource(ResourceType.TOPIC, settings.topic(name))
        config = admin.describe_configs([resource])[resource].result()
        assert {key: config[key].value for key in topic.config} == dict(topic.config), name
        assert config["min.insync.replicas"].value == "1"


def test_a_second_time_changes_nothing(admin: AdminClient, settings: Settings, ensure: Ensure) -> None:
    ensure()
    before = admin.list_topics(timeout=TIMEOUT_S).topics.keys()
    assert ensure() == []
    assert admin.list_topics(timeout=TIMEOUT_S).topics.keys() == before


def test_makes_only_those_that_are_missing(settings: Settings, admin: AdminClient, ensure: Ensure) -> None:
    name = settings.topic("commands")
    admin.create_topics([NewTopic(name, settings.partitions, 1, config=dict(TOPICS["commands"].config))])[name].result()
    assert ensure() == []


async def test_a_setting_that_differs_is_told_and_left_alone(
    settings: Settings, admin: AdminClient, ensure: Ensure
) -> None:
    ensure()
    name = settings.topic("chunks")
    change = ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result()
    told = Difference(name, "retention.ms", "-1", "3600000")
    await until(lambda: asyncio.to_thread(ensure), what="the broker shows the new setting")
    assert ensure() == [told]
    assert str(told) == f"{name}: retention.ms is 3600000, the definition says -1"


def test_another_number_of_partitions_is_told(settings: Settings, ensure: Ensure) -> None:
    """Keys would move: it can't be mended by adding partitions."""
    ensure()
    wanted = settings.partitions + 1
    found = ensure(partitions=wanted)
    assert set(found) == {
        Difference(settings.topic(name), "partitions", str(wanted), str(settings.partitions)) for name in TOPICS
    }


def test_another_number_of_replicas_is_told(settings: Settings, ensure: Ensure) -> None:
    ensure()
    found = ensure(replication=3, min_insync=2)
    wanted = (("replication", "3", "1"), ("min.insync.replicas", "2", "1"))
    assert set(found) == {Difference(settings.topic(name), *each) for name in TOPICS for each in wanted}


def test_more_replicas_than_brokers_are_refused_with_what_to_do(settings: Settings, ensure: Ensure) -> None:
    with pytest.raises(KafkaException) as refused:
        ensure(replication=2)
    reason = absence(settings.bootstrap_servers, refused.value)
    assert "is there, but" in reason and "HEADRACE_REPLICATION" in reason


def test_writing_to_a_topic_that_is_missing_makes_none(settings: Settings, admin: AdminClient) -> None:
    failures: list[str] = []
    name = settings.topic("never-made")
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap_servers, "topic.metadata.propagation.max.ms": 500, "log_level": 0}
    )
    producer.produce(name, b"x", on_delivery=lambda error, message: failures.append(error.name()))
    assert producer.flush(30) == 0
    # the client's own word or the broker's, whichever comes first
    assert len(failures) == 1 and failures[0] in ("_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART")
    assert name not in admin.list_topics(timeout=TIMEOUT_S).topics


def test_the_number_of_partitions_of_a_topic(settings: Settings, ensure: Ensure) -> None:
    ensure()
    assert partition_count(settings.bootstrap_servers, settings.topic("chunks")) == settings.partitions
    with pytest.raises(KafkaException) as refused:
        partition_count(settings.bootstrap_servers, settings.topic("never-made"))
    reason = absence(settings.bootstrap_servers, refused.value)
    assert reason.endswith(f"is there, but it doesn't show {settings.topic('never-made')}")
