"""A wait for Kafka that does not end is said, and shows in the metrics."""

import asyncio

import pytest

from headrace.embedded.ports import free_ports
from headrace.kafka import follower as module
from headrace.kafka.follower import Follower
from tests.support.waiting import until


async def test_a_wait_for_kafka_is_said_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SAY_EVERY_S", 0.01)
    (port,) = free_ports(1)
    follower = Follower(f"127.0.0.1:{port}", {"commands": lambda raw: None}, prefix="t.")
    assert follower.waits_s == 0
    follower.start()
    waiting = [asyncio.create_task(follower.catch_up()) for _ in range(2)]

    async def said() -> bool:
        return "still catching up with t.commands" in caplog.text

    await until(said)
    assert follower.waits_s > 0
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert follower.waits_s == 0
    await follower.stop()
