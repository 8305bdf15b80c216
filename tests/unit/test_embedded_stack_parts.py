"""The parts of the embedded stack that need no server."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.embedded import EmbeddedSettings, ServerStack
from headrace.embedded.data_dir import DataDirLock, running_pid
from headrace.embedded.errors import BuildFailed, DataDirInUse, EmbeddedError
from headrace.embedded.java import Java, find_java
from headrace.embedded.kafka_tools import TOOL_CLASSES, KafkaInstallation, tool_name
from headrace.embedded.progress import Interrupted, InterruptibleReporter, LogReporter, SilentReporter
from headrace.embedded.weaviate_build import BIND_VARIABLE, listen_where_told

INSTALLATION = KafkaInstallation(Java(Path("/jre/bin/java"), 21), Path("/jars"))


@pytest.mark.parametrize("spelling", ["kafka-topics", "kafka-topics.sh", "topics"])
def test_a_tool_goes_by_the_names_that_people_use(spelling: str) -> None:
    assert tool_name(spelling) == "kafka-topics"


def test_an_unknown_tool_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EmbeddedError, match=r"no Kafka tool 'kafka-topic'.*kafka-topics"):
        tool_name("kafka-topic")


def test_a_tool_is_told_the_servers_unless_the_caller_does() -> None:
    def words(tool: str, *arguments: str) -> list[str]:
        command = INSTALLATION.tool_command(tool, arguments, bootstrap_servers="here:9092")
        return command[command.index(TOOL_CLASSES[tool]) + 1 :]

    assert words("kafka-topics", "--list") == ["--bootstrap-server", "here:9092", "--list"]
    assert words("kafka-topics", "--bootstrap-server", "there:1") == ["--bootstrap-server", "there:1"]
    assert words("kafka-topics", "--bootstrap-server=there:1") == ["--bootstrap-server=there:1"]
    assert words("kafka-dump-log", "--files", "x") == ["--files", "x"]


def test_java_is_new_enough_for_kafka() -> None:
    java = find_java()
    assert java.version >= 17
    assert subprocess.run([java.executable, "-version"], capture_output=True, check=True, timeout=60).stderr


def test_one_stack_per_data_directory(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom headrace.embedded.data_dir import DataDirLock\n"
        f"lock = DataDirLock(Path({str(tmp_path)!r})); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    assert running_pid(tmp_path) is None
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        assert running_pid(tmp_path) == owner.pid
        with pytest.raises(DataDirInUse, match=rf"process {owner.pid}.*headrace down.*HEADRACE_DATA_DIR"):
            DataDirLock(tmp_path).acquire()
        owner.kill()
    assert running_pid(tmp_path) is None
    lock = DataDirLock(tmp_path)
    lock.acquire()
    lock.release()


def test_named_servers_are_used_and_not_started(tmp_path: Path) -> None:
    settings = EmbeddedSettings(
        data_dir=tmp_path / "data", kafka_bootstrap_servers="kafka:1", weaviate_url="https://weaviate.example:2"
    )
    with ServerStack(settings) as stack:
        assert (stack.kafka, stack.weaviate) == (None, None)
        assert stack.bootstrap_servers == "kafka:1"
        assert stack.weaviate_grpc_address == ("weaviate.example", 50051)
        assert stack.environment()["WEAVIATE_URL"] == "https://weaviate.example:2"
    assert not (tmp_path / "data").exists()


def test_weaviate_listens_where_it_is_told() -> None:
    source = 'package x\n\nimport (\n\t"fmt"\n)\n\nvar a = fmt.Sprintf(":%d", port)\n'
    changed = listen_where_told(source, "x.go")
    assert f'fmt.Sprintf(os.Getenv("{BIND_VARIABLE}")+":%d", port)' in changed
    assert changed.count('"os"') == 1
    with pytest.raises(BuildFailed, match=r"x\.go"):
        listen_where_told(changed, "x.go")


def test_a_log_says_how_far_a_step_is() -> None:
    stream = io.StringIO()
    with LogReporter(stream, interval_s=0).step("Compiling", total=4) as step:
        step.advance(detail="fmt")
    assert [line.split(" in ")[0] for line in stream.getvalue().splitlines()] == [
        "Compiling …",
        "Compiling: 25 %, fmt",
        "Compiling: done",
    ]


def test_interrupted_work_ends_at_its_next_progress() -> None:
    reporter = InterruptibleReporter(SilentReporter())
    with reporter.step("Compiling") as step:
        step.advance()
        reporter.interrupt()
        with pytest.raises(Interrupted, match="goes on from here"):
            step.advance()
