"""The Java client, confluent-kafka and our own function put every key on the same partition.

`kafka-console-producer` is the Java client with its defaults, and what an operator writes a command with.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

import schemas
from headrace.embedded.kafka_tools import KafkaInstallation
from headrace.embedded.progress import SilentReporter
from headrace.kafka.admin import TIMEOUT_S, admin_client
from headrace.kafka.publisher import BASE_CONFIG, Publisher
from headrace.settings import Settings
from schemas import identity
from schemas.codec import decode

PARTITIONS = 12
KEYS = [
    "21", "foobar", "a-little-bit-long-string", "a-little-bit-longer-string", "abc",
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", "ä", "日本語", "🛶", " ", "docs/3/https://example.org/a?b=c",
    *(f"key-{number}" for number in range(200)),
    *(identity.new_job_id() for _ in range(100)),
]  # fmt: skip
COMMAND = Path(schemas.__file__).parent / "examples" / "job_command.v1.json"


class KafkaTools:
    """The console tools of the Kafka that the tests run on."""

    def __init__(self, bootstrap_servers: str, cache_dir: Path) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._installation = KafkaInstallation.prepare(cache_dir, SilentReporter())

    def run(self, tool: str, *arguments: str, stdin: str | None = None) -> str:
        done = self._installation.run_tool(tool, arguments, bootstrap_servers=self._bootstrap_servers, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, topic: str, records: Iterable[tuple[str, str]]) -> None:
        lines = "".join(f"{key}\t{value}\n" for key, value in records)
        properties = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=\t")
        self.run("kafka-console-producer", "--topic", topic, *properties, stdin=lines)

    def read(self, topic: str, count: int, *shown: str) -> list[str]:
        properties = [word for each in shown for word in ("--formatter-property", f"print.{each}=true")]
        limits = ("--from-beginning", "--max-messages", str(count), "--timeout-ms", "20000")
        return self.run("kafka-console-consumer", "--topic", topic, *limits, *properties).splitlines()


@pytest.fixture
def tools(settings: Settings) -> KafkaTools:
    return KafkaTools(settings.bootstrap_servers, settings.cache_dir)


def made(topic: NewTopic, settings: Settings) -> str:
    admin = admin_client(settings.bootstrap_servers)  # held until the answer is there: it dies with its last reference
    admin.create_topics([topic])[topic.topic].result()
    return str(topic.topic)


@pytest.fixture
def topic(settings: Settings) -> str:
    return made(NewTopic(settings.topic("keys"), PARTITIONS, 1), settings)


def by_key(lines: Iterable[str]) -> dict[str, int]:
    """From lines such as `Partition:3 <TAB> key <TAB> value`."""
    fields = (line.split("\t") for line in lines)
    return {key: int(partition.removeprefix("Partition:")) for partition, key, *_ in fields}


EXPECTED = {key: identity.partition_for(key, PARTITIONS) for key in KEYS}


def test_the_java_client_puts_keys_where_we_say(tools: KafkaTools, topic: str) -> None:
    tools.write(topic, ((key, "x") for key in KEYS))
    assert by_key(tools.read(topic, len(KEYS), "partition", "key")) == EXPECTED
    assert len(set(EXPECTED.values())) == PARTITIONS, "the keys should reach every partition"


def test_confluent_kafka_with_our_settings_puts_keys_where_we_say(settings: Settings, topic: str) -> None:
    found: dict[str, int] = {}
    producer = Producer(BASE_CONFIG | {"bootstrap.servers": settings.bootstrap_servers})
    for key in KEYS:
        producer.produce(
            topic,
            b"x",
            key=key,
            on_delivery=lambda _, message: found.update({message.key().decode(): message.partition()}),
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert found == EXPECTED


def test_librdkafkas_own_choice_would_differ(settings: Settings, topic: str) -> None:
    """Why `partitioner` is set at all."""
    found: dict[str, int] = {}
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for key in KEYS:
        producer.produce(
            topic,
            b"x",
            key=key,
            on_delivery=lambda _, message: found.update({message.key().decode(): message.partition()}),
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert found != EXPECTED


async def test_the_console_consumer_shows_our_headers(settings: Settings, tools: KafkaTools) -> None:
    topic = made(NewTopic(settings.topic("commands"), PARTITIONS, 1), settings)
    command = decode("commands", None, COMMAND.read_bytes())
    publisher = Publisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source="control/test-1")
    await publisher.start()
    await publisher.send(command, partition=identity.partition_for(command.key(), PARTITIONS))
    await publisher.stop()

    (line,) = tools.read(topic, 1, "headers", "key")
    headers, key, value = line.split("\t")
    assert key == command.key()
    assert decode("commands", None, value.encode()) == command
    shown = dict(each.split(":", 1) for each in headers.split(","))
    assert shown["ce_specversion"] == "1.0"
    assert shown["ce_type"] == "headrace.job_command.v1"
    assert shown["ce_source"] == "control/test-1"
    assert re.fullmatch(r"[0-9a-f]{32}", shown["ce_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["ce_time"])
    assert shown["content-type"] == "application/json"


def test_a_command_written_by_hand_lands_on_its_jobs_partition(tools: KafkaTools, topic: str) -> None:
    """The console producer chooses by the key, so the record stands where the job's partition is computed to be."""
    command = decode("commands", None, COMMAND.read_bytes())
    tools.write(topic, [(command.key(), " ".join(COMMAND.read_text().split()))])
    (line,) = tools.read(topic, 1, "partition", "key")
    partition, key, value = line.split("\t")
    assert (partition, key) == (f"Partition:{identity.partition_for(command.key(), PARTITIONS)}", command.key())
    assert decode("commands", None, value.encode()) == command
