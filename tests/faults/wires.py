"""Loopback TCP proxies that the harness owns: the wire between one process and one server."""

import asyncio
import contextlib
import socket
import struct
from typing import Literal

State = Literal["whole", "cut", "mute", "slow"]
CHUNK_BYTES = 1 << 16


class Wire:
    """Leads from `port` to `target`: `start`, `be` in one state or another, `stop`.

    cut: connections are reset, new ones too. mute: bytes wait on the way, as behind a router that lost its table, and
    arrive once the wire is whole again. slow: every piece takes `delay_s` longer.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target, self.port = target, port
        self.delay_s = 0.0
        self._flows = asyncio.Event()
        self._flows.set()
        self._cut = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def be(self, state: State, delay_s: float = 0.0) -> None:
        self._cut, self.delay_s = state == "cut", delay_s if state == "slow" else 0.0
        if state == "mute":
            self._flows.clear()
        else:
            self._flows.set()
        if self._cut:
            for end in list(self._ends):
                _reset(end)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._ends.add(writer)
        try:
            await self._lead(reader, writer)
        except asyncio.CancelledError:  # by `stop` alone; asyncio's own server takes it for a fault
            return
        finally:
            self._tasks.discard(task)
            self._ends.discard(writer)
            writer.transport.abort()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        if self._cut:
            return _reset(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # the server is away: so is the wire
            return
        self._ends.add(far_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
        finally:
            self._ends.discard(far_writer)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one side ends; what it sent before still arrives."""
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):  # reset by a peer that was killed, or cut
            writer.transport.abort()


def _reset(end: asyncio.StreamWriter) -> None:
    """Closes with a RST, as a peer that knows of no connection answers."""
    with contextlib.suppress(OSError, ValueError):  # closed already
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()
