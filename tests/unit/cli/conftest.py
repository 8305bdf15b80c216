"""The command line, run in this process against a fake control."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli import cli
from headrace.settings import Settings
from tests.unit.cli.control_fake import FakeControl

Run = Callable[..., Result]


@pytest.fixture
def control() -> Iterator[FakeControl]:
    with FakeControl() as running:
        yield running


@pytest.fixture
def run(control: FakeControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("status", "docs")`; options may name another control."""
    monkeypatch.setenv("HEADRACE_URL", control.url)
    monkeypatch.setenv("COLUMNS", "200")
    for setting in fields(Settings):
        monkeypatch.delenv(setting.metadata["env"], raising=False)
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))

    def invoke(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=input, prog_name="headrace", catch_exceptions=False)

    return invoke
