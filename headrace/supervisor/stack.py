"""Starts the one-machine stack, watches it, stops it.

Start: lock, embedded servers, topics, the three services, ready. Stop: running jobs are paused and that is waited for,
then producer, consumer, control, and at last Weaviate and Kafka. What is paused stays so until it is resumed.
"""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaException

from headrace.client import ControlClient, ControlError
from headrace.embedded import EmbeddedSettings, Reporter, ServerStack, fetch_minilm, ports
from headrace.embedded.data_dir import DataDirLock
from headrace.embedded.errors import EmbeddedError
from headrace.kafka.admin import absence, ensure_topics
from headrace.settings import Secret, Settings
from headrace.supervisor.pausing import pause_running
from headrace.supervisor.reachable import any_listens, url_listens
from headrace.supervisor.services import SERVICES, STOP_ORDER, ServiceProcess
from headrace.supervisor.state import Phase, StackState, log_dir, run_dir, write_state
from headrace.supervisor.watched import Watched
from headrace.tokens import digest_of, new_secret, written

READY_S = 90.0
"""From the services' start to control's /readyz, on a busy machine; a few seconds on an idle one."""
GRACE_S = 15.0
"""For one service to stop by itself: it finishes the batches it has under way."""
WATCH_S = 0.5
_POLL_S = 0.1


class StackProblem(RuntimeError):
    """The stack can't start or go on; the message says why and what to do."""


class Stack:
    """`start`, `check` now and then (or `watch`), `stop`. `hurry` may be called from a signal handler."""

    def __init__(self, settings: Settings, reporter: Reporter) -> None:
        self.settings, self._reporter = settings, reporter
        self.servers = ServerStack(embedded_settings(settings), reporter)
        token_id, secret = new_secret()
        self.client = ControlClient(control_url(settings), token=Secret(written(token_id, secret)))
        self._known_by = f"{token_id}={digest_of(secret).hex()}"
        self._lock = DataDirLock(run_dir(settings.data_dir))
        self._services: dict[str, ServiceProcess] = {}
        self._watched: list[Watched] = []
        self._phase: Phase = "starting"
        self._told_pids: dict[str, int] = {}
        self._hurried = threading.Event()
        self._checking = threading.Lock()

    @property
    def say(self) -> Callable[[str], None]:
        return self._reporter.note

    def start(self) -> None:
        """Returns when everything serves; leaves nothing behind when it fails.

        Raises:
            EmbeddedError, StackProblem: the message is fit for a person.
        """
        self._lock.acquire()
        try:
            self._tell("starting", "starting Kafka and Weaviate")
            self._start_servers()
            self._tell("starting", "starting the services")
            self._start_services()
        except BaseException as exc:
            self._abandon(str(exc) or type(exc).__name__)
            raise
        self._tell("ready", "")

    def check(self) -> None:
        """One look at every process; restarts what crashed. Not while stopping."""
        with self._checking:
            if self._phase != "ready":
                return
            for each in self._watched:
                self._tell_changes()
                self._check_one(each)
            self._tell_changes()

    def watch(self, stop: threading.Event) -> None:
        """Checks until `stop` is set."""
        while not stop.wait(WATCH_S):
            self.check()

    def stop(self) -> None:
        """The orderly stop; each part is bounded, and `hurry` cuts it short."""
        with self._checking:
            self._tell("stopping", "pausing running jobs")
        self._pause_jobs()
        for name in STOP_ORDER:
            self._tell("stopping", f"stopping {name}")
            self._stop_service(name, GRACE_S)
        self._tell("stopping", "stopping Weaviate and Kafka")
        with self._reporter.step("Stopping Weaviate and Kafka"):
            self.servers.stop()
        self._tell("stopped", "")
        self._lock.release()

    def hurry(self) -> None:
        """No more grace: every child is killed. What was acknowledged is safe; the log recovers at the next start.

        While still starting this process ends at once, and its children with it.
        """
        self._hurried.set()
        if self._phase == "starting":
            os._exit(130)
        for pid in self._pids().values():
            if pid:
                os.kill(pid, signal.SIGKILL)

    def service(self, name: str) -> ServiceProcess:
        return self._services[name]

    @property
    def restarts(self) -> int:
        return sum(each.restarts for each in self._watched)

    def _start_servers(self) -> None:
        host, port = self.settings.http_host, self.settings.http_port
        if host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::"):
            ports.require_free(port, server="control", setting="HEADRACE_HTTP_PORT")
        with self._reporter.step("Starting Kafka and Weaviate"):
            self.servers.start()
        self.say(f"✓ {self.servers.describe()}")
        if not self.settings.openai_available:
            fetch_minilm(self.settings.cache_dir, self._reporter)
        self._ensure_topics()
        for name, server in (("Kafka", self.servers.kafka), ("Weaviate", self.servers.weaviate)):
            if server is not None:
                log_file = server.data_dir / f"{name.lower()}.log"
                self._watched.append(Watched(name, server, log_file, self.say))

    def _ensure_topics(self) -> None:
        settings = self.settings
        if not any_listens(self.servers.bootstrap_servers):
            raise StackProblem(
                f"Kafka does not answer at {self.servers.bootstrap_servers}. Start it, check KAFKA_BOOTSTRAP_SERVERS, "
                "or unset that variable to use the embedded one."
            )
        try:
            differences = ensure_topics(
                settings.bootstrap_servers,
                prefix=settings.topic_prefix,
                partitions=settings.partitions,
                replication=settings.replication,
                min_insync=settings.min_insync,
            )
        except KafkaException as exc:
            raise StackProblem(absence(settings.bootstrap_servers, exc)) from exc
        gc.collect()  # the client is in a cycle; left alone, it would report every restart of Kafka on our stderr
        for difference in differences:
            self.say(f"! topic {difference}")
        if not url_listens(self.servers.weaviate_url):
            self.say(f"! Weaviate does not answer at {self.servers.weaviate_url}: jobs will wait for it")

    def _start_services(self) -> None:
        environment = self.servers.environment() | {"HEADRACE_STACK_TOKEN": self._known_by}
        for name in SERVICES:
            service = ServiceProcess(name, self.settings.data_dir, environment)
            self._services[name] = service
            service.start()
            self._watched.append(Watched(name, service, service.log_file, self.say))
        with self._reporter.step("Starting control, producer and consumer"):
            give_up_at = time.monotonic() + READY_S
            while not self._ready():
                self._require_alive()
                if time.monotonic() > give_up_at:
                    raise StackProblem(self._late())
                time.sleep(_POLL_S)
        self.say(f"✓ control at {self.client.url}, producer and consumer at work")

    def _ready(self) -> bool:
        return self.client.ready() and all(each.healthy() for each in self._services.values() if each.health_url)

    def _late(self) -> str:
        late = [name for name, each in self._services.items() if each.health_url and not each.healthy()]
        late += [] if self.client.ready() else ["control"]
        return f"not ready within {READY_S:.0f} s: {', '.join(late)}. Logs: {log_dir(self.settings.data_dir)}"

    def _require_alive(self) -> None:
        for name, service in self._services.items():
            if service.pid is None:
                raise StackProblem(
                    f"{name} ended while starting. Its log is {service.log_file}; the end of it:\n{service.log_tail()}"
                )

    def _tell_changes(self) -> None:
        if self._pids() != self._told_pids:
            self._tell("ready", "")

    def _check_one(self, each: Watched) -> None:
        try:
            each.check()
        except EmbeddedError as exc:  # a server that does not come back is one more crash
            self.say(f"{each.name} could not be started again: {exc}")

    def _pause_jobs(self) -> None:
        try:
            with self._reporter.step("Pausing running jobs"):
                paused = pause_running(self.client, self._hurried.is_set)
        except ControlError as exc:
            self.say(f"! running jobs could not be paused, they go on at the next start: {exc}")
            return
        for kb in paused.held:
            self.say(f"✓ {kb} is paused (shutdown); after the next start: headrace resume {kb}")
        for kb in paused.pending:
            self.say(f"! {kb} is still pausing; it will be paused at the next start. Then: headrace resume {kb}")

    def _stop_service(self, name: str, grace_s: float) -> None:
        service = self._services.get(name)
        if service is not None and service.pid is not None:
            with self._reporter.step(f"Stopping {name}"):
                service.stop(grace_s)

    def _abandon(self, why: str) -> None:
        for name in STOP_ORDER:
            self._stop_service(name, 5.0)
        self.servers.stop()
        self._tell("failed", why)
        self._lock.release()

    def _pids(self) -> dict[str, int]:
        return {each.name: each.process.pid or 0 for each in self._watched}

    def _tell(self, phase: Phase, message: str) -> None:
        self._phase, self._told_pids = phase, self._pids()
        state = StackState(
            pid=os.getpid(),
            phase=phase,
            message=message,
            url=self.client.url,
            kafka=self.servers.bootstrap_servers,
            weaviate=self.servers.weaviate_url,
            pids=self._told_pids,
        )
        try:
            write_state(self.settings.data_dir, state)
        except OSError as exc:  # a full disk must not keep it from stopping what it started
            self.say(f"! the state of the stack can't be written to {run_dir(self.settings.data_dir)}: {exc.strerror}")


def embedded_settings(settings: Settings) -> EmbeddedSettings:
    return EmbeddedSettings(
        data_dir=settings.data_dir,
        cache_dir=settings.cache_dir,
        kafka_port=settings.kafka_port,
        weaviate_port=settings.weaviate_port,
        weaviate_grpc_port=settings.weaviate_grpc_port,
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
        weaviate_url=settings.weaviate_url,
    )


def control_url(settings: Settings) -> str:
    """Where control is reached from this machine."""
    host = settings.http_host
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
