"""The dashboard's files, as they stand in `dashboard/`: no build step, and nothing from another host."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from aiohttp import web

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PREFIX = "/dashboard"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Nothing but these files runs, and nothing can be sent elsewhere, whatever a site's text holds."""


@cache
def _files() -> Mapping[str, tuple[bytes, str, str]]:
    """Name to bytes, type and entity tag."""
    found = {}
    for each in resources.files("control").joinpath("dashboard").iterdir():
        kind = _TYPES.get(each.name[each.name.rfind(".") :])
        if kind is not None:
            body = each.read_bytes()
            found[each.name] = body, kind, f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return found


async def index(request: web.Request) -> web.Response:
    return _served(request, "index.html")


async def asset(request: web.Request) -> web.Response:
    return _served(request, request.match_info["name"])


def _served(request: web.Request, name: str) -> web.Response:
    if name not in _files():
        raise web.HTTPNotFound
    body, kind, tag = _files()[name]
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)
