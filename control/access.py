"""Who asks, and whether they may: API tokens, logins, scopes and rate limits, before any handler runs.

Without a file of tokens, a control on loopback asks nobody. Once there is one, everybody is asked, until it is started
anew without: a file that vanishes opens nothing.
"""

import hashlib
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from control.engine import Engine
from control.forwarded import address_of
from control.limits import Limits
from control.problems import Forbidden, NotFound, TooMany, Unauthorized
from control.requests import READS
from control.roles import Need, need_of
from control.seats import Seats
from control.sessions import COOKIE, Session, Sessions
from headrace.private_file import Stamp, stamp_of
from headrace.settings import Settings
from headrace.tokens import ROLES, InvalidTokens, Role, Token, proven, read_tokens, sees

log = logging.getLogger(__name__)

ADDRESS_RATE, ADDRESS_BURST = 10.0, 200.0
"""Calls a second of an address without a token, and at once: opening the page takes a dozen."""
REFUSED_COSTS = 10.0
"""A token that is not taken counts as so many calls."""
MOST_STREAMS = 1_000
"""Of events, at once; a quarter of them for each token."""
MOST_DOWNLOADS = 16
"""Answers to SQL under way, likewise: each may be a file of 256 MiB until it is taken."""
VIEW_CHARS = 12
_STACK = "headrace up"

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Caller:
    """`token` None: anybody, where no token is asked for. `digest`: of the secret that was shown.

    `login`: by whose cookie it was.
    """

    token: Token | None = None
    digest: bytes = b""
    login: Session | None = None

    @property
    def role(self) -> Role:
        return self.token.role if self.token else "admin"

    @property
    def kbs(self) -> tuple[str, ...]:
        return self.token.kbs if self.token else ()

    @property
    def is_stack(self) -> bool:
        """Whether it is who started this control, or might be: where nobody is asked."""
        return self.token is None or self.token.name == _STACK

    @property
    def actor(self) -> str:
        """As it stands in commands and the audit trail."""
        return f"token:{self.token.name}" if self.token else "http"

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, kb_id: str) -> bool:
        return sees(self.kbs, kb_id)

    def require(self, role: Role, what: str) -> None:
        """Raises Forbidden."""
        if not self.may(role):
            raise Forbidden(f"{what} takes a token with the role {role}; this one has {self.role}", code="role")

    def require_kb(self, kb_id: str) -> None:
        """Raises Forbidden."""
        if not self.sees(kb_id):
            raise Forbidden(f"{kb_id} is beyond this token's scope: {', '.join(self.kbs)}", code="scope")


class Watched:
    """Of the knowledge bases that are asked for, or of all, those within the caller's scope, later ones too.

    Raises Forbidden for one that is asked for and is not.
    """

    def __init__(self, caller: Caller, asked: frozenset[str]) -> None:
        self.caller, self._asked = caller, asked
        for kb_id in asked:
            caller.require_kb(kb_id)

    @property
    def view(self) -> str:
        """Equal where role, scope and what is asked for are: what changes with them is to be told anew."""
        by = msgspec.json.encode((self.caller.role, sorted(self.caller.kbs), sorted(self._asked)))
        return hashlib.sha256(by).hexdigest()[:VIEW_CHARS]

    def __contains__(self, kb_id: object) -> bool:
        return isinstance(kb_id, str) and (not self._asked or kb_id in self._asked) and self.caller.sees(kb_id)


_CALLER = web.RequestKey("caller", Caller)


def caller_of(request: web.Request) -> Caller:
    return request[_CALLER]


class TokenBook:
    """The tokens of the file as it is now: a look at each request, read again where it has changed."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.tokens
        self._stack = {
            token_id: Token(id=token_id, name=_STACK, role="admin", sha256=sha256, created_at="")
            for token_id, sha256 in settings.stack_token
        }
        self._seen: Stamp | None = None
        self._known: dict[str, Token] = dict(self._stack)
        self._required = False

    def required(self) -> bool:
        """Whether a token is asked for."""
        self._look()
        return self._required

    def proven(self, text: str) -> Caller | None:
        self._look()
        found = proven(text, self._known, datetime.now(UTC))
        return Caller(*found) if found else None

    def still(self, token_id: str, digest: bytes) -> Token | None:
        """The token, if a secret of this digest is still taken for it."""
        self._look()
        token = self._known.get(token_id)
        return token if token is not None and digest in token.digests(datetime.now(UTC)) else None

    def _look(self) -> None:
        now = stamp_of(self._path)
        if now == self._seen:
            return
        self._seen, self._required = now, True
        try:
            read = {token.id: token for token in read_tokens(self._path)}
            log.info("%d tokens read from %s", len(read), self._path)
            self._known = {**self._stack, **read}
        except InvalidTokens as exc:
            log.error("%s; those that were read before stay in force", exc)


class Gate:
    """`admit` each request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.listens_on = engine.settings.http_host
        self.tokens = TokenBook(engine.settings)
        self.sessions = Sessions()
        self.streams = Seats("streams of events", total=MOST_STREAMS, share=MOST_STREAMS // 4)
        self.downloads = Seats("answers to SQL", total=MOST_DOWNLOADS, share=MOST_DOWNLOADS // 4)
        rate = engine.settings.http_rate
        self._of_tokens = Limits(rate, 2 * rate) if rate else None
        self._of_addresses = Limits(ADDRESS_RATE, ADDRESS_BURST)

    def admit(self, request: web.Request, need: Need) -> Caller | None:
        """Who asks; None where nobody is asked. Raises Unauthorized, Forbidden, NotFound or TooMany."""
        if not self.tokens.required():
            return Caller()
        caller = self._shown(request)
        self._count(request, need, caller)
        if need.role is None:
            return caller
        if caller is None:
            raise self._unauthorized(request)
        if caller.login and request.method not in READS and "Origin" not in request.headers:
            raise Forbidden("a browser that is logged in says from which page it writes, and this did not", code="role")
        caller.require(need.role, f"{request.method} {request.rel_url.raw_path}")
        self._check_scope(request, need, caller)
        return caller

    def stands(self, caller: Caller) -> bool:
        """Whether it would still be admitted, to the same."""
        if caller.token is None:
            return not self.tokens.required()
        if caller.login is not None and not self.sessions.stands(caller.login):
            return False
        token = self.tokens.still(caller.token.id, caller.digest)
        return token is not None and (token.role, token.kbs) == (caller.role, caller.kbs)

    def _shown(self, request: web.Request) -> Caller | None:
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        if kind:
            return self.tokens.proven(text.strip()) if kind.lower() == "bearer" else None
        session = self.sessions.find(request.cookies.get(COOKIE, ""))
        token = self.tokens.still(session.token_id, session.digest) if session else None
        return Caller(token, session.digest, session) if session and token else None

    def _count(self, request: web.Request, need: Need, caller: Caller | None) -> None:
        if not need.counted:
            return
        if caller is not None and caller.token is not None:
            wait_s = self._of_tokens.take(caller.token.id) if self._of_tokens else None
            whose = f"the token {caller.token.name}"
        else:
            refused = need.role is not None
            wait_s = self._of_addresses.take(self._address(request), REFUSED_COSTS if refused else 1.0)
            whose = "your address, without a token that is taken,"
        if wait_s is not None:
            raise TooMany(f"more requests than {whose} may make; try again later", retry_after_s=math.ceil(wait_s))

    def _unauthorized(self, request: web.Request) -> Unauthorized:
        address = self._address(request)
        log.warning("%s %s from %s: no token that is taken", request.method, request.rel_url.raw_path, address)
        if "Authorization" in request.headers:
            return Unauthorized("this token is not known, or was revoked, rotated or has expired", code="token-refused")
        return Unauthorized(
            "a token is asked for: `Authorization: Bearer hr_…`; "
            "`headrace token create` makes one on control's machine",
            code="token-missing",
        )

    def _address(self, request: web.Request) -> str:
        return address_of(request, self._engine.settings.http_proxies)

    def _check_scope(self, request: web.Request, need: Need, caller: Caller) -> None:
        if not caller.kbs or need.bound in ("answer", "none"):
            return
        if need.bound == "whole":
            raise Forbidden(
                f"this tells of all knowledge bases; the token's scope is {', '.join(caller.kbs)}", code="scope"
            )
        if kb_id := request.match_info.get("kb"):
            caller.require_kb(kb_id)
        elif job_id := request.match_info.get("job"):
            command = self._engine.books.commands.get(job_id)
            if command is not None and not caller.sees(command.kb_id):
                raise NotFound(f"there is no job {job_id!r}", code="unknown-job")


GATE = web.AppKey("gate", Gate)
_UNKNOWN = Need(None, "none")
"""A path that there is not."""


def guarding(gate: Gate) -> Middleware:
    """The one middleware that asks; behind the one that turns problems into answers."""

    @web.middleware
    async def guard(request: web.Request, handler: Next) -> web.StreamResponse:
        resource = request.match_info.route.resource
        need = need_of(request.method, resource.canonical) if resource else _UNKNOWN
        if (caller := gate.admit(request, need)) is not None:
            request[_CALLER] = caller
        return await handler(request)

    return guard
