"""Kafka's own programs, run from the jars: the broker and every command-line tool of a Kafka installation."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.embedded import artifacts
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.java import AOT_CACHE_VERSION, Java, find_java
from headrace.embedded.progress import Reporter
from headrace.kafka.servers import Servers

_TOOLS_PACKAGE = "org.apache.kafka.tools"

#: Script name in Kafka's bin directory -> main class (KIP-906 moved most of them to one package).
TOOL_CLASSES: Mapping[str, str] = {
    "kafka-acls": f"{_TOOLS_PACKAGE}.AclCommand",
    "kafka-broker-api-versions": f"{_TOOLS_PACKAGE}.BrokerApiVersionsCommand",
    "kafka-client-metrics": f"{_TOOLS_PACKAGE}.ClientMetricsCommand",
    "kafka-cluster": f"{_TOOLS_PACKAGE}.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": f"{_TOOLS_PACKAGE}.consumer.ConsoleConsumer",
    "kafka-console-producer": f"{_TOOLS_PACKAGE}.ConsoleProducer",
    "kafka-console-share-consumer": f"{_TOOLS_PACKAGE}.consumer.ConsoleShareConsumer",
    "kafka-consumer-groups": f"{_TOOLS_PACKAGE}.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": f"{_TOOLS_PACKAGE}.ConsumerPerformance",
    "kafka-delegation-tokens": f"{_TOOLS_PACKAGE}.DelegationTokenCommand",
    "kafka-delete-records": f"{_TOOLS_PACKAGE}.DeleteRecordsCommand",
    "kafka-dump-log": f"{_TOOLS_PACKAGE}.DumpLogSegments",
    "kafka-e2e-latency": f"{_TOOLS_PACKAGE}.EndToEndLatency",
    "kafka-features": f"{_TOOLS_PACKAGE}.FeatureCommand",
    "kafka-get-offsets": f"{_TOOLS_PACKAGE}.GetOffsetShell",
    "kafka-groups": f"{_TOOLS_PACKAGE}.GroupsCommand",
    "kafka-jmx": f"{_TOOLS_PACKAGE}.JmxTool",
    "kafka-leader-election": f"{_TOOLS_PACKAGE}.LeaderElectionCommand",
    "kafka-log-dirs": f"{_TOOLS_PACKAGE}.LogDirsCommand",
    "kafka-metadata-quorum": f"{_TOOLS_PACKAGE}.MetadataQuorumCommand",
    "kafka-producer-perf-test": f"{_TOOLS_PACKAGE}.ProducerPerformance",
    "kafka-reassign-partitions": f"{_TOOLS_PACKAGE}.reassign.ReassignPartitionsCommand",
    "kafka-replica-verification": f"{_TOOLS_PACKAGE}.ReplicaVerificationTool",
    "kafka-share-groups": f"{_TOOLS_PACKAGE}.consumer.group.ShareGroupCommand",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-streams-application-reset": f"{_TOOLS_PACKAGE}.StreamsResetter",
    "kafka-streams-groups": f"{_TOOLS_PACKAGE}.streams.StreamsGroupCommand",
    "kafka-topics": f"{_TOOLS_PACKAGE}.TopicCommand",
    "kafka-transactions": f"{_TOOLS_PACKAGE}.TransactionsCommand",
    "kafka-verifiable-consumer": f"{_TOOLS_PACKAGE}.VerifiableConsumer",
    "kafka-verifiable-producer": f"{_TOOLS_PACKAGE}.VerifiableProducer",
}

#: Tools that work on files or on a JMX port, or name their servers as a plain argument.
_WITHOUT_BOOTSTRAP = {
    "kafka-cluster",
    "kafka-dump-log",
    "kafka-e2e-latency",
    "kafka-jmx",
    "kafka-storage",
}
#: Tools with an older name for the option.
_BOOTSTRAP_OPTION = {"kafka-replica-verification": "--broker-list"}

#: By which a user says how to connect.
_CONFIG_OPTIONS = ("--command-config", "--consumer.config", "--producer.config", "--config-file")

#: Short runs: compile quickly and little, collect garbage on one thread.
_TOOL_JVM = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@dataclass(frozen=True, slots=True)
class KafkaInstallation:
    """Java and Kafka's jars, ready to run."""

    java: Java
    jars: Path

    @classmethod
    def prepare(cls, cache_dir: Path, reporter: Reporter) -> KafkaInstallation:
        """Find Java and fetch the jars; raises `EmbeddedError`. Quick when both are there."""
        java = find_java()
        return cls(java, artifacts.fetch(artifacts.KAFKA, cache_dir, reporter))

    def server_command(self, properties_file: Path, heap_mb: int, *, learn_into: Path | None = None) -> list[str]:
        """The broker: G1 as in Kafka's own scripts (it gives back memory that the serial collector keeps).

        `learn_into` names the start cache to write when the program ends, here and in `tool_command`.
        """
        jvm = [f"-Xmx{heap_mb}m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=50", "-XX:+ExitOnOutOfMemoryError"]
        logging = _logging("info", "-Dorg.slf4j.simpleLogger.showDateTime=true", _DATE_FORMAT)
        start = _start_cache(self.server_aot_cache, learn_into)
        return self._java_command([*start, *jvm, *logging], "kafka.Kafka", [str(properties_file)])

    def tool_command(
        self,
        tool: str,
        arguments: Sequence[str] = (),
        *,
        bootstrap_servers: str | None = None,
        learn_into: Path | None = None,
    ) -> list[str]:
        """The command line of a tool, named with or without `.sh`; raises `EmbeddedError` for an unknown one.

        With `bootstrap_servers`, tools that talk to a broker are told so unless `arguments` say it already.
        """
        name = tool_name(tool)
        option = _BOOTSTRAP_OPTION.get(name, "--bootstrap-server")
        words = list(arguments)
        if bootstrap_servers and name not in _WITHOUT_BOOTSTRAP and not _names_servers(words):
            words = [option, bootstrap_servers, *words]
        start = _start_cache(self.tools_aot_cache, learn_into)
        return self._java_command([*start, *_TOOL_JVM, *_logging("warn")], TOOL_CLASSES[name], words)

    def run_tool(
        self,
        tool: str,
        arguments: Sequence[str] = (),
        *,
        bootstrap_servers: str | None = None,
        stdin: str | None = None,
        timeout_s: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a tool to its end, with its output captured as text; raises `subprocess.TimeoutExpired`."""
        command = self.tool_command(tool, arguments, bootstrap_servers=bootstrap_servers)
        return subprocess.run(
            command, input=stdin or "", capture_output=True, text=True, timeout=timeout_s, check=False
        )

    @property
    def server_aot_cache(self) -> Path:
        return self._aot_cache("server")

    @property
    def tools_aot_cache(self) -> Path:
        return self._aot_cache("tools")

    @property
    def can_warm_up(self) -> bool:
        """Whether this JVM can keep what it learnt of a start."""
        return self.java.version >= AOT_CACHE_VERSION

    def _java_command(self, options: Sequence[str], main_class: str, arguments: Sequence[str]) -> list[str]:
        return [str(self.java.executable), *options, "-cp", f"{self.jars}/*", main_class, *arguments]

    def _aot_cache(self, program: str) -> Path:
        """One file per build of the JVM: it reads its own only."""
        release = self.java.executable.resolve().parent.parent / "release"
        build = release.read_bytes() if release.exists() else str(self.java).encode()
        return self.jars / "aot" / f"{program}-{hashlib.sha256(build).hexdigest()[:12]}.aot"


def tool_name(tool: str) -> str:
    """`kafka-topics` for `kafka-topics`, `kafka-topics.sh` or `topics`; raises `EmbeddedError` for an unknown one."""
    name = tool.removesuffix(".sh")
    for candidate in (name, f"kafka-{name}"):
        if candidate in TOOL_CLASSES:
            return candidate
    raise EmbeddedError(f"There is no Kafka tool {tool!r}. The tools are: {', '.join(sorted(TOOL_CLASSES))}.")


def exec_tool(installation: KafkaInstallation, tool: str, arguments: Sequence[str], servers: Servers) -> None:
    """Become the tool: this process is replaced, so that signals, terminal and exit code are the tool's own.

    How the servers are connected to comes through a pipe: no password is on a disk or in a list of processes.
    """
    words = list(arguments)
    takes_some = tool_name(tool) not in _WITHOUT_BOOTSTRAP and not _names(words, *_CONFIG_OPTIONS)
    if servers.security.protocol != "PLAINTEXT" and takes_some and not _names_servers(words):
        words = ["--command-config", f"/dev/fd/{_piped(properties(servers.java()).encode())}", *words]
    command = installation.tool_command(tool, words, bootstrap_servers=str(servers))
    os.execv(command[0], command)


def properties(settings: Mapping[str, str]) -> str:
    """As a Java properties file has them, where the backslash escapes and a line is a setting."""
    return "".join(
        f"{name}={value.replace(chr(92), chr(92) * 2).replace(chr(10), chr(92) + 'n')}\n"
        for name, value in settings.items()
    )


def _piped(content: bytes) -> int:
    """A descriptor that a program started from here reads `content` from, once; below a pipe's 64 KB."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    os.set_inheritable(reader, True)
    return reader


_DATE_FORMAT = "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss,SSS"


def _start_cache(aot_cache: Path, learn_into: Path | None) -> list[str]:
    if learn_into is not None:
        return [f"-XX:AOTCacheOutput={learn_into}"]
    # A cache that doesn't fit any more is ignored; the JVM's remarks on it would go to the tool's stdout.
    return ["-Xlog:disable", f"-XX:AOTCache={aot_cache}"] if aot_cache.exists() else []


def _logging(level: str, *more: str) -> list[str]:
    return [f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}", *more]


def _names_servers(words: Sequence[str]) -> bool:
    return _names(words, "--bootstrap-server", "--bootstrap-controller", "--broker-list", "--help", "--version")


def _names(words: Sequence[str], *options: str) -> bool:
    return any(word.split("=", 1)[0] in options for word in words)
