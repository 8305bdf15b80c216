"""Child processes: how they end, and with whom."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.embedded import ports
from headrace.embedded.errors import EmbeddedError, PortTaken, ServerNotReady
from headrace.embedded.process import ChildProcess, Command, child_environment, wait_for_leftovers

LISTEN = (
    "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1])));"
    "print('up', flush=True); time.sleep(600)"
)
DEAF = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def child(directory: Path, script: str, *arguments: str) -> ChildProcess:
    command = [sys.executable, "-c", script, *arguments]
    return ChildProcess(Command("child", command, child_environment(directory, {}), directory, directory / "child.log"))


def says_up(process: ChildProcess) -> Callable[[], bool]:
    return lambda: "up" in process.log_tail()


def eventually(condition: Callable[[], bool], deadline_s: float = 15.0) -> None:
    give_up_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up_at, "the condition was not met in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "\nState:\tZ" not in status.read_text()


def test_stop_asks_first_and_kills_when_that_does_not_help(tmp_path: Path) -> None:
    process = child(tmp_path, DEAF)
    process.start()
    process.wait_until(says_up(process), 15)
    pid = process.pid
    process.stop(grace_s=0.2)
    assert not process.running
    assert not is_alive(pid)
    process.stop(grace_s=0.2)  # a second time is harmless


DIES_IN_GOOD_ORDER = """
for number in range(20):
    print(f'{number} [main] ERROR Unable to start acceptor')
print('Caused by: java.net.BindException: Address already in use')
print(*(f'Shutting down {number}' for number in range(30)), sep=chr(10))
"""


def test_what_went_wrong_is_reported_though_much_is_said_after_it(tmp_path: Path) -> None:
    process = child(tmp_path, DIES_IN_GOOD_ORDER)
    process.start()
    expected = (
        r"(?s)errors in it:\n0 \[main\] ERROR Unable to start acceptor\nCaused by: .*BindException.*"
        r"the end of it:\nShutting down 15"
    )
    with pytest.raises(ServerNotReady, match=expected):
        process.wait_until(says_up(process), 15)


def test_a_child_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    process = child(tmp_path, "import sys; print('no disk'); sys.exit(3)")
    process.start()
    with pytest.raises(ServerNotReady, match=r"(?s)exit code 3.*no disk"):
        process.wait_until(lambda: False, 15)


def test_a_child_that_never_answers_is_reported(tmp_path: Path) -> None:
    process = child(tmp_path, DEAF)
    process.start()
    try:
        with pytest.raises(ServerNotReady, match="did not answer within"):
            process.wait_until(lambda: False, 0.1)
    finally:
        process.kill()


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    for word in ("first", "second"):
        process = child(tmp_path, f"print('{word}')")
        process.start()
        process._started().wait(15)
    assert (tmp_path / "child.log.1").read_text() == "first\n"
    assert (tmp_path / "child.log").read_text() == "second\n"


def test_a_child_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    process = child(tmp_path, DEAF)
    process.start()
    try:
        assert os.getsid(process.pid) == process.pid
    finally:
        process.kill()


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    process = child(tmp_path, DEAF.replace("signal.SIG_IGN", "signal.SIG_DFL"))
    asking = threading.Thread(target=process.start)
    asking.start()
    asking.join()
    try:
        process.wait_until(says_up(process), 15)
        assert process.running
    finally:
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from headrace.embedded.process import ChildProcess, Command, child_environment
directory = Path({str(tmp_path)!r})
environment = child_environment(directory, {{}})
process = ChildProcess(Command("child", ["/bin/sleep", "600"], environment, directory, directory / "c.log"))
process.start()
print(process.pid, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
        eventually(lambda: not is_alive(pid))


def test_a_taken_port_is_reported_with_its_holder_and_the_setting(tmp_path: Path) -> None:
    (port,) = ports.free_ports(1)
    stranger = child(tmp_path, LISTEN, str(port))
    stranger.start()
    try:
        stranger.wait_until(says_up(stranger), 15)
        assert not ports.is_free(port)
        expected = rf"Port {port}, which Kafka wants.*process {stranger.pid} \(.*python.*HEADRACE_KAFKA_PORT=<port>"
        with pytest.raises(PortTaken, match=expected):
            ports.require_free(port, server="Kafka", setting="HEADRACE_KAFKA_PORT")
        assert ports.listens_beyond_loopback(stranger.pid) == []
    finally:
        stranger.kill()
    assert ports.is_free(port)


def test_a_listener_on_every_interface_is_seen() -> None:
    script = "import socket,os; s=socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        port = int(listener.stdout.readline())
        assert ports.listens_beyond_loopback(listener.pid) == [port]
        listener.communicate("\n")


def test_free_ports_are_different_and_free() -> None:
    found = [port for _ in range(300) for port in ports.free_ports(2)]
    assert len(set(found)) == 600, "none twice, though nobody listens"
    assert all(ports.is_free(port) for port in found)


def test_processes_beside_each_other_draw_ports_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for pid in range(1_000, 1_060):
        monkeypatch.setattr("headrace.embedded.ports._drawn", itertools.count())
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        drawn += ports.free_ports(1)
    assert min(later - earlier for earlier, later in itertools.pairwise(sorted(drawn))) > 80


def test_a_leftover_of_the_same_data_directory_is_waited_for(tmp_path: Path) -> None:
    (port,) = ports.free_ports(1)
    leftover = child(tmp_path, LISTEN, str(port))
    leftover.start()
    leftover.wait_until(says_up(leftover), 15)
    waiting = threading.Thread(target=wait_for_leftovers, args=([port], tmp_path))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    leftover.kill()
    waiting.join(15)
    assert not waiting.is_alive()


def test_a_leftover_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.embedded.process._LEFTOVER_DEADLINE_S", 0.1)
    (port,) = ports.free_ports(1)
    leftover = child(tmp_path, LISTEN, str(port))
    leftover.start()
    try:
        leftover.wait_until(says_up(leftover), 15)
        with pytest.raises(EmbeddedError, match=f"kill {leftover.pid}"):
            wait_for_leftovers([port], tmp_path)
        wait_for_leftovers([port], tmp_path / "another")  # not ours to wait for
    finally:
        leftover.kill()
