"""A consumer that is asked to stop while its group rebalances."""

import asyncio
from typing import Any

import faust
import pytest
from aiokafka.client import AIOKafkaClient

from consumer import service
from headrace.settings import Settings


@pytest.mark.parametrize("step", ["_on_partitions_revoked", "_on_partitions_assigned"])
async def test_it_leaves_the_group(
    settings: Settings, topics: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    """Else the others wait for its session to end before they take over."""
    caplog.set_level("INFO", "aiokafka.consumer.group_coordinator")
    stop, rebalanced, asked = asyncio.Event(), getattr(faust.App, step), AIOKafkaClient._metadata_update

    async def amid(app: Any, *args: Any) -> None:
        stop.set()
        await app.wait_until_stopped()
        thread = app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(thread._consumer._client.force_metadata_update)
        await rebalanced(app, *args)

    async def slow(client: AIOKafkaClient, *args: Any) -> Any:
        await asyncio.sleep(0.5)
        return await asked(client, *args)

    monkeypatch.setattr(faust.App, step, amid)
    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", slow)
    await service.main(settings, stop)
    assert "LeaveGroup request succeeded" in caplog.text
