"""Real servers, the three services, and fakes in processes of their own, for the time of one benchmark."""

import asyncio
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp

from headrace.embedded.ports import free_ports
from headrace.embedded.stack import ServerStack
from headrace.settings import Settings
from tests.support.api import Api
from tests.support.services import Service

signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is ended

LATENCY_MS = 300
DIMENSIONS = 1536


class Rig:
    """Servers and fakes that run; services are started by the benchmark."""

    def __init__(self, environment: dict[str, str], directory: Path, site_url: str, openai_url: str) -> None:
        (port,) = free_ports(1)
        self.environment = environment | {
            "HEADRACE_HTTP_PORT": str(port),
            "HEADRACE_DATA_DIR": str(directory / "data"),
            "OPENAI_API_KEY": "sk-bench",
            "OPENAI_BASE_URL": openai_url,
            "HEADRACE_LOG_LEVEL": "WARNING",
        }
        self.settings = Settings.from_env(self.environment)
        self.site_url, self.openai_url = site_url, openai_url
        self.servers_dir = directory / "servers"
        self.services = {n: Service(n, self.environment, directory) for n in ("producer", "consumer", "control")}
        self.api = Api(f"http://127.0.0.1:{port}")

    async def start(self, *names: str) -> None:
        for name in names or self.services:
            self.services[name].start()
        if not names or "control" in names:
            await self.api.ready()

    async def close(self) -> None:
        for service in self.services.values():
            service.close()
        await self.api.close()

    def definition(self) -> dict[str, object]:
        return {
            "source": {"urls": [self.site_url], "allow_addresses": ["127.0.0.0/8"]},
            "embedding": {"provider": "openai", "model": "text-embedding-3-small"},
        }


@asynccontextmanager
async def rig(pages: int, *, min_kb: int = 40, max_kb: int = 100) -> AsyncIterator[Rig]:
    """Everything that isn't measured, ready; the site has every page rendered before."""
    openai = ["tests.fakes.openai_server", "--latency-ms", str(LATENCY_MS), "--dimensions", str(DIMENSIONS)]
    site = ["tests.fakes.site", "--pages", str(pages), "--min-kb", str(min_kb), "--max-kb", str(max_kb)]
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        stack = ServerStack.ephemeral(directory / "servers", cache_dir=Settings.from_env().cache_dir)
        with stack, fake([*openai, "--estimate-tokens"]) as openai_url, fake(site) as site_url:
            built = Rig(stack.environment(), directory, site_url, openai_url)
            await warm(site_url)
            try:
                yield built
            finally:
                await built.close()


@contextmanager
def fake(module_and_arguments: list[str]) -> Iterator[str]:
    """A fake as a process; gives its address."""
    with fake_process(module_and_arguments) as (address, _):
        yield address


@contextmanager
def fake_process(module_and_arguments: list[str]) -> Iterator[tuple[str, int]]:
    """Its address, and its process id."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", *module_and_arguments, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


async def warm(site_url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(site_url) as response:
        await response.read()


def line(label: str, value: float, unit: str, note: str = "") -> None:
    print(f"  {label:<44} {value:10.1f} {unit:<12} {note}".rstrip(), flush=True)


def run(benchmark: object) -> int:
    asyncio.run(benchmark)  # type: ignore[arg-type]
    return 0
