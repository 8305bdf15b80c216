"""A real Prometheus with our rules, and its tool."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from headrace.embedded.ports import free_ports
from tests.support.debian import unpacked
from tests.support.program import serving

FILES = Path(__file__).parents[2] / "observability"


def program(name: str) -> str:
    """Skips the test where there is none."""
    path, reason = unpacked("prometheus", name)
    if path is None:
        pytest.skip(reason)
    return path


@dataclass(frozen=True)
class Prometheus:
    """`get`: the data of an answer of its HTTP API."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=query) as answer:
            told = await answer.json()
        assert told["status"] == "success", (path, query, told)
        return told["data"]

    async def up(self) -> dict[str, str]:
        """Health by job, of those that were asked; with what was wrong where one was."""
        targets = (await self.get("targets", state="active"))["activeTargets"]
        return {each["labels"]["job"]: each["lastError"] or each["health"] for each in targets}

    async def state(self, alert: str) -> list[str]:
        """How those that this rule has found stand: pending or firing."""
        return [each["state"] for each in (await self.get("alerts"))["alerts"] if each["labels"]["alertname"] == alert]


@asynccontextmanager
async def watching(config: dict[str, Any], directory: Path) -> AsyncIterator[Prometheus]:
    """One with this configuration, whose rules are found in the directory."""
    path = await asyncio.to_thread(program, "prometheus")
    (port,) = free_ports(1)
    file = _written(config, directory)
    arguments = [path, f"--config.file={file}", f"--storage.tsdb.path={directory}/data"]
    async with aiohttp.ClientSession() as session:
        prometheus = Prometheus(f"http://127.0.0.1:{port}", session)

        async def answers() -> bool:
            async with session.get(f"{prometheus.url}/-/ready") as answer:
                return answer.status == 200

        async with serving([*arguments, f"--web.listen-address=127.0.0.1:{port}"], directory, answers):
            yield prometheus


def _written(config: dict[str, Any], directory: Path) -> Path:
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def panels() -> list[dict[str, Any]]:
    """Of the dashboard."""
    board = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
    return list(board["panels"])


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]
