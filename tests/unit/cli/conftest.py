"""The command line, run in this process against a fake control."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli import cli
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
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    for variable in ("OPENAI_API_KEY", "KAFKA_BOOTSTRAP_SERVERS", "WEAVIATE_URL"):
        monkeypatch.delenv(variable, raising=False)

    def invoke(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=input, prog_name="headrace", catch_exceptions=False)

    return invoke
