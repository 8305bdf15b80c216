"""`docker compose up --wait` is the whole installation, and `docker compose stop` pauses what runs."""

import os
from collections.abc import Iterator

import pytest

from headrace.client import ControlClient
from tests.containers.compose import JOB_DEADLINE_S, STOP_DEADLINE_S, Compose, definition
from tests.containers.stack import is_standin

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("HEADRACE_TEST_STACK") != "containers",
        reason="needs a Docker engine: `make test-containers` runs it",
    ),
    pytest.mark.timeout(600),
]

PAGES = 4


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    project = Compose()
    try:
        project.up()
        yield project
    finally:
        project.down()


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.production.yml"])
def test_each_file_is_valid_with_all_its_profiles(file: str) -> None:
    Compose(file).run("--profile", "*", "config", "--quiet", within_s=60)


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
