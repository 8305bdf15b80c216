"""Requests of jobs against real servers on loopback: the number at once follows what the host takes."""

import asyncio

import pytest
from aiohttp import web

from producer.client import Client
from producer.fetch import Fetcher, FetchError
from producer.hosts import Hosts
from producer.urls import host_key
from schemas.facts import Request
from tests.fakes.serving import LoopbackServer
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import status

LOOPBACK = ("127.0.0.0/8",)


class Server(LoopbackServer):
    """Takes `base_s` for an answer, and `base_s` more for each request beyond `takes` at once."""

    def __init__(self, takes: int, base_s: float) -> None:
        super().__init__()
        self.takes, self.base_s = takes, base_s
        self.running = 0
        self.peaks: list[int] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._answer)
        return app

    async def _answer(self, _: web.Request) -> web.Response:
        self.running += 1
        self.peaks.append(self.running)
        try:
            await asyncio.sleep(self.base_s * max(1, 1 + self.running - self.takes) ** 2)
        finally:
            self.running -= 1
        return web.Response(text="page")


async def crawl(server: Server, pages: int, concurrency: int = 16) -> int:
    """Asks for pages, as many at once as it may; gives the limit that came of it."""
    url = f"http://127.0.0.1:{server.port}/"
    client = Client(Fetcher("Headrace/test", LOOPBACK), Hosts().share(concurrency, 0.0))
    await client.start()
    try:
        await asyncio.gather(*(client.get(f"{url}{n}", "page") for n in range(pages)))
        return client.share.standing(host_key(url)).limit
    finally:
        await client.stop()


async def test_a_server_that_slows_down_under_load_is_asked_less_at_once_than_it_may_be() -> None:
    async with Server(takes=4, base_s=0.03) as server:
        limit = await crawl(server, 120)
    assert limit <= 7
    assert max(server.peaks) <= 9
    assert max(server.peaks) > 2, "it grew from where it began"


async def test_a_server_that_does_not_slow_down_is_asked_as_much_as_it_may_be() -> None:
    async with Server(takes=100, base_s=0.01) as server:
        assert await crawl(server, 300) == 16
    assert max(server.peaks) == 16


async def test_a_host_that_stays_unwell_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.hosts.FIRST_BACK_OFF_S", 0.05)
    monkeypatch.setattr("producer.hosts.PATIENCE_S", 0.2)
    noted: list[Request] = []
    async with FakeSite(pages=1) as site:
        site.behave("/docs/", status(503))
        client = Client(Fetcher("Headrace/test", LOOPBACK), Hosts().share(8, 0.0), note=noted.append)
        await client.start()
        try:
            with pytest.raises(FetchError, match="no good answer") as given_up:
                for _ in range(100):
                    await client.get(site.url, "page")
        finally:
            await client.stop()
    assert (given_up.value.kind, given_up.value.transient) == ("host_unwell", False)
    assert len(noted) == site.requests["/docs/"] < 10, "what was not asked stands in no ledger"
