"""A data directory that can't be written to."""

from pathlib import Path

from headrace.embedded import SilentReporter
from headrace.embedded.ports import free_ports
from headrace.settings import Settings
from headrace.supervisor import Stack, running_stack
from headrace.supervisor.state import run_dir


class Said(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_state_that_can_not_be_written_does_not_keep_the_stack_from_stopping(tmp_path: Path) -> None:
    said = Said()
    stack = Stack(Settings(data_dir=tmp_path, http_port=free_ports(1)[0]), said)
    run_dir(tmp_path).write_text("a file where a directory should be")
    stack.stop()
    assert any("can't be written" in note for note in said.notes)


def test_no_stack_runs_on_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert running_stack(tmp_path / "data") is None
