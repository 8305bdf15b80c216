"""Commands about this machine: settings, version, doctor, kafka, up and down as far as they go without servers."""

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner
from rich.console import Console

from headrace import demo, embedded
from headrace.cli import cli
from headrace.cli.checks import mend
from headrace.cli.root import COMMANDS
from headrace.cli.stack import on_the_path
from headrace.client import ControlClient
from headrace.embedded.data_dir import DataDirLock
from headrace.embedded.locks import exclusive
from headrace.embedded.ports import free_ports, is_free
from headrace.kafka.admin import Difference
from headrace.supervisor import StackState, run_dir
from headrace.supervisor.state import write_state
from tests.unit.cli import definition
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl, status_of


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage: headrace" in result.stdout


def test_the_list_of_commands_is_whole_at_80_columns() -> None:
    result = CliRunner().invoke(cli, ["--help"], terminal_width=80)
    commands = result.stdout.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in commands] == list(COMMANDS)
    assert not [line for line in commands if line.endswith("...")]


def test_a_terminal_without_headrace_on_its_path_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (said,) = on_the_path()
    assert said.startswith("export PATH=") and said.endswith(":$PATH")
    (tmp_path / "headrace").touch(mode=0o755)
    assert on_the_path() == ()


def test_settings_never_show_a_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    result = run("settings")
    assert "sk-very" not in result.stdout
    assert "***" in result.stdout
    rows = {row["variable"]: row for row in json.loads(run("settings", "--json").stdout)}
    assert rows["OPENAI_API_KEY"]["value"] == "***"
    assert rows["HEADRACE_HTTP_PORT"]["value"] == 8000


def test_settings_mark_those_that_do_not_fit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_PORT", "hush")
    monkeypatch.setenv("HEADRACE_TOKEN", "hr_id_hush\nmore")
    monkeypatch.setenv("HEADRACE_EMBED_BATCH", "16")
    result = run("settings")
    assert result.exit_code == 2 and "hush" not in result.output
    assert [line.split()[:2] for line in result.stdout.splitlines() if "✗ does not fit" in line] == [
        ["HEADRACE_HTTP_PORT", "✗"], ["HEADRACE_TOKEN", "✗"],
    ]  # fmt: skip
    assert "HEADRACE_HTTP_PORT does not fit: write a whole number from 1 to 65,535" in result.stderr
    assert "HEADRACE_TOKEN does not fit: it holds letters" in result.stderr
    rows = {row["variable"]: row for row in json.loads(run("settings", "--json").stdout)}
    assert rows["HEADRACE_HTTP_PORT"]["problem"].startswith("write a whole number")
    assert (rows["HEADRACE_EMBED_BATCH"]["value"], rows["HEADRACE_EMBED_BATCH"]["problem"]) == (16, None)


def test_settings_that_do_not_go_together_are_all_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REPLICATION", "3")
    result = run("settings")
    assert result.exit_code == 2 and "HEADRACE_REPLICATION" in result.stdout
    assert "the embedded Kafka is one broker" in result.stderr


def test_version(run: Run) -> None:
    assert run("version").stdout.startswith("headrace 0.")
    assert json.loads(run("version", "--json").stdout)["headrace"] in run("version").stdout


def headrace(*arguments: str, stdout: IO[bytes] | int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "headrace.cli", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | environment, check=False)


@pytest.mark.parametrize("command", ["version", "settings --json", "kb --help"])
def test_a_full_disk_behind_stdout_is_told(run: Run, command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = headrace(*command.split(), stdout=full)
    said = b"Error: stdout can't be written: No space left on device. Free some space, or send it elsewhere.\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_what_an_encoding_has_no_letter_for_is_replaced(run: Run) -> None:
    shown, as_json = (
        headrace("settings", *options, stdout=subprocess.PIPE, PYTHONIOENCODING="ascii", HEADRACE_TOPIC_PREFIX="mühle.")
        for options in ((), ("--json",))
    )
    assert (shown.returncode, as_json.returncode, shown.stderr + as_json.stderr) == (0, 0, b"")
    assert b"m?hle." in shown.stdout
    assert "mühle." in [row["value"] for row in json.loads(as_json.stdout)]


def test_kafka_passes_everything_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr(embedded.KafkaInstallation, "prepare", lambda *_: "installation")
    monkeypatch.setattr(embedded, "exec_tool", lambda *arguments: called.append(arguments))
    assert run("kafka", "consumer-groups", "--describe", "--group", "g", "--help").exit_code == 0
    assert called == [("installation", "consumer-groups", ("--describe", "--group", "g", "--help"), "127.0.0.1:9092")]


def test_kafka_alone_lists_the_tools(run: Run) -> None:
    assert "console-consumer" in run("kafka").stdout


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_doctor_tells_a_taken_port_and_fails(run: Run, taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA_PORT", str(taken_port))
    result = run("doctor", "--json")
    found = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert found[f"Port {taken_port}"]["level"] == "fail"
    assert "HEADRACE_KAFKA_PORT" in found[f"Port {taken_port}"]["mend"]
    assert found["Python"]["level"] == "ok"
    assert found["Java"]["level"] == "ok"


@pytest.mark.parametrize(
    ("agent", "url", "level"),
    [
        (None, "https://example.org/docs/", "warn"),
        (None, "http://127.0.0.1:8000/", "ok"),
        (None, "http://[::1]/", "ok"),
        (None, "http://docs.localhost/", "ok"),
        (None, "http://127.0.0.1.example.org/", "warn"),
        ("Headrace/1 (+https://example.org/bot)", "https://example.org/", "ok"),
        ("headrace; me@example.org", "https://example.org/", "ok"),
        ("Headrace/1 (call me)", "https://example.org/", "warn"),
    ],
)
def test_doctor_misses_a_contact_where_sites_of_others_are_crawled(
    run: Run, control: FakeControl, monkeypatch: pytest.MonkeyPatch, agent: str | None, url: str, level: str
) -> None:
    control.statuses["docs"] = [status_of()]
    monkeypatch.setitem(definition.DEFINITION["source"], "urls", [url])
    if agent is not None:
        monkeypatch.setenv("HEADRACE_USER_AGENT", agent)
    found = {finding["name"]: finding for finding in json.loads(run("doctor", "--json").stdout)}["User-Agent"]
    assert found["level"] == level
    assert ("HEADRACE_USER_AGENT" in found["mend"]) == (level == "warn")


def test_doctor_misses_a_contact_where_control_is_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:9")
    found = {finding["name"]: finding for finding in json.loads(run("doctor", "--json").stdout)}
    assert found["User-Agent"]["level"] == "warn"


@pytest.mark.parametrize("agent", ["Mozilla/5.0 (me@example.org)", "Headrace/1\r\nX: y", "Headrace/1 (ü)"])
def test_a_user_agent_that_is_no_honest_one_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch, agent: str) -> None:
    monkeypatch.setenv("HEADRACE_USER_AGENT", agent)
    result = run("settings")
    assert result.exit_code == 2
    assert "HEADRACE_USER_AGENT does not fit" in result.stderr


def test_doctor_in_words(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "empty"))
    shown = run("doctor").stdout
    assert "! Weaviate       not built yet" in shown
    assert "→ the next `headrace up` builds it" in shown
    assert "ready at http://127.0.0.1" in shown


def test_down_without_a_stack_is_no_error(run: Run) -> None:
    result = run("down")
    assert result.exit_code == 0
    assert "nothing to stop" in result.stderr


def test_up_beside_a_running_stack_is_4(run: Run, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    lock = DataDirLock(run_dir(data_dir))
    lock.acquire()
    write_state(data_dir, StackState(1, "ready", "", "http://127.0.0.1:8000", "k", "w"))
    try:
        result = run("up")
    finally:
        lock.release()
    assert result.exit_code == 4
    assert "up already at http://127.0.0.1:8000 (ready)" in result.stderr
    assert "headrace down" in result.stderr


def test_a_demo_beside_another_on_the_same_stack_is_4(run: Run, control: FakeControl, tmp_path: Path) -> None:
    lock = DataDirLock(run_dir(tmp_path / "data"))
    lock.acquire()
    try:
        with exclusive(run_dir(tmp_path / "data") / "demo.lock"):
            result = run("demo", "--exit")
    finally:
        lock.release()
    assert result.exit_code == 4
    assert "A demo is running on this stack already" in result.stderr
    assert control.requests("POST") == [], "the job of the other goes on"


def test_a_demo_serves_its_site_where_the_one_before_did(control: FakeControl) -> None:
    client, err = ControlClient(control.url), Console(file=io.StringIO(), width=200)
    (port,) = free_ports(1)
    definition = {"source": {"urls": [f"http://127.0.0.1:{port}/reference/"]}}
    control.answers["GET", f"/api/ingestion/kb/{demo.KB}"] = 200, {"definition": definition}
    for _ in range(2):
        with demo.Demo(client, err, err).site():
            assert not is_free(port)
    assert err.file.getvalue() == ""  # type: ignore[attr-defined]
    with socket.create_server(("127.0.0.1", port)), demo.Demo(client, err, err).site():
        pass
    assert f"Port {port} is taken by process {os.getpid()} (" in err.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("partitions", "set HEADRACE_PARTITIONS=3"),
        ("replication", "set HEADRACE_REPLICATION=3, or"),
        ("min.insync.replicas", "--entity-name t --add-config min.insync.replicas=2"),
    ],
)
def test_doctor_says_what_mends_a_topic(setting: str, says: str) -> None:
    assert says in mend(Difference("t", setting, "2", "3"))


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_up_says_what_to_do_about_its_data_directory(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
    result = run("up", *options)
    assert result.exit_code == 1
    assert "can't be used: Not a directory" in result.stderr and "HEADRACE_DATA_DIR" in result.stderr
