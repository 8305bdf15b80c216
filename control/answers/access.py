"""Who asks."""

from control.answers.base import Answer
from headrace.tokens import Role


class WhoAmI(Answer, frozen=True, kw_only=True):
    """`token` None: no token is asked for. `kbs`: ids and patterns; empty: all knowledge bases."""

    token: str | None
    role: Role
    kbs: list[str]
    expires_at: str | None = None


class LoggedOut(Answer, frozen=True, kw_only=True):
    logged_out: bool = True
