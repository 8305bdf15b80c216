"""What ends control while it serves."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from control.engine import Engine
from headrace.settings import Settings


async def never() -> None:
    await asyncio.Event().wait()


async def test_control_ends_where_commands_are_no_longer_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would go on, and decide on what is old."""
    engine = Engine(replace(Settings.from_env({}), data_dir=tmp_path))
    engine._billing = asyncio.create_task(never())
    for each in (engine.projection, engine.snapshots, engine.webhooks):
        monkeypatch.setattr(each, "failure", never)

    async def broken() -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(engine._books._follower, "_follow_for_ever", broken)
    failing = asyncio.create_task(engine.failure())
    engine._books.start()
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="following commands, kbs ended"):
            await failing
    engine._billing.cancel()
    await engine.stop()
