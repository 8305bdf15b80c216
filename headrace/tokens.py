"""API tokens: who may do what, kept in one file that `headrace token` edits and control reads.

A token reads `hr_<id>_<secret>`: the id finds it, the secret proves it. The file holds a SHA-256 of the secret alone.
The secret is 256 random bits, so there is no dictionary to try, and a slow hash would protect nothing: it would only
make each request as dear as a login. A revoked token stays in the file without its hash, so that no name in the audit
trail ever means two.
"""

import hashlib
import hmac
import os
import pwd
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import msgspec

from headrace.private_file import Entries, time_of, time_text

Role = Literal["read", "operate", "admin"]
ROLES: tuple[Role, ...] = ("read", "operate", "admin")
"""Each may do what those before it may. read: see and search. operate: run jobs of what is defined. admin: define,
embed by another model, vacuum, delete."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
SCOPE = re.compile(r"[a-z0-9_*-]{1,64}\Z")
_FORM = re.compile(r"hr_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES = 32
_NOBODY = bytes(32)
"""Compared where an id is not known, so that the answer takes as long."""


class InvalidTokens(ValueError):
    """The file, or what is asked of it, can't be; the message says what to do."""


class UnknownToken(InvalidTokens):
    """None that is in force has the name."""


class Former(msgspec.Struct, frozen=True, kw_only=True):
    """The secret before a rotation, while both are taken."""

    sha256: str
    until: str


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`kbs`: ids of knowledge bases, `*` for any characters; empty: all. Times are UTC, RFC 3339.

    changed_by: who created, rotated or revoked it, the last of these.
    """

    id: str
    name: str
    role: Role
    kbs: tuple[str, ...] = ()
    sha256: str | None = None
    former: Former | None = None
    created_at: str
    expires_at: str | None = None
    rotated_at: str | None = None
    revoked_at: str | None = None
    changed_by: str | None = None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and time_of(self.expires_at) <= now else "valid"

    def digests(self, now: datetime) -> list[bytes]:
        """SHA-256 of each secret that is taken now."""
        if self.state(now) != "valid" or self.sha256 is None:
            return []
        former = self.former
        also = [former.sha256] if former is not None and time_of(former.until) > now else []
        return [bytes.fromhex(digest) for digest in (self.sha256, *also)]


def sees(kbs: Sequence[str], kb_id: str) -> bool:
    """Whether a scope has the knowledge base in it."""
    return not kbs or any(fnmatchcase(kb_id, each) for each in kbs)


def digest_of(text: str) -> bytes:
    """Of whatever a header holds, bytes that are no UTF-8 too."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def proven(text: str, known: dict[str, Token], now: datetime) -> tuple[Token, bytes] | None:
    """The token that a text is, and the digest of its secret; compared in constant time."""
    form = _FORM.fullmatch(text)
    token = known.get(form[1]) if form else None
    given = digest_of(form[2] if form else text)
    taken = token.digests(now) if token else []
    same = [hmac.compare_digest(given, each) for each in taken or [_NOBODY]]
    return (token, given) if token and taken and any(same) else None


def read_tokens(path: Path) -> tuple[Token, ...]:
    """None at all where there is no file yet. Raises InvalidTokens."""
    return _ENTRIES.read(path)


def create(
    path: Path, name: str, role: Role, *, kbs: Sequence[str] = (), lasts: timedelta | None = None
) -> tuple[Token, str]:
    """The token and its text, which is nowhere else. Raises InvalidTokens."""
    if not NAME.match(name):
        raise InvalidTokens(f"{name!r} is no name: use up to 64 of letters, digits and ._@-")
    for kb in kbs:
        if not SCOPE.match(kb):
            raise InvalidTokens(f"{kb!r} is no knowledge base: write its id, or a pattern such as team-a-*")
    with _ENTRIES.editing(path) as tokens:
        if any(token.name == name for token in tokens):
            raise InvalidTokens(f"there is a token {name!r} already, or was: names are not used twice")
        now = datetime.now(UTC)
        made, secret = new_secret()
        token = Token(
            id=made, name=name, role=role, kbs=tuple(kbs), sha256=digest_of(secret).hex(), created_at=time_text(now),
            expires_at=time_text(now + lasts) if lasts else None, changed_by=_user(),
        )  # fmt: skip
        tokens.append(token)
    return token, written(made, secret)


def rotate(path: Path, name: str, *, grace: timedelta = timedelta()) -> tuple[Token, str]:
    """A new secret for a token; the one before is taken until `grace` is over. Raises InvalidTokens."""
    with _ENTRIES.editing(path) as tokens:
        place, token = _find(tokens, name)
        now, (_, secret) = datetime.now(UTC), new_secret()
        assert token.sha256 is not None
        former = Former(sha256=token.sha256, until=time_text(now + grace)) if grace else None
        tokens[place] = token = msgspec.structs.replace(
            token, sha256=digest_of(secret).hex(), former=former, rotated_at=time_text(now), changed_by=_user()
        )
    return token, written(token.id, secret)


def revoke(path: Path, name: str) -> Token:
    """Raises InvalidTokens."""
    with _ENTRIES.editing(path) as tokens:
        place, token = _find(tokens, name)
        at = time_text(datetime.now(UTC))
        tokens[place] = token = msgspec.structs.replace(
            token, sha256=None, former=None, revoked_at=at, changed_by=_user()
        )
    return token


def new_secret() -> tuple[str, str]:
    """A new id and secret."""
    return secrets.token_hex(8), secrets.token_urlsafe(_SECRET_BYTES)


def written(token_id: str, secret: str) -> str:
    return f"hr_{token_id}_{secret}"


def _user() -> str:
    """Who this process runs as, in the operating system's words."""
    try:
        return f"user:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"user:{os.getuid()}"


def _find(tokens: list[Token], name: str) -> tuple[int, Token]:
    for place, token in enumerate(tokens):
        if token.name == name and token.revoked_at is None:
            return place, token
    known = ", ".join(token.name for token in tokens if token.revoked_at is None)
    raise UnknownToken(f"there is no token {name!r}; there is {known or 'none'}")


def _check(token: Token) -> None:
    """Raises ValueError where a hand has written what can't be."""
    former = token.former
    times = (token.created_at, token.expires_at, token.rotated_at, token.revoked_at, former.until if former else None)
    for text in times:
        if text is not None:
            time_of(text)
    for digest in (token.sha256, former.sha256 if former else None):
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"the sha256 of {token.name!r} is not 64 hexadecimal digits")


_ENTRIES = Entries("tokens", Token, _check, InvalidTokens)
