"""Who asks, where proxies stand between."""

import ipaddress
import re
from collections.abc import Sequence

from aiohttp import web

from headrace.settings import Network


def address_of(request: web.Request, proxies: Sequence[Network]) -> str:
    """The nearest address that is no proxy of ours.

    Each proxy puts at the end of `X-Forwarded-For` by whom it was asked; what stands before that anybody can write.
    """
    nearest = request.remote or ""
    hops = [_bare(hop.strip()) for line in request.headers.getall("X-Forwarded-For", ()) for hop in line.split(",")]
    while hops and _among(nearest, proxies) and _parsed(hops[-1]) is not None:
        nearest = hops.pop()
    return nearest


def _bare(hop: str) -> str:
    """The address: some proxies write its port, too, and IPv6 in brackets."""
    found = re.fullmatch(r"\[(.+)\](?::\d+)?|([\d.]+):\d+", hop)
    return (found[1] or found[2]) if found else hop


def _among(address: str, networks: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if parsed.version == 6 else parsed
