"""The embedded servers themselves: real ones, on ports and directories of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from headrace.embedded import EmbeddedSettings, PortTaken, ServerStack, SilentReporter
from headrace.embedded.ports import is_free, listens_beyond_loopback
from headrace.settings import Settings

CACHE_DIR = Settings.from_env().cache_dir


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerStack]:
    with ServerStack.ephemeral(tmp_path_factory.mktemp("stack"), cache_dir=CACHE_DIR) as running:
        yield running


def eventually(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    give_up_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up_at, "the condition was not met in time"
        time.sleep(0.05)


def count_objects(stack: ServerStack) -> int:
    return len(httpx.get(f"{stack.weaviate_url}/v1/objects", timeout=10).json()["objects"])


def test_neither_server_can_be_reached_from_other_machines(stack: ServerStack) -> None:
    assert stack.kafka is not None
    assert stack.weaviate is not None
    for pid in (stack.kafka.pid, stack.weaviate.pid):
        assert pid is not None
        assert listens_beyond_loopback(pid) == []


def test_kafka_keeps_records_through_a_stop_and_a_crash(stack: ServerStack) -> None:
    kafka = stack.kafka
    assert kafka is not None
    assert kafka.tool("kafka-topics", ["--create", "--topic", "kept", "--partitions", "1"]).returncode == 0
    for number, end in enumerate([kafka.stop, kafka.kill], start=1):
        assert kafka.tool("kafka-console-producer", ["--topic", "kept"], stdin=f"record {number}\n").returncode == 0
        end()
        assert kafka.pid is None
        kafka.start()
        told = kafka.tool("kafka-get-offsets.sh", ["--topic", "kept"])
        assert told.stdout == f"kept:0:{number}\n"


def test_kafka_makes_no_topic_by_accident(stack: ServerStack) -> None:
    kafka = stack.kafka
    assert kafka is not None
    kafka.tool("kafka-console-consumer", ["--topic", "mistyped", "--timeout-ms", "1000"])
    assert "mistyped" not in kafka.tool("kafka-topics", ["--list"]).stdout.split()


def test_weaviate_keeps_objects_through_a_stop_and_a_crash(stack: ServerStack) -> None:
    weaviate = stack.weaviate
    assert weaviate is not None
    assert httpx.post(f"{stack.weaviate_url}/v1/schema", json={"class": "Kept"}, timeout=30).is_success
    for number, end in enumerate([weaviate.stop, weaviate.kill], start=1):
        assert httpx.post(f"{stack.weaviate_url}/v1/objects", json={"class": "Kept"}, timeout=30).is_success
        end()
        assert weaviate.pid is None
        weaviate.start()
        assert count_objects(stack) == number


def test_a_taken_port_names_its_holder_and_leaves_nothing_running(stack: ServerStack, tmp_path: Path) -> None:
    assert stack.kafka is not None
    settings = EmbeddedSettings(
        data_dir=tmp_path,
        cache_dir=CACHE_DIR,
        kafka_port=stack.settings.kafka_port,
        weaviate_url=stack.weaviate_url,
    )
    second = ServerStack(settings, SilentReporter())
    with pytest.raises(PortTaken, match=rf"process {stack.kafka.pid} \(.*java.*HEADRACE_KAFKA_PORT=<port>"):
        second.start()
    assert second.kafka is not None
    assert second.kafka.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_servers_end_with_a_killed_parent_and_the_next_start_waits_for_them(tmp_path: Path) -> None:
    owned = ServerStack.ephemeral(tmp_path, cache_dir=CACHE_DIR)
    chosen = owned.settings
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from headrace.embedded import EmbeddedSettings, ServerStack, SilentReporter\n"
        f"settings = EmbeddedSettings(Path({str(tmp_path)!r}), Path({str(CACHE_DIR)!r}), {chosen.kafka_port}, "
        f"{chosen.weaviate_port}, {chosen.weaviate_grpc_port})\n"
        "ServerStack(settings, SilentReporter()).start()\nprint('up', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        os.kill(owner.pid, signal.SIGKILL)
    with owned:  # at once, while the servers of the dead owner may still be going down
        assert httpx.get(f"{owned.weaviate_url}/v1/.well-known/ready", timeout=10).is_success
    eventually(lambda: is_free(chosen.kafka_port) and is_free(chosen.weaviate_port))
