"""The audit of API tokens: whatever becomes of them in their file is told on `events`, once.

1. The file is compared with what the log says of each token. So what was done while control was away is told too.
2. What differs is written in one transaction. A crash before: the next start finds the same. After: it finds nothing.

Tests: `unit/control/test_token_audit.py`, and over restarts `integration/test_control.py`.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from control.desk import Desk
from control.problems import Problem
from control.projection import Projection
from control.questions import tokens_told
from headrace.errors import DependencyUnwell
from headrace.private_file import Stamp, stamp_of, time_of
from headrace.tokens import InvalidTokens, Token, read_tokens
from schemas.codec import instant, now
from schemas.facts import TokenChanged

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""What is done to one token within this time is told as its end alone."""
SETTLED_S = 10.0
"""By then what nobody waited for any longer can be read, if it was written."""
_BY_HAND = "file"


class TokenAudit:
    """`run` it."""

    def __init__(self, path: Path, desk: Desk, projection: Projection) -> None:
        self._path, self._desk, self._projection = path, desk, projection
        self._told: dict[str, TokenChanged] = {}
        """By this control: the projection may not have read it yet."""

    async def run(self) -> None:
        told: Stamp | Literal["nothing"] | None = "nothing"
        while True:
            stamp = stamp_of(self._path)
            if stamp != told:
                try:
                    await self._tell()
                    told = stamp
                except InvalidTokens:  # who reads the file to know whom to admit says so
                    told = stamp
                except (Problem, DependencyUnwell) as exc:
                    log.warning("what was done to tokens is told later: %s", exc)
                    await asyncio.sleep(SETTLED_S)
            await asyncio.sleep(LOOK_S)

    async def _tell(self) -> None:
        tokens = read_tokens(self._path)
        await self._desk.catch_up()  # a write that nobody waited for any longer is decided
        await self._projection.catch_up()
        told = {each.token_id: each for each in await self._projection.read(tokens_told)} | self._told
        found = list(changes(tokens, told.values(), now()))
        if found:
            await self._desk.audit(found)
        self._told |= {each.token_id: each for each in found}
        for each in found:
            scope = ", ".join(each.kbs) or "all knowledge bases"
            log.info(
                "the token %s was %s by %s: %s, over %s", each.name, each.action, each.changed_by, each.role, scope
            )


def changes(tokens: Iterable[Token], told: Iterable[TokenChanged], at: str) -> Iterator[TokenChanged]:
    """What the log does not say yet of `tokens`, which are all that there are, at the time `at`."""
    last = {each.token_id: each for each in told}
    for token in tokens:
        before, stands = last.pop(token.id, None), _as_it_stands(token, at)
        if action := _action(token, stands, before):
            yield _told(token, stands, action)
    for before in last.values():
        if before.action != "removed":
            yield msgspec.structs.replace(before, action="removed", changed_at=at, changed_by=_BY_HAND)


def _as_it_stands(token: Token, at: str) -> TokenChanged:
    former = token.former.until if token.former else None
    return TokenChanged(
        token_id=token.id, name=token.name, action="changed", role=token.role, kbs=token.kbs,
        expires_at=_instant(token.expires_at), rotated_at=_instant(token.rotated_at), former_until=_instant(former),
        changed_at=at, changed_by=_BY_HAND,
    )  # fmt: skip


_Action = Literal["created", "rotated", "changed", "revoked"]


def _action(token: Token, stands: TokenChanged, before: TokenChanged | None) -> _Action | None:
    if token.revoked_at is not None:
        return None if before is not None and before.action == "revoked" else "revoked"
    if before is None:
        return "rotated" if token.rotated_at is not None else "created"
    if before.action == "removed":
        return "changed"
    if stands.rotated_at != before.rotated_at:
        return "rotated"
    return None if before.action != "revoked" and _grants(stands) == _grants(before) else "changed"


def _grants(told: TokenChanged) -> tuple[object, ...]:
    return told.name, told.role, told.kbs, told.expires_at


def _told(token: Token, stands: TokenChanged, action: _Action) -> TokenChanged:
    """With the time and the name that the file has for it, if it has."""
    said = {"created": token.created_at, "rotated": token.rotated_at, "revoked": token.revoked_at}.get(action)
    if said is None:
        return stands
    by = token.changed_by or _BY_HAND
    return msgspec.structs.replace(stands, action=action, changed_at=instant(time_of(said)), changed_by=by)


def _instant(text: str | None) -> str | None:
    return instant(time_of(text)) if text is not None else None
