"""The one table of who may call what: each route of the server, with the role it needs and how a scope bounds it."""

from dataclasses import dataclass
from typing import Literal

from headrace.tokens import Role

Bound = Literal["path", "answer", "whole", "none"]
"""path: the knowledge base or job in the path must be within the token's scope. answer: the call leaves out what is
not. whole: only for tokens whose scope is everything. none: it tells nothing of a knowledge base."""


@dataclass(frozen=True)
class Need:
    """`role` None: nobody is asked. `counted`: the call counts against a rate limit."""

    role: Role | None
    bound: Bound
    counted: bool = True


_OPEN = Need(None, "none")
_PROBE = Need(None, "none", counted=False)
_API = "/api/ingestion"
_KB, _JOB, _KB_JOB = f"{_API}/kb/{{kb}}", f"{_API}/jobs/{{job}}", f"{_API}/kb/{{kb}}/jobs/{{job}}"
_READ, _OPERATE, _ADMIN = Need("read", "path"), Need("operate", "path"), Need("admin", "path")

NEEDS: dict[str, Need] = {
    f"GET {_API}/kb": Need("read", "answer"),
    f"GET {_KB}": _READ,
    f"PUT {_KB}": _ADMIN,
    f"DELETE {_KB}": _ADMIN,
    f"POST {_KB}/start": _OPERATE,  # with a definition, admin: see control/handlers.py
    f"POST {_KB}/reembed": _ADMIN,
    f"POST {_KB}/pause": _OPERATE,
    f"POST {_KB}/resume": _OPERATE,
    f"POST {_KB}/cancel": _OPERATE,
    f"POST {_KB}/approve": _OPERATE,
    f"POST {_KB}/rollback": _OPERATE,
    f"POST {_KB}/vacuum": _ADMIN,
    f"POST {_KB}/search": _READ,
    **{f"GET {_KB}/{name}": _READ for name in ("status", "jobs", "events", "cost", "generations", "changes")},
    **{
        f"GET {job}{below}": _READ
        for job in (_JOB, _KB_JOB)
        for below in ("", "/pages", "/pages/summary", "/hosts", "/hosts/{host}/requests", "/events", "/history")
    },
    f"GET {_API}/cost": Need("read", "answer"),
    f"GET {_API}/partitions": Need("read", "answer"),
    f"GET {_API}/dead-letters": Need("read", "answer"),
    f"GET {_API}/dead-letters/{{partition}}/{{offset}}": Need("read", "answer"),
    f"POST {_API}/dead-letters/retry": Need("operate", "answer"),
    f"POST {_API}/preview": Need("admin", "none"),
    f"GET {_API}/events": Need("read", "answer"),
    f"POST {_API}/sql": Need("read", "whole"),
    f"GET {_API}/webhooks": Need("admin", "whole"),
    f"POST {_API}/webhooks/{{name}}/test": Need("admin", "whole"),
    f"GET {_API}/tokens/events": Need("admin", "whole"),
    f"GET {_API}/whoami": Need("read", "none"),
    f"POST {_API}/login": Need("read", "none"),
    f"POST {_API}/logout": _OPEN,
    "GET /": _OPEN,
    "GET /dashboard/{name}": _OPEN,
    "GET /openapi.json": _OPEN,
    "GET /metrics": Need("read", "whole"),
    "GET /healthz": _PROBE,
    "GET /readyz": _PROBE,
}
"""By method and path, as the routes have them."""


def need_of(method: str, path: str) -> Need:
    """Raises KeyError for a route that nobody thought about: the server does not start with one."""
    return NEEDS[f"{'GET' if method == 'HEAD' else method} {path}"]
