"""What the producer says when it starts."""

import asyncio

import pytest

from headrace.settings import Settings
from producer import service


@pytest.mark.parametrize(("agent", "warns"), [("", True), ("Headrace/1 (me@example.org)", False)])
async def test_a_missing_contact_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, agent: str, warns: bool
) -> None:
    async def never(_: Settings) -> int:
        await asyncio.Event().wait()
        return 1

    monkeypatch.setattr(service, "topics_ready", never)
    stop = asyncio.Event()
    stop.set()
    await service.main(Settings.from_env({"HEADRACE_USER_AGENT": agent}), stop)
    assert ("names no contact" in caplog.text and "set HEADRACE_USER_AGENT" in caplog.text) == warns
