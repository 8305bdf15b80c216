"""The three services as child processes."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from headrace.embedded.ports import free_ports
from headrace.embedded.process import OWNER_VARIABLE, ChildProcess, Command
from headrace.supervisor.state import log_dir

SERVICES = ("control", "producer", "consumer")
STOP_ORDER = ("producer", "consumer", "control")
"""Control last: it answers for the status until the others have gone."""
HEALTH_VARIABLES = {"producer": "HEADRACE_PRODUCER_HEALTH_PORT", "consumer": "HEADRACE_CONSUMER_HEALTH_PORT"}


class ServiceProcess:
    """`python -m <name>`; may be started again after it ended."""

    def __init__(self, name: str, data_dir: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log_file = log_dir(data_dir) / f"{name}.log"
        self._environment = {**os.environ, OWNER_VARIABLE: str(data_dir.resolve()), **environment}
        self._process: ChildProcess | None = None
        self.health_url = ""
        if name in HEALTH_VARIABLES:
            port = self._environment.get(HEALTH_VARIABLES[name]) or str(free_ports(1)[0])
            self._environment[HEALTH_VARIABLES[name]] = port
            self.health_url = f"http://127.0.0.1:{port}/healthz"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.running else None

    def start(self) -> None:
        arguments = [sys.executable, "-m", self.name]
        self._process = ChildProcess(Command(self.name, arguments, self._environment, Path.cwd(), self.log_file))
        self._process.start()

    def stop(self, grace_s: float) -> None:
        if self._process is not None:
            self._process.stop(grace_s)

    def healthy(self) -> bool:
        """Whether its own /healthz answers; never raises."""
        try:
            with _DIRECT.open(self.health_url, timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):  # not yet
            return False

    def log_tail(self, lines: int = 12) -> str:
        return self._process.log_tail(lines) if self._process is not None else ""


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback never goes through a proxy."""
