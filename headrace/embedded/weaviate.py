"""Weaviate on this machine: one node, on loopback, without modules, telemetry or keys."""

from __future__ import annotations

from pathlib import Path

import httpx

from headrace.embedded import ports
from headrace.embedded.config import LOOPBACK
from headrace.embedded.process import ChildProcess, Command, child_environment, wait_for_leftovers
from headrace.embedded.progress import Reporter
from headrace.embedded.weaviate_build import BIND_VARIABLE, binary_path, ensure_binary

PORT_SETTING = "HEADRACE_WEAVIATE_PORT"
GRPC_PORT_SETTING = "HEADRACE_WEAVIATE_GRPC_PORT"
#: Large collections are read back at start; an empty one takes 3 s.
_START_DEADLINE_S = 180.0
_STOP_GRACE_S = 30.0
_PROBE_TIMEOUT_S = 2.0
#: Part of the stored cluster state: a node that comes back under another name is a stranger to its own data.
_NODE_NAME = "headrace"

#: What differs from Weaviate's defaults, and why.
_SERVER_SETTINGS = {
    "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
    "DISABLE_TELEMETRY": "true",
    "GO_PROFILING_DISABLE": "true",
    "PROMETHEUS_MONITORING_ENABLED": "false",
    # Collections are made explicitly, with the tokenization that exact filters need.
    "AUTOSCHEMA_ENABLED": "false",
    "DEFAULT_VECTORIZER_MODULE": "none",
    "ENABLE_MODULES": "",
    "CLUSTER_HOSTNAME": _NODE_NAME,
    "CLUSTER_BIND_ADDR": LOOPBACK,
    "CLUSTER_ADVERTISE_ADDR": LOOPBACK,
    "RAFT_BOOTSTRAP_EXPECT": "1",
    # Multiplies raft's timeouts for slow networks; our only voter talks to itself (start: 3 s in place of 7).
    "RAFT_TIMEOUTS_MULTIPLIER": "1",
    # One node: nobody to compare replicas with.
    "ASYNC_REPLICATION_DISABLED": "true",
    # Refusing writes on a disk that is 90 % full is right for a server; a laptop's disk often is.
    "DISK_USE_READONLY_PERCENTAGE": "98",
    "DISK_USE_WARNING_PERCENTAGE": "95",
    # A garbage collection at 1.5 times the live heap, not 2: memory for a little CPU.
    "GOGC": "50",
    "LOG_LEVEL": "warning",
    BIND_VARIABLE: LOOPBACK,
}


class EmbeddedWeaviate:
    """A Weaviate of our own: `prepare`, `start`, `stop`; may be started again after `stop` or `kill`.

    Everything it keeps is under `data_dir` (`objects/`, `weaviate.log`). `owner_dir`: see `EmbeddedKafka`.
    """

    def __init__(
        self,
        data_dir: Path,
        cache_dir: Path,
        reporter: Reporter,
        *,
        port: int = 8080,
        grpc_port: int = 50051,
        owner_dir: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self.grpc_port = grpc_port
        self._owner_dir = owner_dir or data_dir
        self._cache_dir = cache_dir
        self._reporter = reporter
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.running else None

    def prepare(self) -> None:
        """Build the server unless it is in the cache; minutes on a machine that never did."""
        ensure_binary(self._cache_dir, self._reporter)

    def start(self) -> None:
        """Returns when clients are served. Raises `PortTaken`, `ServerNotReady` or another `EmbeddedError`."""
        binary = ensure_binary(self._cache_dir, self._reporter)
        wait_for_leftovers([self.port, self.grpc_port], self._owner_dir)
        ports.require_free(self.port, server="Weaviate", setting=PORT_SETTING)
        ports.require_free(self.grpc_port, server="Weaviate's gRPC", setting=GRPC_PORT_SETTING)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._process = ChildProcess(self._command(binary))
        self._process.start()
        try:
            self._process.wait_until(self._serves, _START_DEADLINE_S)
        except BaseException:
            self.stop()
            raise
        self._report_exposure(self._process.pid)

    def stop(self) -> None:
        """Orderly shutdown within 30 s, else a kill. Harmless when it is not running."""
        if self._process is not None:
            self._process.stop(_STOP_GRACE_S)

    def kill(self) -> None:
        """SIGKILL, as a crash: for fault tests."""
        if self._process is not None:
            self._process.kill()

    def _report_exposure(self, pid: int) -> None:
        """A binary that was not built by us may listen on every interface, without asking for a key."""
        if exposed := ports.listens_beyond_loopback(pid):
            self._reporter.note(
                f"Weaviate can be reached from other machines on port {', '.join(map(str, exposed))}: its binary was "
                f"not built by this version of Headrace. Delete {binary_path(self._cache_dir)} to have it built."
            )

    def _command(self, binary: Path) -> Command:
        arguments = [str(binary), "--host", LOOPBACK, "--port", str(self.port), "--scheme", "http"]
        environment = child_environment(self._owner_dir, {**_SERVER_SETTINGS, **self._places()})
        return Command("Weaviate", arguments, environment, self.data_dir, self.data_dir / "weaviate.log")

    def _places(self) -> dict[str, str]:
        """The cluster's own ports may differ from start to start: nobody but this process talks to them."""
        gossip, data, raft, raft_rpc = ports.free_ports(4)
        return {
            "PERSISTENCE_DATA_PATH": str(self.data_dir / "objects"),
            "GRPC_PORT": str(self.grpc_port),
            "CLUSTER_GOSSIP_BIND_PORT": str(gossip),
            "CLUSTER_DATA_BIND_PORT": str(data),
            "RAFT_PORT": str(raft),
            "RAFT_INTERNAL_RPC_PORT": str(raft_rpc),
        }

    def _serves(self) -> bool:
        """Ready for reads, and with a raft leader, without which the first new collection would fail."""
        try:
            # Whatever proxy the environment names is not for loopback.
            with httpx.Client(base_url=self.url, timeout=_PROBE_TIMEOUT_S, trust_env=False) as client:
                if not client.get("/v1/.well-known/ready").is_success:
                    return False
                cluster = client.get("/v1/cluster/statistics")
        except httpx.TransportError:  # not yet; the deadline is the caller's
            return False
        return bool(cluster.is_success and cluster.json().get("synchronized"))
