"""A compose file of this repository as a project of a test's own."""

import os
import subprocess
from typing import Any

from headrace.embedded.ports import free_ports
from tests.containers.stack import ROOT

UP_DEADLINE_S, STOP_DEADLINE_S, JOB_DEADLINE_S = 240, 120, 120
# where Docker takes the networks of containers from
NETWORKS = ["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"]


def definition(**crawl: Any) -> dict[str, Any]:
    source = {"urls": ["http://site:8900/"], "allow_addresses": NETWORKS}
    return {"source": source, "crawl": crawl, "embedding": {"provider": "local"}}


class Compose:
    """The project of a compose file with the test's site, on ports of its own, under a name of its own."""

    def __init__(self, file: str = "docker-compose.yml", **variables: str) -> None:
        kafka, weaviate, grpc, http = free_ports(4)
        self.url = f"http://127.0.0.1:{http}"
        self.token: str | None = None
        self._environment = os.environ | variables | {
            "COMPOSE_PROJECT_NAME": f"headrace-test-{os.getpid()}",
            "COMPOSE_FILE": f"{file}:tests/containers/site.yml",
            "HEADRACE_KAFKA_PORT": str(kafka),
            "HEADRACE_WEAVIATE_PORT": str(weaviate),
            "HEADRACE_WEAVIATE_GRPC_PORT": str(grpc),
            "HEADRACE_HTTP_PORT": str(http),
        }  # fmt: skip

    def run(self, *arguments: str, within_s: float) -> str:
        done = subprocess.run(
            ["docker", "compose", "--project-directory", str(ROOT), *arguments],
            cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=within_s, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stderr}\n{self._logs()}"
        return done.stdout

    def _logs(self) -> str:
        command = ["docker", "compose", "--project-directory", str(ROOT), "logs", "--no-color", "--tail", "40"]
        return subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        ).stdout

    def up(self) -> None:
        self.run("up", "--wait", "--no-build", within_s=UP_DEADLINE_S)

    def healths(self) -> dict[str, str]:
        """Service to health."""
        lines = self.run("ps", "--format", "{{.Service}} {{.Health}}", within_s=60).splitlines()
        return dict(line.split() for line in lines)

    def down(self) -> None:
        self.run("down", "--volumes", "--timeout", "10", within_s=STOP_DEADLINE_S)
