"""One set of topics with its workers, fakes and wires. Lanes share the servers and nothing else.

Workers live on from run to run: a run has knowledge bases and sites of its own, and counts only what came after its
beginning.
"""

import asyncio
import os
import random
import secrets
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from headrace.embedded.kafka import Listener
from headrace.embedded.ports import is_free
from headrace.embedded.stack import ServerStack
from headrace.settings import Settings
from headrace.vectors import VectorStore
from tests.faults.fakes import WatchedOpenAI
from tests.faults.wires import Wire
from tests.support.api import Api
from tests.support.services import Service

WORKERS = ("producer-1", "producer-2", "producer-3", "consumer-1", "consumer-2", "consumer-3", "control-1")
SESSION_S = 3.0
EMBED_BATCH = 8
EMBED_WINDOW = 3
STOP_S = 30.0
LANE_PORTS = 30
FIRST_PORTS = range(10_000, 14_900, 2 * LANE_PORTS)
"""Ports that must be known before the broker starts lie below those that `free_ports` draws from."""


class Worker:
    """One process: `start`, `kill`, `freeze`, `thaw`, `leave`; and the wires by which it reaches the servers."""

    def __init__(self, lane: str, name: str, listener: int, advertised: int) -> None:
        self.name, self.module = name, name.partition("-")[0]
        self.listener = Listener(lane + name.replace("-", "").upper(), listener, advertised)
        self.wires: dict[str, Wire] = {}
        self.wanted = False
        """Whether it should run now: one that doesn't ended by itself."""
        self._service: Service | None = None

    def equip(self, environment: Mapping[str, str], directory: Path) -> None:
        self._service = Service(self.module, environment, directory / self.name)

    @property
    def alive(self) -> bool:
        return self._service is not None and self._service.alive

    @property
    def pid(self) -> int:
        assert self._service is not None
        return self._service.pid

    @property
    def log(self) -> Path:
        assert self._service is not None
        return self._service.log

    def start(self) -> None:
        assert self._service is not None
        if not self._service.alive:
            self._service.start()
        self.wanted = True

    def kill(self) -> None:
        self.wanted = False
        if self._service is not None and self._service.alive:
            self._service.kill()

    async def leave(self) -> int:
        """A polite request to stop; the exit code. Raises TimeoutExpired."""
        assert self._service is not None
        self.wanted = False
        if not self._service.alive:
            return 0
        self.thaw()
        return await self._service.terminate(STOP_S)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._service is not None and self._service.alive:
            os.killpg(self._service.pid, number)


class Lane:
    """`listeners` before the broker starts; then `open`, and `close`."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number, self.directory = number, directory
        self._claim, first = _claimed_block()
        ports = (port for port in range(first + 1, first + 2 * LANE_PORTS) if is_free(port))
        self.http_port = next(ports)
        self.workers = {name: Worker(f"L{number}", name, next(ports), next(ports)) for name in WORKERS}
        self.openai = WatchedOpenAI()
        self.api = Api(f"http://127.0.0.1:{self.http_port}")
        self.opened = 0

    @property
    def listeners(self) -> list[Listener]:
        return [worker.listener for worker in self.workers.values()]

    async def open(self, stack: ServerStack, partitions: int, changed: Mapping[str, str] | None = None) -> None:
        """New topics, and all workers equipped for them; none runs yet. `changed`: variables for all of them."""
        self.opened += 1
        self.topics = f"f{secrets.token_hex(3)}."
        self.environment = stack.environment() | {
            "HEADRACE_TOPIC_PREFIX": self.topics,
            "HEADRACE_PARTITIONS": str(partitions),
            "HEADRACE_SESSION_S": str(SESSION_S),
            "HEADRACE_EMBED_BATCH": str(EMBED_BATCH),
            "HEADRACE_EMBED_WINDOW": str(EMBED_WINDOW),
            "HEADRACE_CONTENT_PROCESSES": "1",
            "HEADRACE_HTTP_PORT": str(self.http_port),
            **(changed or {}),
        }
        self.settings = Settings.from_env(self.environment)
        if self.opened == 1:
            await self.openai.start()
            await self._string(stack)
        self.store = VectorStore(self.settings)
        where = self.directory / f"{self.number}-{self.opened}"
        for worker in self.workers.values():
            worker.equip(self._environment_of(worker, where), where)

    async def close_topics(self) -> None:
        for worker in self.workers.values():
            worker.thaw()
            worker.kill()
        self.heal()
        await self.store.stop()

    async def close(self) -> None:
        """Harmless where it was never opened."""
        if self.opened:
            await self.close_topics()
            await self.openai.stop()
        await self.api.close()
        self._claim.close()
        for worker in self.workers.values():
            for wire in worker.wires.values():
                await wire.stop()

    def heal(self) -> None:
        """Everything but the processes."""
        self.openai.heal()
        for worker in self.workers.values():
            for wire in worker.wires.values():
                wire.be("whole")

    async def man(self, producers: int, consumers: int) -> None:
        """So many workers run, and those beyond leave."""
        crew = {f"producer-{n + 1}" for n in range(producers)} | {f"consumer-{n + 1}" for n in range(consumers)}
        crew.add("control-1")
        leaving = [worker.leave() for name, worker in self.workers.items() if name not in crew and worker.alive]
        for name in crew:
            self.workers[name].start()
        await asyncio.gather(*leaving)
        await self.api.ready()

    def _environment_of(self, worker: Worker, where: Path) -> dict[str, str]:
        port = {server: wire.port for server, wire in worker.wires.items()}
        return self.environment | {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port['kafka']}",
            "WEAVIATE_URL": f"http://127.0.0.1:{port['weaviate']}",
            "HEADRACE_WEAVIATE_GRPC_PORT": str(port["weaviate_grpc"]),
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port['openai']}/v1",
            "OPENAI_API_KEY": f"sk-{worker.name}",
            "HEADRACE_DATA_DIR": str(where / worker.name / "data"),
        }

    async def _string(self, stack: ServerStack) -> None:
        for worker in self.workers.values():
            worker.wires = {
                "kafka": Wire(worker.listener.port, worker.listener.advertised_port),
                "weaviate": Wire(stack.settings.weaviate_port),
                "weaviate_grpc": Wire(stack.settings.weaviate_grpc_port),
                "openai": Wire(self.openai.port),
            }
            for wire in worker.wires.values():
                await wire.start()


def _claimed_block() -> tuple[socket.socket, int]:
    """A block of ports, and the bound socket on its first that keeps other harnesses out of it."""
    while True:
        first, claim = random.choice(FIRST_PORTS), socket.socket()
        try:
            claim.bind(("127.0.0.1", first))
        except OSError:  # another harness is there
            claim.close()
        else:
            return claim, first
