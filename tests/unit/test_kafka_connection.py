"""A connection to Kafka that ends under the loop of the services."""

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from headrace.kafka.connection import expect_closed_connections


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaConnection, "send", AIOKafkaConnection.send)


def test_a_request_over_a_closed_connection_finds_kafka_away() -> None:
    async def ask() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            connection = AIOKafkaConnection(*server.sockets[0].getsockname())
            _, connection._writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            connection._writer.transport.abort()
            await asyncio.sleep(0.05)
            with pytest.raises(KafkaConnectionError, match="closed"):
                await connection.send(ApiVersionRequest())

    expect_closed_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())
