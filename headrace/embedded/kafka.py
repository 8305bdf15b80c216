"""Apache Kafka on this machine: one process, KRaft combined mode, on loopback."""

from __future__ import annotations

import logging
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from headrace.embedded import ports
from headrace.embedded.config import LOOPBACK
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.kafka_tools import KafkaInstallation, properties
from headrace.embedded.kafka_warmup import warm_up
from headrace.embedded.process import ChildProcess, Command, child_environment, wait_for_leftovers
from headrace.embedded.progress import Reporter

PORT_SETTING = "HEADRACE_KAFKA_PORT"
HEAP_MB = 512
#: A cold JVM on a busy machine; 1.5 s on an idle one.
_START_DEADLINE_S = 120.0
#: A broker with open segments to flush; then it is killed, which Kafka recovers from.
_STOP_GRACE_S = 30.0
_FORMAT_DEADLINE_S = 60.0
#: Writing a start cache takes 4 s of one core.
_LEARN_DEADLINE_S = 180.0
_PROBE_TIMEOUT_S = 1.0

_NEVER_MS = "-1"
_LONGEST_MINUTES = str(2**31 - 1)

#: What differs from Kafka's defaults, and why.
_SERVER_SETTINGS = {
    # one node
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Each partition costs two mapped files and recovery time; a single machine has a handful of groups.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # The cleaner's default of 128 MB is a quarter of our heap; 16 MB holds 600,000 keys a pass.
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
    # The log is the memory of the product: topics are made explicitly, and nothing is forgotten by age.
    "auto.create.topics.enable": "false",
    "log.retention.ms": _NEVER_MS,
    # Committed offsets are the progress of a job, which may be paused for months (default: 7 days).
    "offsets.retention.minutes": _LONGEST_MINUTES,
    # A broker that was killed may come back when its controller has given up the old one: 3 s, not 9. Both live in
    # one process, so a stall of one is a stall of both.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # No second member to wait for at a group's first join; tests use sessions shorter than 6 s.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """A further port for clients, who are told to come back to `advertised_port`: that of a proxy, say.

    `settings`: the listener's own, such as who may sign in, by their names without `listener.name.`.
    """

    name: str
    port: int
    advertised_port: int
    protocol: str = "PLAINTEXT"
    settings: Mapping[str, str] = field(default_factory=dict)


class EmbeddedKafka:
    """A broker of our own: `prepare`, `start`, `stop`; may be started again after `stop` or `kill`.

    Everything it keeps is under `data_dir` (`log/`, `server.properties`, `kafka.log`). `owner_dir` is the data
    directory of the stack that it belongs to, by which a later start recognises a broker left over from a killed one.
    """

    def __init__(
        self,
        data_dir: Path,
        cache_dir: Path,
        reporter: Reporter,
        *,
        port: int = 9092,
        owner_dir: Path | None = None,
        heap_mb: int = HEAP_MB,
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self.listeners: tuple[Listener, ...] = ()
        """Beside `port`; taken up at the next start."""
        self.overrides: Mapping[str, str] = {}
        """Over the server's own settings, where a test makes several brokers one cluster; taken up likewise."""
        self.cluster_id = _cluster_id()
        """Of storage that is not formatted yet."""
        self._owner_dir = owner_dir or data_dir
        self._cache_dir = cache_dir
        self._reporter = reporter
        self._heap_mb = heap_mb
        self._installation: KafkaInstallation | None = None
        self._process: ChildProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.running else None

    @property
    def installation(self) -> KafkaInstallation:
        """Java and the jars; fetches them when they are missing."""
        if self._installation is None:
            self._installation = KafkaInstallation.prepare(self._cache_dir, self._reporter)
        return self._installation

    def prepare(self) -> None:
        """Everything that is done once per machine: fetch the jars, make the start caches."""
        warm_up(self.installation, self._learn, self._reporter)

    def start(self) -> None:
        """Returns when clients are served. Raises `PortTaken`, `ServerNotReady` or another `EmbeddedError`."""
        self.prepare()
        wait_for_leftovers([self.port], self._owner_dir)
        ports.require_free(self.port, server="Kafka", setting=PORT_SETTING)
        self._launch_and_wait()

    def stop(self) -> None:
        """Orderly shutdown within 30 s, else a kill. Harmless when it is not running."""
        self._stop(_STOP_GRACE_S)

    def kill(self) -> None:
        """SIGKILL, as a crash: for fault tests."""
        if self._process is not None:
            self._process.kill()

    def tool(
        self, name: str, arguments: Sequence[str] = (), *, stdin: str | None = None, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a Kafka tool against this broker, with output captured (`kafka.tool("kafka-topics", ["--list"])`)."""
        return self.installation.run_tool(
            name, arguments, bootstrap_servers=self.bootstrap_servers, stdin=stdin, timeout_s=timeout_s
        )

    def _launch_and_wait(self, learn_into: Path | None = None) -> None:
        properties = self._write_properties()
        self._format_once(properties)
        command = self.installation.server_command(properties, self._heap_mb, learn_into=learn_into)
        environment = child_environment(self._owner_dir, {})
        self._process = ChildProcess(Command("Kafka", command, environment, self.data_dir, self.data_dir / "kafka.log"))
        self._process.start()
        try:
            self._process.wait_until(self._serves, _START_DEADLINE_S)
        except BaseException:
            self.stop()
            raise

    def _stop(self, grace_s: float) -> None:
        if self._process is not None:
            self._process.stop(grace_s)

    def _write_properties(self) -> Path:
        """The controller's port may differ from start to start: nobody but this process talks to it."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (controller_port,) = ports.free_ports(1)
        clients = (Listener("PLAINTEXT", self.port, self.port), *self.listeners)
        listens = [f"{each.name}://{LOOPBACK}:{each.port}" for each in clients]
        settings = _SERVER_SETTINGS | {
            "log.dirs": str(self.data_dir / "log"),
            "listeners": ",".join([*listens, f"CONTROLLER://{LOOPBACK}:{controller_port}"]),
            "advertised.listeners": ",".join(f"{c.name}://{LOOPBACK}:{c.advertised_port}" for c in clients),
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", *(f"{c.name}:{c.protocol}" for c in clients)]
            ),
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        }
        for each in clients:
            settings |= {f"listener.name.{each.name.lower()}.{name}": value for name, value in each.settings.items()}
        path = self.data_dir / "server.properties"
        path.write_text(properties({**settings, **self.overrides}))
        return path

    def _format_once(self, properties: Path) -> None:
        if (self.data_dir / "log" / "meta.properties").exists():
            return
        arguments = ["format", "--ignore-formatted", "-t", self.cluster_id, "-c", str(properties)]
        done = self.installation.run_tool("kafka-storage", arguments, timeout_s=_FORMAT_DEADLINE_S)
        if done.returncode != 0:
            raise EmbeddedError(
                f"Kafka's storage at {self.data_dir} could not be formatted:\n{done.stdout}{done.stderr}"
            )

    def _serves(self) -> bool:
        """Ready once a client has negotiated versions and sees the broker in the cluster's metadata."""
        if ports.is_free(self.port):
            return False
        client = AdminClient({"bootstrap.servers": self.bootstrap_servers}, logger=_quiet)
        try:
            return bool(client.list_topics(timeout=_PROBE_TIMEOUT_S).brokers)
        except KafkaException:  # not yet; the deadline is the caller's
            return False

    def _learn(self, server_cache: Path, tools_cache: Path) -> None:
        """Start and stop a throwaway broker whose JVM, and a tool's, write what they learnt."""
        (port,) = ports.free_ports(1)
        work = server_cache.parent
        broker = EmbeddedKafka(work / "broker", self._cache_dir, self._reporter, port=port, heap_mb=self._heap_mb)
        broker._launch_and_wait(learn_into=server_cache)
        try:
            command = self.installation.tool_command(
                "kafka-topics", ["--list"], bootstrap_servers=broker.bootstrap_servers, learn_into=tools_cache
            )
            subprocess.run(command, capture_output=True, check=True, timeout=_LEARN_DEADLINE_S)
        finally:
            broker._stop(_LEARN_DEADLINE_S)


def _cluster_id() -> str:
    """A random id in Kafka's form: 16 bytes, URL-safe base64 without padding; a dash in front looks like an option."""
    while (drawn := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return drawn


#: The probe's client reports every refused connection while the broker starts; the deadline says enough.
_quiet = logging.getLogger("headrace.embedded.kafka.probe")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
