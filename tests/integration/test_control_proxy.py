"""Control behind the Caddy of docker-compose.production.yml: HTTPS, logins, server-sent events, addresses."""

import asyncio
import ipaddress
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from control.access import ADDRESS_BURST, REFUSED_COSTS
from control.sessions import COOKIE
from headrace.settings import Settings
from headrace.tokens import create
from tests.integration.control_play import API, DEFINITION, Api, control, kb_name
from tests.integration.test_control_watch import watching
from tests.support.caddy import Proxy, proxied

CADDY = ipaddress.ip_network("127.0.0.1")


@asynccontextmanager
async def behind(settings: Settings, directory: Path) -> AsyncIterator[tuple[Proxy, str]]:
    """The proxy, and an admin's token."""
    _, token = create(settings.tokens, "me", "admin")
    async with control(settings, http_proxies=(CADDY,)) as api, proxied(api.url, directory) as proxy:
        yield proxy, token


async def test_a_login_is_encrypted_and_writes_from_its_own_page_only(settings: Settings, tmp_path: Path) -> None:
    kb = f"{API}/kb/{kb_name()}"
    async with behind(settings, tmp_path / "proxy") as (proxy, token), proxy.client() as browser:
        async with browser.get(f"{proxy.plain}/", allow_redirects=False) as plain:
            assert (plain.status, plain.headers["Location"]) == (308, "https://localhost/")
        async with browser.get(f"{proxy.url}/") as page:
            assert page.status == 200 and "Content-Security-Policy" in page.headers
        login = {"Authorization": f"Bearer {token}", "Origin": proxy.url}
        async with browser.post(f"{proxy.url}{API}/login", headers=login) as answer:
            cookie = answer.cookies[COOKIE]
            assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "Strict"

        async def define(**headers: str) -> int:
            async with browser.put(f"{proxy.url}{kb}", json=DEFINITION, headers=headers) as answer:
                return answer.status

        port = proxy.url.rpartition(":")[2]
        foreign = (f"https://elsewhere.localhost:{port}", proxy.url + "0", "null")
        assert [await define(Origin=each) for each in foreign] == [403] * 3
        assert await define() == 403, "it does not say whose page writes"
        assert await define(Origin=proxy.url) == 200
        async with browser.post(f"{proxy.url}{API}/logout", headers={"Origin": proxy.url}) as answer:
            assert answer.status == 200
        async with browser.get(f"{proxy.url}{API}/whoami") as answer:
            assert answer.status == 401


async def test_events_come_one_by_one_and_go_on_where_they_were(settings: Settings, tmp_path: Path) -> None:
    first, second, third = kb_name(), kb_name(), kb_name()
    async with behind(settings, tmp_path / "proxy") as (proxy, token), proxy.client(token=token) as client:
        api = Api(client, proxy.url)
        async with watching(api) as watcher:
            await watcher.until("reset")
            for kb in (first, second):  # the second is made only once the first has come through
                await api.ok("PUT", f"{API}/kb/{kb}", DEFINITION)
                await watcher.until("kb", kb_id=kb)
        await api.ok("PUT", f"{API}/kb/{third}", DEFINITION)
        async with watching(api, last_id=watcher.last_id) as watcher:
            await watcher.until("kb", kb_id=third)
            assert [data["kb_id"] for _, data in watcher.events] == [third]


async def test_who_guesses_tokens_holds_up_no_other_address(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with behind(settings, tmp_path / "proxy") as (proxy, _):
        async with proxy.client(address="127.0.0.7", token="hr_guessed") as guesser:
            forged = [{"X-Forwarded-For": f"192.0.2.{n}"} for n in range(int(ADDRESS_BURST / REFUSED_COSTS) + 10)]
            tries = [await _status(guesser, f"{proxy.url}{API}/kb", each) for each in forged]
            assert tries[0] == 401 and 429 in tries, tries
        async with proxy.client(address="127.0.0.8") as other:
            assert await _status(other, f"{proxy.url}/") == 200
    assert f"GET {API}/kb from 127.0.0.7: no token that is taken" in caplog.text
    assert "192.0.2." not in caplog.text


async def test_the_command_line_trusts_an_authority_that_it_is_told(settings: Settings, tmp_path: Path) -> None:
    kb = kb_name()
    async with behind(settings, tmp_path / "proxy") as (proxy, token):
        async with proxy.client(token=token) as client:
            await Api(client, proxy.url).ok("PUT", f"{API}/kb/{kb}", DEFINITION)
        given = {"HEADRACE_URL": proxy.url, "HEADRACE_TOKEN": token, "HEADRACE_DATA_DIR": str(tmp_path)}
        listed = await _command(given | {"SSL_CERT_FILE": str(proxy.authority)}, "kb", "list")
        assert listed.returncode == 0 and kb in listed.stdout, listed.stderr
        refused = await _command(given, "kb", "list")
        assert refused.returncode != 0 and "SSL_CERT_FILE" in refused.stderr


async def _status(client: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> int:
    async with client.get(url, headers=headers) as answer:
        return answer.status


async def _command(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace.cli", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False
    )
