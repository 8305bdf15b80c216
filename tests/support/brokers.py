"""Several brokers on loopback that are one cluster, each also one of the controllers' quorum.

As docker-compose.production.yml has it: clients sign in over TLS, brokers and controllers show each other certificates,
all of it made by the program that makes production's.
"""

import os
import runpy
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, TopicMetadata

from headrace.embedded import EmbeddedKafka, SilentReporter
from headrace.embedded.kafka import Listener
from headrace.embedded.ports import free_ports
from headrace.settings import Settings

HEAP_MB = 256
_PRODUCTION = Path(__file__).parents[2] / "docker" / "production_secrets.py"
#: Kept by as many as ours are.
_INTERNAL = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")


class Cluster:
    """`start`, `stop`; any of `brokers` may be stopped or killed and started again meanwhile."""

    def __init__(self, directory: Path, count: int = 3) -> None:
        self.directory = directory
        self._make_secrets = runpy.run_path(str(_PRODUCTION))["make"]
        self.make_secrets()
        inside, self._signed_in, brokers, controllers = (free_ports(4 * count)[n::4] for n in range(4))
        cache_dir = Settings.from_env({}).cache_dir
        self.brokers = {
            number: EmbeddedKafka(self.data_of(number), cache_dir, SilentReporter(), port=port, heap_mb=HEAP_MB)
            for number, port in enumerate(inside, 1)
        }
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, 1))
        users = f"${{file:{self.secrets / 'kafka' / 'users.properties'}:users}}"
        for number, broker in self.brokers.items():
            clients, others = self._signed_in[number - 1], brokers[number - 1]
            broker.cluster_id = self.brokers[1].cluster_id
            broker.listeners = (
                Listener("CLIENTS", clients, clients, "SASL_SSL", {"plain.sasl.jaas.config": users}),
                Listener("BROKERS", others, others, "SSL", {"ssl.client.auth": "required"}),
            )
            broker.overrides = {
                "node.id": str(number),
                "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},CLIENTS://127.0.0.1:{clients},"
                f"BROKERS://127.0.0.1:{others},CONTROLLER://127.0.0.1:{controllers[number - 1]}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CLIENTS:SASL_SSL,BROKERS:SSL,CONTROLLER:SSL",
                "listener.name.controller.ssl.client.auth": "required",
                "inter.broker.listener.name": "BROKERS",
                "controller.quorum.voters": voters,
                "config.providers": "file",
                "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
                "sasl.enabled.mechanisms": "PLAIN",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.certificate_of(number)),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.secrets / "kafka" / "ca.pem"),
                **{f"{topic}.replication.factor": str(count) for topic in _INTERNAL},
                **{f"{topic}.min.isr": "2" for topic in _INTERNAL[1:]},
                "min.insync.replicas": "2",
            }

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    def make_secrets(self) -> None:
        """What is missing of them."""
        self._make_secrets(self.secrets)

    def certificate_of(self, number: int) -> Path:
        return self.secrets / "kafka" / f"kafka-{number}.pem"

    def data_of(self, number: int) -> Path:
        """All that a broker keeps."""
        return self.directory / str(number)

    def environment(self) -> dict[str, str]:
        """How services reach it."""
        told = (line.partition("=") for line in (self.secrets / "headrace.env").read_text().splitlines())
        return {
            **{name: value for name, _, value in told if name.startswith("KAFKA_")},
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(f"127.0.0.1:{port}" for port in self._signed_in),
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SSL_CAFILE": str(self.secrets / "headrace" / "ca.pem"),
            "HEADRACE_REPLICATION": str(len(self.brokers)),
        }

    def start(self, numbers: Iterable[int] = ()) -> None:
        """All, or these, at the same time: none serves before most of them are there."""
        first, *_ = self.brokers.values()
        first.prepare()
        self._each(EmbeddedKafka.start, numbers)

    def stop(self) -> None:
        """The last ones have no quorum to hand over to, and are killed after a grace."""
        self._each(EmbeddedKafka.stop)

    def kill(self, numbers: Iterable[int] = ()) -> None:
        """All, or these, at one moment."""
        self._each(EmbeddedKafka.kill, numbers)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Nothing is written meanwhile: what is copied is of one moment, as after a power cut."""
        pids = [broker.pid for broker in self.brokers.values() if broker.pid is not None]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def copy(self, to: Path) -> None:
        """Of all data directories."""
        to.mkdir()
        _copy((self.data_of(number) for number in self.brokers), to)

    def restore(self, copy: Path) -> None:
        """No broker runs."""
        for number in self.brokers:
            shutil.rmtree(self.data_of(number))
        _copy(copy.iterdir(), self.directory)

    def shown_by(self, number: int) -> str:
        """The certificate that clients are shown, as PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self._signed_in[number - 1]), timeout=20)

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

    def _each(self, deed: Callable[[EmbeddedKafka], None], numbers: Iterable[int] = ()) -> None:
        of = [self.brokers[number] for number in numbers or self.brokers]
        with ThreadPoolExecutor(len(of)) as pool:
            list(pool.map(deed, of))

    def _topics(self) -> dict[str, TopicMetadata]:
        servers = ",".join(broker.bootstrap_servers for broker in self.brokers.values())
        return AdminClient({"bootstrap.servers": servers, "log_level": 0}).list_topics(timeout=20).topics


def _copy(directories: Iterable[Path], to: Path) -> None:
    """An index has 10 MB set aside for it while its broker runs, nearly all of it a hole in the file."""
    subprocess.run(["cp", "--archive", "--sparse=always", *directories, to], check=True)


@contextmanager
def three_brokers(directory: Path) -> Iterator[Cluster]:
    cluster = Cluster(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
