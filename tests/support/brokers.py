"""Several brokers on loopback that are one cluster, as in production: each also one of the controllers' quorum."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, TopicMetadata

from headrace.embedded import EmbeddedKafka, SilentReporter
from headrace.embedded.ports import free_ports
from headrace.settings import Settings

HEAP_MB = 256
#: Kept by as many as ours are.
_INTERNAL = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")


class Cluster:
    """`start`, `stop`; any of `brokers` may be killed and started again meanwhile."""

    def __init__(self, directory: Path, count: int = 3) -> None:
        ports = free_ports(2 * count)
        clients, controllers = ports[:count], ports[count:]
        cache_dir = Settings.from_env({}).cache_dir
        self.brokers = {
            number: EmbeddedKafka(directory / str(number), cache_dir, SilentReporter(), port=port, heap_mb=HEAP_MB)
            for number, port in enumerate(clients, 1)
        }
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, 1))
        for (number, broker), controller in zip(self.brokers.items(), controllers, strict=True):
            broker.cluster_id = self.brokers[1].cluster_id
            broker.overrides = {
                "node.id": str(number),
                "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{controller}",
                "controller.quorum.voters": voters,
                **{f"{topic}.replication.factor": str(count) for topic in _INTERNAL},
                **{f"{topic}.min.isr": "2" for topic in _INTERNAL[1:]},
                "min.insync.replicas": "2",
            }

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_servers for broker in self.brokers.values())

    def start(self) -> None:
        """At the same time: none serves before most of them are there."""
        first, *_ = self.brokers.values()
        first.prepare()
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            list(pool.map(EmbeddedKafka.start, self.brokers.values()))

    def stop(self) -> None:
        """The last ones have no quorum to hand over to, and are killed after a grace."""
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            list(pool.map(EmbeddedKafka.stop, self.brokers.values()))

    def leader(self, topic: str, partition: int) -> int:
        return self._topics()[topic].partitions[partition].leader

    def behind(self) -> list[str]:
        """Partitions, the brokers' own too, of which some replica is not in sync."""
        return [
            f"{name} {number}"
            for name, topic in self._topics().items()
            for number, each in topic.partitions.items()
            if len(each.isrs) < len(each.replicas)
        ]

    def replicas(self) -> dict[str, set[int]]:
        """Topic to how many replicas its partitions have."""
        return {
            name: {len(each.replicas) for each in topic.partitions.values()} for name, topic in self._topics().items()
        }

    def _topics(self) -> dict[str, TopicMetadata]:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        return admin.list_topics(timeout=20).topics


@contextmanager
def three_brokers(directory: Path) -> Iterator[Cluster]:
    cluster = Cluster(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
