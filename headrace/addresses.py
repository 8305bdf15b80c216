"""Which socket addresses the crawler and webhooks may connect to: public ones, and what the operator allows.

They are judged inside the connector, on the socket address itself, after resolution: a name that resolves differently
a moment later (DNS rebinding) gains nothing.

`ipaddress.is_global` alone isn't enough: it passes addresses that carry another address inside (NAT64, 6to4,
IPv4-compatible), deprecated site-local ones and multicast. Sources: RFC 6890 and IANA's special-purpose
registries, RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 3879 (site-local).
"""

import errno
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORBIDDEN_V4 = tuple(
    (ipaddress.IPv4Network(cidr), why)
    for cidr, why in (
        ("0.0.0.0/8", "this network"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.175.48.0/24", "AS112"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_FORBIDDEN_V6 = tuple(
    (ipaddress.IPv6Network(cidr), why)
    for cidr, why in (
        ("2001::/23", "protocol assignments (Teredo and others)"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
        ("3ffe::/16", "6bone"),
    )
)


_PRIVATE = tuple(
    ipaddress.ip_network(cidr)
    for cidr in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
_REFUSED = re.compile(r"(\S+) is forbidden: ")


class AddressPolicy:
    """Judges numeric addresses as the socket will use them, never host names."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """`allow`: CIDR ranges that are reachable besides public ones. Raises ValueError naming a bad one."""
        self._allow: tuple[_Network, ...] = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in allow)

    def why_forbidden(self, address: str) -> str | None:
        """None when the address may be connected to, else the reason."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return "not a numeric address"
        return None if self._allowed(ip) else self._judge(ip)

    def _allowed(self, ip: IPv4 | IPv6) -> bool:
        inner = ip.ipv4_mapped if isinstance(ip, IPv6) else None
        return any(ip in network or (inner is not None and inner in network) for network in self._allow)

    def _judge(self, ip: IPv4 | IPv6) -> str | None:
        if isinstance(ip, IPv4):
            return _judge_v4(ip)
        if ip.ipv4_mapped is not None:
            return self.why_forbidden(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return self.why_forbidden(str(IPv4(int(ip) & 0xFFFF_FFFF)))
        return _judge_v6(ip)


class AddressForbidden(OSError):
    """Raised in place of a socket. An OSError, so that the connector tries the host's next address."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(errno.EACCES, f"{address} is forbidden: {why}")


def guarded_socket_factory(policy: AddressPolicy) -> Any:
    """For aiohttp's `TCPConnector`: raises AddressForbidden in place of a socket to what `policy` forbids."""

    def make(addr_info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        if (why := policy.why_forbidden(str(address[0]))) is not None:
            raise AddressForbidden(str(address[0]), why)
        return socket.socket(family, kind, protocol)

    return make


def forbidden_within(error: BaseException) -> str | None:
    """The refusal behind a connector's error; with several addresses the connector keeps only the joined texts."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressForbidden):
            return str(cause.strerror)
        if isinstance(cause, OSError) and cause.errno == errno.EACCES and "is forbidden: " in str(cause):
            return str(cause.strerror)
        cause = cause.__cause__
    return None


def range_needed(reason: str) -> str | None:
    """The CIDR range without which what ended with `reason` was refused; None where that was no such refusal."""
    found = _REFUSED.search(reason)
    try:
        return None if found is None else range_around(found[1])
    except ValueError:  # no numeric address: there is nothing to allow
        return None


def range_around(address: str) -> str:
    """The private range that holds it, as a person allows it; the address alone where it is in none."""
    ip = ipaddress.ip_address(address)
    return next((str(net) for net in _PRIVATE if ip.version == net.version and ip in net), address)


def _judge_v4(ip: IPv4) -> str | None:
    for network, why in _FORBIDDEN_V4:
        if ip in network:
            return why
    return None if ip.is_global else _kind(ip)


def _judge_v6(ip: IPv6) -> str | None:
    if ip not in _GLOBAL_UNICAST_V6:
        return _kind(ip)
    for network, why in _FORBIDDEN_V6:
        if ip in network:
            return why
    return None if ip.is_global else _kind(ip)


def _kind(ip: IPv4 | IPv6) -> str:
    for name in ("loopback", "link_local", "multicast", "unspecified", "private", "reserved"):
        if getattr(ip, "is_" + name):
            return name.replace("_", "-")
    return "not publicly reachable"
