"""Connections to Kafka that end, under the loop of the services."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from headrace.kafka.connection import mend_connections
from tests.support.certificates import Authority
from tests.support.waiting import until

Serves = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("send", "close"):
        monkeypatch.setattr(AIOKafkaConnection, name, getattr(AIOKafkaConnection, name))


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

    mend_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    async def version_lookup(self: AIOKafkaConnection) -> None:
        pass

    monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", version_lookup)
    return Authority(tmp_path)


@asynccontextmanager
async def connected(authority: Authority, serve: Serves) -> AsyncIterator[AIOKafkaConnection]:
    """Under TLS, to a server that does so with each connection."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*authority.sign("broker"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    asking = ssl.create_default_context(cafile=authority.certificate)
    connection = AIOKafkaConnection(*server.sockets[0].getsockname(), security_protocol="SSL", ssl_context=asking)
    await connection.connect()
    yield connection
    server.close()


def test_a_connection_under_tls_ends_though_the_other_side_hears_nothing(authority: Authority) -> None:
    async def busy(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()

    async def ask() -> None:
        async with connected(authority, busy) as connection, asyncio.timeout(20):  # uvloop's own is 30
            await connection.close()

    mend_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())


async def test_a_connection_under_tls_that_the_other_side_ended_is_closed_without_complaint(
    authority: Authority,
) -> None:
    async def leaving(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    mend_connections()
    async with connected(authority, leaving) as connection:

        async def ended() -> bool:
            return not connection.connected()

        await until(ended, within_s=20, what="the connection is seen to have ended")
        await asyncio.sleep(0)  # what is raised in a callback is told after it
    assert complaints == []
