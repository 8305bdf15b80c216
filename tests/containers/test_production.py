"""docker-compose.production.yml: three brokers that are encrypted and signed in to, two producers, two consumers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.client import ControlClient, ControlError
from headrace.secret import Secret
from tests.containers.compose import JOB_DEADLINE_S, Compose, definition

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("HEADRACE_TEST_STACK") != "containers",
        reason="needs a Docker engine: `make test-containers` runs it",
    ),
    pytest.mark.timeout(600),
]

TOOL = ("exec", "-T", "kafka-1", "/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "kafka-1:9092,kafka-3:9092")
SIGNED_IN = ("--command-config", "/etc/kafka/secrets/client.properties")


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    secrets: Path = tmp_path_factory.mktemp("secrets")
    project = Compose(
        "docker-compose.production.yml", HEADRACE_SECRETS=str(secrets), HEADRACE_KAFKA_HEAP="-Xms256m -Xmx256m"
    )
    try:
        project.run("run", "--rm", "secrets", within_s=60)
        create = ("headrace", "token", "create", "me", "--role", "admin")
        project.token = project.run("run", "--rm", "--no-deps", "-T", "control", *create, within_s=60).strip()
        project.up()
        yield project
    finally:
        project.down()


def test_two_of_each_are_healthy(production: Compose) -> None:
    listed = production.run("ps", "--format", "{{.Service}} {{.Health}}", within_s=60).splitlines()
    twice = [f"{service} healthy" for service in ("producer", "consumer") for _ in range(2)]
    once = [f"{service} healthy" for service in ("kafka-1", "kafka-2", "kafka-3", "weaviate", "control", "site")]
    assert sorted(listed) == sorted(twice + once)


def test_a_job_goes_on_where_a_broker_is_killed(production: Compose) -> None:
    control = ControlClient(production.url, token=Secret(production.token or ""))
    control.start("mill", definition(delay_s=3))
    control.wait_for("mill", lambda found: found["metrics"]["chunks_processed"] >= 1, deadline_s=JOB_DEADLINE_S)
    production.run("kill", "kafka-2", within_s=60)
    status = control.wait_for("mill", lambda found: found["phase"] == "done", deadline_s=JOB_DEADLINE_S)
    assert (status["status"], status["metrics"]["documents_processed"]) == ("completed", 4), status
    assert control.search("mill", {"query": "What takes the spent water away?", "k": 1})["hits"]
    behind = production.run(*TOOL, *SIGNED_IN, "--describe", "--under-replicated-partitions", within_s=60)
    assert "Topic: headrace.chunks" in behind
    production.run("up", "--wait", "--no-build", "--no-recreate", "kafka-2", within_s=120)
    control.wait_for("mill", lambda _: not _behind(production), deadline_s=60)


def test_strangers_are_refused(production: Compose) -> None:
    forged = "sed 's/password=.*/password=\"wrong\";/' /etc/kafka/secrets/client.properties >/tmp/forged"
    production.run("exec", "-T", "kafka-1", "bash", "-c", forged, within_s=60)
    with pytest.raises(AssertionError, match="Authentication failed"):
        production.run(*TOOL, "--command-config", "/tmp/forged", "--list", within_s=120)
    with pytest.raises(ControlError, match="token"):
        ControlClient(production.url).status("mill")


def _behind(production: Compose) -> str:
    return production.run(*TOOL, *SIGNED_IN, "--describe", "--under-replicated-partitions", within_s=60).strip()
