"""The sample site as a crawler sees it."""

import socket
from collections.abc import Iterator

import aiohttp
import pytest

from headrace.embedded.ports import free_ports
from headrace.sample import SampleSite


@pytest.fixture
def site() -> Iterator[SampleSite]:
    with SampleSite(free_ports(1)[0]) as running:
        yield running


async def test_it_serves_pages_with_validators(site: SampleSite) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(site.url) as first:
            assert "Python language reference" in await first.text()
            validators = {"If-None-Match": first.headers["ETag"]}
            assert first.headers["Last-Modified"].endswith("GMT")
        async with http.get(site.url, headers=validators) as second:
            assert second.status == 304


async def test_the_root_redirects_and_the_rest_is_not_there(site: SampleSite) -> None:
    root = f"http://127.0.0.1:{site.port}/"
    async with aiohttp.ClientSession() as http:
        async with http.get(root) as response:
            assert str(response.url) == site.url
        async with http.get(root + "robots.txt") as response:
            assert "Allow: /" in await response.text()
        async with http.get(root + "reference/none.html") as response:
            assert response.status == 404


def test_a_taken_port_is_no_obstacle() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, SampleSite(taken.getsockname()[1]) as site:
        assert site.port != taken.getsockname()[1]


def test_the_port_is_the_same_again() -> None:
    (port,) = free_ports(1)
    for _ in range(2):
        with SampleSite(port) as site:
            assert site.port == port
