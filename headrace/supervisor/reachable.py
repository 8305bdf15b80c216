"""Whether somebody listens: asked before a client is made that would fill the screen with refused connections."""

import socket
from urllib.parse import urlsplit

CONNECT_S = 3.0


def any_listens(bootstrap_servers: str) -> bool:
    """Whether one of `host:port[,host:port]` accepts a connection."""
    return any(_accepts(server.strip()) for server in bootstrap_servers.split(","))


def url_listens(url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return _accepts(f"{parts.hostname}:{port}")


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError):  # refused, unknown or malformed: nobody there
        return False
    return True
