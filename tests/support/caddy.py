"""The proxy of docker-compose.production.yml: a real Caddy with docker/Caddyfile, on ports and with an authority of its
own; nothing is put into the system's trust store."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from headrace.embedded.ports import free_ports
from tests.support.debian import unpacked
from tests.support.program import serving

CADDYFILE = Path(__file__).parents[2] / "docker" / "Caddyfile"
OPTIONS = """{{
	http_port {http}
	https_port {https}
	admin off
	skip_install_trust
	storage file_system {directory}/caddy
}}
"""


@dataclass(frozen=True)
class Proxy:
    """`plain` is where it sends everybody on to `url`."""

    url: str
    plain: str
    authority: Path

    def client(self, *, address: str = "127.0.0.1", token: str | None = None) -> aiohttp.ClientSession:
        """Somebody at an address of loopback."""
        trusting = ssl.create_default_context(cafile=str(self.authority))
        connector = aiohttp.TCPConnector(ssl=trusting, local_addr=(address, 0), family=socket.AF_INET)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return aiohttp.ClientSession(connector=connector, headers=headers)


@asynccontextmanager
async def proxied(url: str, directory: Path) -> AsyncIterator[Proxy]:
    """In front of the control at `url`. Skips the test where there is no Caddy."""
    path, reason = await asyncio.to_thread(unpacked, "caddy", "caddy")
    if path is None:
        pytest.skip(reason)
    http, https = free_ports(2)
    authority = directory / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    proxy = Proxy(f"https://localhost:{https}", f"http://localhost:{http}", authority)
    options = OPTIONS.format(http=http, https=https, directory=directory)
    config = _written(directory, options, urlsplit(url).netloc)

    async def answers() -> bool:
        async with proxy.client() as client, client.get(f"{proxy.url}/healthz") as answer:
            return answer.status == 200

    arguments = [path, "run", "--config", str(config), "--adapter", "caddyfile"]
    async with serving(arguments, directory, answers, HEADRACE_DOMAIN="localhost"):
        yield proxy


def _written(directory: Path, options: str, upstream: str) -> Path:
    """docker/Caddyfile with these options, in front of another address."""
    site = CADDYFILE.read_text(encoding="utf-8")
    assert "reverse_proxy control:8000" in site
    directory.mkdir(exist_ok=True)
    config = directory / "Caddyfile"
    config.write_text(options + site.replace("control:8000", upstream), encoding="utf-8")
    return config
