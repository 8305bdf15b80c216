"""`docker compose up --wait` is the whole installation, and `docker compose stop` pauses what runs."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.client import ControlClient
from headrace.embedded.ports import free_ports
from tests.containers.stack import ROOT, is_standin

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("HEADRACE_TEST_STACK") != "containers",
        reason="needs a Docker engine: `make test-containers` runs it",
    ),
    pytest.mark.timeout(600),
]

UP_DEADLINE_S, STOP_DEADLINE_S, JOB_DEADLINE_S = 240, 120, 120
PAGES = 4
# where Docker takes the networks of containers from
NETWORKS = ["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"]


def definition(**crawl: Any) -> dict[str, Any]:
    source = {"urls": ["http://site:8900/"], "allow_addresses": NETWORKS}
    return {"source": source, "crawl": crawl, "embedding": {"provider": "local"}}


class Compose:
    """The project of docker-compose.yml with the test's site, on ports of its own, under a name of its own."""

    def __init__(self) -> None:
        kafka, weaviate, grpc, http = free_ports(4)
        self.url = f"http://127.0.0.1:{http}"
        self._environment = os.environ | {
            "COMPOSE_PROJECT_NAME": f"headrace-test-{os.getpid()}",
            "COMPOSE_FILE": "docker-compose.yml:tests/containers/site.yml",
            "HEADRACE_KAFKA_PORT": str(kafka),
            "HEADRACE_WEAVIATE_PORT": str(weaviate),
            "HEADRACE_WEAVIATE_GRPC_PORT": str(grpc),
            "HEADRACE_HTTP_PORT": str(http),
        }

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


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    project = Compose()
    try:
        project.up()
        yield project
    finally:
        project.run("down", "--volumes", "--timeout", "10", within_s=STOP_DEADLINE_S)


def test_the_run_says_which_images_it_is_on(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    images = ("apache/kafka:4.3.1", "semitechnologies/weaviate:1.39.0", "python:3.11-slim")
    found = {image: "stand-in" if is_standin(image) else "official" for image in images}
    with capsys.disabled():
        print(f"\n  images: {found}")
    assert len(set(found.values())) == 1, "a mix of stand-ins and official images proves neither"


def test_all_five_services_are_healthy(compose: Compose) -> None:
    assert compose.healths() == dict.fromkeys(
        ("kafka", "weaviate", "producer", "consumer", "control", "site"), "healthy"
    )


def test_a_site_becomes_searchable(compose: Compose) -> None:
    control = ControlClient(compose.url)
    control.start("mill", definition())
    status = control.wait_for(
        "mill", lambda found: found["status"] in ("completed", "failed"), deadline_s=JOB_DEADLINE_S
    )
    assert status["status"] == "completed", status
    assert status["metrics"]["documents_processed"] == PAGES
    hit = control.search("mill", {"query": "What takes the spent water away?", "k": 1})["hits"][0]
    assert hit["url"] == "http://site:8900/tailrace.html"


def test_a_stop_pauses_what_runs_and_the_volumes_keep_it(compose: Compose) -> None:
    control = ControlClient(compose.url)
    control.start("slow", definition(delay_s=600))
    control.wait_for("slow", lambda found: found["status"] == "running", deadline_s=JOB_DEADLINE_S)
    compose.run("stop", within_s=STOP_DEADLINE_S)
    compose.up()

    paused = control.wait_for("slow", lambda found: found["status"] == "paused", deadline_s=JOB_DEADLINE_S)
    assert paused["reason"] == "shutdown"
    assert control.status("mill")["status"] == "completed"
    assert control.search("mill", {"query": "Who opens the gate?", "k": 1})["hits"]
    control.command("slow", "cancel")
    control.wait_for("slow", lambda found: found["status"] == "cancelled", deadline_s=JOB_DEADLINE_S)
