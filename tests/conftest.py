"""One stack for the whole run: real Kafka, real Weaviate; `HEADRACE_TEST_STACK=containers` takes containers."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest

from headrace.embedded.stack import ServerStack
from headrace.settings import Settings

# The same examples on every run, and no deadline: a slow machine is no finding. HEADRACE_TEST_SEARCH=1000 looks for new
# ones, so many by test.
_search = os.environ.get("HEADRACE_TEST_SEARCH")
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=int(_search or 100))
hypothesis.settings.load_profile("search" if _search else "fixed")


class Servers(Protocol):
    """What tests know of the stack, whatever it is made of."""

    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def weaviate_url(self) -> str: ...
    def environment(self) -> dict[str, str]: ...
    def versions(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


def _chosen() -> str:
    return os.environ.get("HEADRACE_TEST_STACK", "embedded")


def _servers(directory: Path) -> Servers:
    if _chosen() == "containers":
        from tests.containers.stack import ContainerStack

        return ContainerStack(directory)
    return ServerStack.ephemeral(directory, cache_dir=Settings.from_env().cache_dir)


def pytest_report_header() -> str:
    return f"stack: {_chosen()} (HEADRACE_TEST_STACK=embedded|containers)"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = _servers(tmp_path_factory.mktemp("stack"))
    servers.start()
    yield servers
    servers.stop()


@pytest.fixture
def environment(stack: Servers, tmp_path: Path) -> dict[str, str]:
    """Variables for services of one test: its own topics, groups, collections' tenants and data."""
    return stack.environment() | {
        "HEADRACE_TOPIC_PREFIX": f"t{secrets.token_hex(4)}.",
        "HEADRACE_PARTITIONS": "3",
        "HEADRACE_DATA_DIR": str(tmp_path / "data"),
    }


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return Settings.from_env(environment)
