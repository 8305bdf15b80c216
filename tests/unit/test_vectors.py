"""The store's edge to a server that is unwell in odd ways; what it does with a real one is in tests/integration."""

import asyncio
import socket
import struct
from contextlib import closing

import pytest
import uvloop

from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore


def test_a_server_that_closes_connections_at_once_is_unwell() -> None:
    """In the loop of the services: there, a socket may be gone before it is looked at."""

    async def reset(listener: socket.socket) -> None:
        while True:
            taken, _ = await asyncio.get_running_loop().sock_accept(listener)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            taken.close()

    async def ask() -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            listener.setblocking(False)
            resetting = asyncio.create_task(reset(listener))
            store = VectorStore(Settings.from_env({"WEAVIATE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}"}))
            for _ in range(30):
                with pytest.raises(DependencyUnwell):
                    await store.tenant(Tenancy("Headrace_test", "kb"))
            await store.stop()
            resetting.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())
