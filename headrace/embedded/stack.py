"""The servers that Headrace stands on, started together: embedded ones, or those that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from headrace.embedded import ports
from headrace.embedded.artifacts import KAFKA_VERSION
from headrace.embedded.config import LOOPBACK, EmbeddedSettings, default_cache_dir
from headrace.embedded.data_dir import DataDirLock
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.progress import InterruptibleReporter, Reporter, SilentReporter, default_reporter
from headrace.embedded.weaviate import EmbeddedWeaviate
from headrace.embedded.weaviate_build import VERSION as WEAVIATE_VERSION


class ServerStack:
    """Kafka and Weaviate: `start`, `stop`, or a `with` block.

    A server that the settings name is not started, and `kafka` or `weaviate` is None. The data directory is locked
    while the stack runs. The servers end with this process, even if it is killed; a Ctrl-C doesn't reach them.
    """

    def __init__(self, settings: EmbeddedSettings, reporter: Reporter | None = None) -> None:
        self.settings = settings
        self._reporter = InterruptibleReporter(reporter or default_reporter())
        self._lock = DataDirLock(settings.data_dir)
        self.kafka = None if settings.kafka_bootstrap_servers else self._embedded_kafka()
        self.weaviate = None if settings.weaviate_url else self._embedded_weaviate()

    @classmethod
    def ephemeral(
        cls, directory: Path, *, cache_dir: Path | None = None, reporter: Reporter | None = None
    ) -> ServerStack:
        """A stack for tests: its data in `directory`, on free ports, silent unless a reporter is given."""
        kafka, weaviate, grpc = ports.free_ports(3)
        settings = EmbeddedSettings(directory, cache_dir or default_cache_dir(), kafka, weaviate, grpc)
        return cls(settings, reporter or SilentReporter())

    @property
    def bootstrap_servers(self) -> str:
        """For Kafka clients: `host:port[,host:port]`."""
        return self.settings.kafka_bootstrap_servers or f"{LOOPBACK}:{self.settings.kafka_port}"

    @property
    def weaviate_url(self) -> str:
        return self.settings.weaviate_url or f"http://{LOOPBACK}:{self.settings.weaviate_port}"

    @property
    def weaviate_grpc_address(self) -> tuple[str, int]:
        """(host, port); the host is the one of `weaviate_url`."""
        return urlsplit(self.weaviate_url).hostname or LOOPBACK, self.settings.weaviate_grpc_port

    def environment(self) -> dict[str, str]:
        """Variables by which other processes of Headrace find these servers."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "WEAVIATE_URL": self.weaviate_url,
            "HEADRACE_WEAVIATE_GRPC_PORT": str(self.settings.weaviate_grpc_port),
            "HEADRACE_DATA_DIR": str(self.settings.data_dir),
            "HEADRACE_CACHE_DIR": str(self.settings.cache_dir),
        }

    def versions(self) -> str:
        """In a few words, what the servers are: embedded ones of which version, or somebody's and where."""
        kafka = f"embedded Kafka {KAFKA_VERSION}" if self.kafka else f"Kafka at {self.bootstrap_servers}"
        weaviate = f"embedded Weaviate {WEAVIATE_VERSION}" if self.weaviate else f"Weaviate at {self.weaviate_url}"
        return f"{kafka}, {weaviate}"

    def describe(self) -> str:
        """One line: which servers these are, and where."""
        kafka = "embedded Kafka" if self.kafka else "Kafka"
        weaviate = "embedded Weaviate" if self.weaviate else "Weaviate"
        return f"{kafka} at {self.bootstrap_servers}, {weaviate} at {self.weaviate_url}"

    def prepare(self) -> None:
        """What is done once per machine: fetch and build. `start` does it too; apart, it can be shown."""
        _side_by_side([server.prepare for server in self._servers()], on_interrupt=self._give_up)

    def start(self) -> None:
        """Start both at the same time; returns when both serve, and leaves none behind when one fails.

        Raises an `EmbeddedError` (`DataDirInUse`, `PortTaken`, `ServerNotReady`, `DownloadFailed`, `BuildFailed`).
        """
        if self._servers():
            self._lock.acquire()
        try:
            _side_by_side([server.start for server in self._servers()], on_interrupt=self._give_up)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Orderly shutdown of both, each within 30 s. Harmless when they are not running."""
        try:
            _side_by_side([server.stop for server in self._servers()], on_interrupt=lambda: None)
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _give_up(self) -> None:
        """Make the threads that prepare or start end soon."""
        self._reporter.interrupt()
        for server in self._servers():
            server.stop()

    def _servers(self) -> list[EmbeddedKafka | EmbeddedWeaviate]:
        return [server for server in (self.kafka, self.weaviate) if server is not None]

    def _embedded_kafka(self) -> EmbeddedKafka:
        chosen = self.settings
        return EmbeddedKafka(
            chosen.data_dir / "kafka",
            chosen.cache_dir,
            self._reporter,
            port=chosen.kafka_port,
            owner_dir=chosen.data_dir,
        )

    def _embedded_weaviate(self) -> EmbeddedWeaviate:
        chosen = self.settings
        return EmbeddedWeaviate(
            chosen.data_dir / "weaviate",
            chosen.cache_dir,
            self._reporter,
            port=chosen.weaviate_port,
            grpc_port=chosen.weaviate_grpc_port,
            owner_dir=chosen.data_dir,
        )


def _side_by_side(calls: Sequence[Callable[[], None]], *, on_interrupt: Callable[[], None]) -> None:
    """Run all to their end; the first failure, in the order given, is raised, the others are its notes.

    `on_interrupt` is called when this thread is interrupted (Ctrl-C), before it waits for the calls to end.
    """
    if not calls:
        return
    with ThreadPoolExecutor(len(calls), thread_name_prefix="headrace-server") as pool:
        results = [pool.submit(call) for call in calls]
        try:
            failures = [failure for failure in (result.exception() for result in results) if failure is not None]
        except BaseException:
            on_interrupt()
            raise
    if failures:
        for other in failures[1:]:
            failures[0].add_note(str(other))
        raise failures[0]
