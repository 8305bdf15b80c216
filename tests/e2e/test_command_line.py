"""`headrace up -d`, the demo twice, Kafka's tools, `down`: as a newcomer runs them, on a stack of their own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from headrace.embedded.ports import free_ports
from headrace.sample.pages import pages
from headrace.settings import Settings

Headrace = Callable[..., subprocess.CompletedProcess[str]]
DEADLINE_S = 240.0
_OURS = ("HEADRACE_", "OPENAI_", "KAFKA_", "WEAVIATE_")


@pytest.fixture(scope="module")
def headrace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    control, kafka, weaviate, grpc = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environment |= {
        "HEADRACE_DATA_DIR": str(tmp_path_factory.mktemp("stack")),
        "HEADRACE_CACHE_DIR": str(Settings.from_env().cache_dir),
        "HEADRACE_HTTP_PORT": str(control),
        "HEADRACE_KAFKA_PORT": str(kafka),
        "HEADRACE_WEAVIATE_PORT": str(weaviate),
        "HEADRACE_WEAVIATE_GRPC_PORT": str(grpc),
    }

    def run(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headrace.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    run("up", "--detach")
    try:
        yield run
    finally:
        assert "Headrace is down." in run("down").stderr


def test_the_demo_pauses_resumes_completes_and_answers(headrace: Headrace) -> None:
    done = headrace("demo", "--exit")
    for said in (f"Paused: {len(pages())} pages and ", "Resuming", f"Done and proven: {len(pages())} pages"):
        assert said in done.stderr
    assert done.stdout.count("? ") >= 3
    # two pages of the reference hold the same text: either may come first
    assert re.search(r"^1\. (Compound statements › )?Function definitions", done.stdout, re.MULTILINE)
    assert re.search(r"^1\. .*With Statement Context Managers", done.stdout, re.MULTILINE)


def test_a_second_demo_refreshes_and_fetches_nothing_anew(headrace: Headrace) -> None:
    done = headrace("demo", "--exit")
    assert "generation 2" in done.stderr
    assert "unchanged since the last time" in done.stderr


def test_status_and_search_for_scripts(headrace: Headrace) -> None:
    (status,) = json.loads(headrace("status", "--json").stdout)
    assert (status["status"], status["generation"]) == ("completed", 2)
    answer = json.loads(headrace("search", "python-reference", "context managers", "--json").stdout)
    assert answer["generation"] == 2
    assert answer["hits"]


def test_back_by_a_generation_and_on_again(headrace: Headrace) -> None:
    changes = json.loads(headrace("changes", "python-reference", "--json").stdout)
    assert (changes["from_generation"], changes["to_generation"]) == (1, 2)
    assert (changes["pages"], changes["totals"]["pages_unchanged"] > 0) == ([], True)
    assert json.loads(headrace("dead-letters", "python-reference", "--json").stdout) == []
    assert "is cancelled" in headrace("rollback", "python-reference", "--yes", "--wait").stdout
    assert json.loads(headrace("search", "python-reference", "context managers", "--json").stdout)["generation"] == 1
    headrace("rollback", "python-reference", "--yes", expect=4)
    headrace("approve", "python-reference", expect=4)
    headrace("demo", "--exit")
    headrace("vacuum", "python-reference", "--yes")
    rows = json.loads(headrace("generations", "python-reference", "--json").stdout)["generations"]
    assert [(row["generation"], row["state"], row["searchable"]) for row in rows] == [
        (3, "published", True), (2, "undone", False), (1, "published", False),
    ]  # fmt: skip
    assert "vacuumed" in headrace("search", "python-reference", "x", "--generation", "1", expect=1).stderr


def test_the_doctor_finds_nothing_wrong(headrace: Headrace) -> None:
    found = json.loads(headrace("doctor", "--json").stdout)
    assert [finding for finding in found if finding["level"] == "fail"] == []


def test_kafka_s_tools_are_passed_through_with_their_exit_codes(headrace: Headrace) -> None:
    described = headrace("kafka", "consumer-groups", "--describe", "--group", "headrace.consumer").stdout
    assert "headrace.chunks" in described
    assert "headrace.events" in headrace("kafka", "kafka-topics", "--list").stdout.splitlines()
    headrace("kafka", "topics", "--describe", "--topic", "none", expect=1)


def test_a_second_up_is_refused(headrace: Headrace) -> None:
    assert "up already" in headrace("up", expect=4).stderr
