"""Ports on loopback: free ones, and who holds a taken one (read from /proc, Linux only)."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from headrace.embedded.config import LOOPBACK
from headrace.embedded.errors import PortTaken

#: Below Linux' range for outgoing connections (32768 and up), so that no client socket takes a port between
#: the moment it is found free and the moment the server binds it.
_SERVER_PORTS = range(15_000, 32_000)
#: The golden section of the range, with which it shares no divisor: processes with ids near each other begin far apart.
_STRIDE = 10_507
_drawn = itertools.count()
_CLOSING_S = 5.0
_LISTEN_STATE = "0A"  # include/net/tcp_states.h: TCP_LISTEN


@dataclass(frozen=True, slots=True)
class PortHolder:
    """The process that listens on a port."""

    pid: int
    command: str


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nobody listens on now.

    A process goes through them in turn, from a place of its own: none is given out again while the server that it is
    for starts, or is down for a while, be it here or in a process beside this one.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = _SERVER_PORTS[(os.getpid() * _STRIDE + next(_drawn)) % len(_SERVER_PORTS)]
            bound = _try_bind(port)
            if bound is not None:
                held.enter_context(bound)
                ports.append(port)
        return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    bound = _try_bind(port)
    if bound is None:
        return False
    bound.close()
    return True


def require_free(port: int, *, server: str, setting: str) -> None:
    """Raise `PortTaken`, naming the holder and the setting to change, when `port` can't be listened on."""
    if is_free(port):
        return
    holder = holder_of(port)
    if holder is None and _frees_itself(port):
        return
    who = f"process {holder.pid} ({holder.command})" if holder else "a process of another user"
    raise PortTaken(
        f"Port {port}, which {server} wants, is taken by {who}. "
        f"Stop that process, or choose another port with {setting}=<port>."
    )


def _frees_itself(port: int) -> bool:
    """Whether a socket that holds the port without listening lets go of it within `_CLOSING_S`."""
    give_up_at = time.monotonic() + _CLOSING_S
    while time.monotonic() < give_up_at:
        if is_free(port):
            return True
        time.sleep(0.1)
    return False


def holder_of(port: int) -> PortHolder | None:
    """Who listens on `port`; None where nobody does, or /proc doesn't tell (another user's process, macOS)."""
    inodes = {inode for _, listening, inode in _listen_rows() if listening == port}
    for pid in _pids():
        if inodes & _socket_inodes(pid):
            return PortHolder(pid, command_of(pid))
    return None


def listens_beyond_loopback(pid: int) -> list[int]:
    """The ports on which process `pid` can be reached from other machines, in order."""
    inodes = _socket_inodes(pid)
    return sorted(port for address, port, inode in _listen_rows() if inode in inodes and not _is_loopback(address))


def command_of(pid: int) -> str:
    """The command line of a process, cut to one readable line; empty when it is gone or hidden."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile: then there is no command to show
        return ""
    return " ".join(word.decode(errors="replace") for word in words).strip()[:160]


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone or another user's."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # gone or hidden: it tells nothing
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _try_bind(port: int) -> socket.socket | None:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As servers do it: a connection in TIME_WAIT is no obstacle, a listener is.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((LOOPBACK, port))
        bound.listen(1)
    except OSError as failure:
        bound.close()
        if failure.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return bound


def _listen_rows() -> Iterator[tuple[str, int, int]]:
    """(address, port, inode) of every listening TCP socket; the address in /proc's hexadecimal."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for row in table.read_text().splitlines()[1:]:
            columns = row.split()
            if columns[3] == _LISTEN_STATE:
                address, port = columns[1].split(":")
                yield address, int(port, 16), int(columns[9])


def _is_loopback(address: str) -> bool:
    """`address` is in host byte order per 32-bit word: 127.0.0.1 is 0100007F on little-endian machines."""
    if len(address) == 8:
        return address.endswith("7F")
    mapped = address.startswith("0" * 16 + "FFFF0000") and address.endswith("7F")
    return mapped or address == "0" * 24 + "01000000"


def _pids() -> Iterator[int]:
    proc = Path("/proc")
    if proc.exists():
        yield from (int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())


def _socket_inodes(pid: int) -> set[int]:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # the process ended, or is another user's: nothing to see
        return set()
    targets = (_target(descriptor) for descriptor in descriptors)
    return {int(target[8:-1]) for target in targets if target.startswith("socket:[")}


def _target(descriptor: Path) -> str:
    try:
        return descriptor.readlink().name
    except OSError:  # closed since it was listed
        return ""
