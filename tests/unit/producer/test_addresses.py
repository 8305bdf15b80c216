"""Which addresses are public, in whatever spelling a URL, a redirect or a name's resolution brings them."""

import ipaddress
import socket
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import web

from headrace.addresses import AddressForbidden, AddressPolicy, range_needed
from producer.fetch import Fetcher, FetchError, Timeouts
from producer.urls import UrlError, canonical, host_key
from tests.fakes.resolver import FakeResolver
from tests.unit.producer.address_cases import INSIDE, INVALID, PUBLIC

FAST = Timeouts(connect_s=2, read_s=2, total_s=3)


def address_in(spelling: str) -> str:
    """The address that a client connects to for this host, as text."""
    return host_key(canonical(f"http://{spelling}/")).strip("[]")


NUMBERS = sorted({address_in(spelling) for spelling in INSIDE})


@pytest_asyncio.fixture(scope="module")
async def redirecting() -> AsyncIterator[str]:
    """A server on 127.0.0.2 that sends everyone to `?to=`, and closes each connection."""

    async def answer(request: web.Request) -> web.Response:
        to = request.query.get("to")
        headers = {"Location": to, "Connection": "close"} if to else {"Connection": "close"}
        return web.Response(status=302 if to else 200, headers=headers)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = socket.create_server(("127.0.0.2", 0))
    await web.SockSite(runner, listener).start()
    yield f"http://127.0.0.2:{listener.getsockname()[1]}/"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("refused", "needed"),
    [
        ("127.0.0.1", "127.0.0.0/8"), ("192.168.1.5", "192.168.0.0/16"), ("::1", "::1/128"), ("fd00::5", "fc00::/7"),
        ("fe80::1%eth0", "fe80::/10"), ("64:ff9b::a00:1", "64:ff9b::a00:1"), ("nonsense", None),
    ],
)  # fmt: skip
def test_a_refusal_tells_what_has_to_be_allowed(refused: str, needed: str | None) -> None:
    assert (
        range_needed(f"robots.txt is unreachable (address_forbidden: {AddressForbidden(refused, 'x').strerror})")
        == needed
    )
    assert range_needed("status 404") is None


def test_the_table_is_large_and_says_each_thing_once() -> None:
    every = [*INSIDE, *PUBLIC, *INVALID]
    assert len(every) == len(set(every)) >= 150


@pytest.mark.parametrize("spelling", INSIDE)
def test_what_leads_inside_is_forbidden(spelling: str) -> None:
    address = address_in(spelling)
    assert ipaddress.ip_address(address), "a number in disguise is a number by now"
    assert AddressPolicy().why_forbidden(address)


@pytest.mark.parametrize("spelling", PUBLIC)
def test_what_is_public_may_be_reached(spelling: str) -> None:
    assert AddressPolicy().why_forbidden(address_in(spelling)) is None


@pytest.mark.parametrize("spelling", INVALID)
def test_what_is_no_host_is_no_url(spelling: str) -> None:
    with pytest.raises(UrlError):
        canonical(f"http://{spelling}/")


@pytest.mark.parametrize("spelling", [*INSIDE, *INVALID])
async def test_a_redirect_leads_nowhere_inside(redirecting: str, spelling: str) -> None:
    async with Fetcher("T/1", allow_addresses=["127.0.0.2/32"], timeouts=FAST) as fetcher:
        try:
            target = (await fetcher.fetch(f"{redirecting}?to=" + quote(f"http://{spelling}/", safe=""))).redirect_to
        except FetchError as error:
            assert (spelling in INVALID, error.kind) == (True, "bad_redirect")
            return
        assert target is not None
        with pytest.raises(FetchError) as caught:
            await fetcher.fetch(target)
    assert (caught.value.kind, caught.value.sent.status) == ("address_forbidden", None)


@pytest.mark.parametrize("address", NUMBERS)
async def test_no_name_leads_inside(address: str) -> None:
    async with Fetcher("T/1", timeouts=FAST, resolver=FakeResolver([address])) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.fetch("http://localhost.example/")
    assert caught.value.kind == "address_forbidden"


async def test_a_name_that_is_bound_anew_is_judged_anew(redirecting: str) -> None:
    """The first answer may be reached, the second may not: what is judged is what the socket is opened to."""
    resolver, url = FakeResolver(["127.0.0.2"], ["127.0.0.1"]), redirecting.replace("127.0.0.2", "rebound.example")
    for _ in range(2):
        async with Fetcher("T/1", allow_addresses=["127.0.0.2/32"], timeouts=FAST, resolver=resolver) as fetcher:
            if resolver.asked == 0:
                assert (await fetcher.fetch(url)).status == 200
                continue
            with pytest.raises(FetchError) as caught:
                await fetcher.fetch(url)
            assert caught.value.kind == "address_forbidden"
    assert resolver.asked == 2


async def test_of_a_names_addresses_only_those_outside_are_tried(redirecting: str) -> None:
    resolver = FakeResolver(["127.0.0.1", "::1", "10.0.0.1", "127.0.0.2"])
    async with Fetcher("T/1", allow_addresses=["127.0.0.2/32"], timeouts=FAST, resolver=resolver) as fetcher:
        assert (await fetcher.fetch(redirecting.replace("127.0.0.2", "mixed.example"))).status == 200


@pytest.mark.parametrize("text", ["localhost", "127.1", "0x7f.1", "", "::1::", "fe80::1%eth0%"])
def test_only_numeric_addresses_are_judged(text: str) -> None:
    assert AddressPolicy().why_forbidden(text)


def test_a_zone_changes_nothing() -> None:
    assert AddressPolicy().why_forbidden("fe80::1%eth0") == "link-local"


def test_allowed_ranges_hold_for_the_forms_that_carry_them() -> None:
    policy = AddressPolicy(["127.0.0.0/8", "fd00::/8"])
    assert policy.why_forbidden("127.0.0.1") is None
    assert policy.why_forbidden("::ffff:127.0.0.1") is None
    assert policy.why_forbidden("fd12::1") is None
    assert policy.why_forbidden("10.0.0.1") == "private"


def test_a_bad_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"300\.0\.0\.0/8"):
        AddressPolicy(["300.0.0.0/8"])
