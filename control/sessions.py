"""Logins of the page: a cookie that stands for a token, so that no script ever holds the token itself."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from headrace.tokens import digest_of

COOKIE = "headrace_session"
LASTS_S = 12 * 3_600
"""A working day; then the page asks for the token again."""
MAX_SESSIONS = 1_000
"""The oldest makes room."""


@dataclass(frozen=True)
class Session:
    """`digest` is of the secret that was logged in with: a rotation ends what began before it.

    `key`: by which it is found, the hash of the cookie's value.
    """

    key: bytes
    token_id: str
    digest: bytes
    until: float


class Sessions:
    """In memory: whoever restarts control logs everybody out, and nothing that is kept can be replayed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, token_id: str, digest: bytes) -> str:
        """The cookie's value."""
        value = secrets.token_urlsafe(32)
        session = Session(digest_of(value), token_id, digest, self._clock() + LASTS_S)
        self._open[session.key] = session
        if len(self._open) > MAX_SESSIONS:
            self._open.popitem(last=False)
        return value

    def find(self, value: str) -> Session | None:
        """By the value's hash, so that how long it takes tells nothing of another's."""
        found = self._open.get(digest_of(value))
        return found if found is not None and self.stands(found) else None

    def stands(self, session: Session) -> bool:
        """Whether it has neither been ended nor run out."""
        return self._open.get(session.key) is session and session.until > self._clock()

    def end(self, value: str) -> None:
        self._open.pop(digest_of(value), None)
