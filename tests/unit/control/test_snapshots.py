"""Statuses when they can't be made: the old one stays, says why, and goes on by itself."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from control.engine import Engine
from control.file import MemoryRefuses
from control.http import application
from control.offsets import OffsetWatch
from headrace.settings import Settings
from schemas.commands import JobCommand
from tests.support.waiting import until
from tests.unit.control.memory_log import MemoryLog
from tests.unit.control.test_http import API


class Refusing:
    """In place of a file's `read`: too little memory, while it is `short`."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read, self.short = read, False

    def __call__(self, query: Any) -> Any:
        if self.short:
            raise MemoryRefuses("too little memory")
        return self._read(query)


class NoOffsets:
    def of(self, partition: int) -> None:
        return None


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """Control that has read a log in memory."""
    engine, log = Engine(replace(Settings.from_env({}), data_dir=tmp_path)), MemoryLog()
    engine.unready, engine._books, engine._desk = None, log.books, log.desk
    engine.snapshots._books = log.books
    await engine.projection.open()
    await engine.projection._on_file(lambda: engine.projection._file.claim("log", {}))
    await log.started()
    yield engine
    await engine.stop()


@pytest.fixture
def file(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Refusing:
    refusing = Refusing(engine.projection._file.read)
    monkeypatch.setattr(engine.projection._file, "read", refusing)
    return refusing


def job(engine: Engine) -> JobCommand:
    return engine._books.jobs("docs")[0]


async def test_a_status_that_can_t_be_made_anew_stays_and_says_why(engine: Engine, file: Refusing) -> None:
    engine.snapshots.start(cast(OffsetWatch, NoOffsets()))
    assert (await engine.snapshots.of(job(engine))).status == "queued"
    file.short = True
    engine.snapshots.touch_all()

    async def stalled() -> Any:
        answer = await engine.snapshots.of(job(engine))
        return answer if answer.status == "stalled" else None

    told = await until(stalled)
    assert told.reason == "projection (reading): too little memory"
    assert [stall.service for stall in told.stalls] == ["control"]
    file.short = False

    async def queued() -> bool:
        return (await engine.snapshots.of(job(engine))).status == "queued"

    await until(queued)
    assert (await engine.snapshots.of(job(engine))).stalls == []


async def test_over_http_it_is_unavailable_for_now(engine: Engine, file: Refusing) -> None:
    async with TestClient(TestServer(application(engine))) as client:
        file.short = True
        for path in ("kb/docs/status", f"jobs/{job(engine).job_id}/pages", "dead-letters"):
            response = await client.get(f"{API}/{path}")
            assert (response.status, "too little memory" in await response.text()) == (503, True), path
        file.short = False
        assert (await client.get(f"{API}/kb/docs/status")).status == 200
