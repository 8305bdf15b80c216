"""Webhooks: who is told of a job's changes, kept in one file that `headrace webhook` edits and control reads.

Messages are signed as Standard Webhooks has it (https://www.standardwebhooks.com, symmetric): the headers
`webhook-id`, `webhook-timestamp` and `webhook-signature`, which is `v1,` and the base64 of an HMAC-SHA256 over
`id.timestamp.body`. The file holds the secrets themselves, as a signature takes them; only its owner may read it.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from headrace.addresses import AddressPolicy
from headrace.client import STATUSES
from headrace.private_file import Entries, time_of, time_text
from headrace.tokens import NAME, SCOPE, sees

MOST_WEBHOOKS = 50
_SECRET_BYTES = 32
_PREFIX = "whsec_"
_MOST_URL_CHARACTERS = 2_000


class InvalidWebhooks(ValueError):
    """The file, or what is asked of it, can't be; the message says what to do."""


class UnknownWebhook(InvalidWebhooks):
    """None has the name."""


class FormerSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The secret before a rotation: messages are signed by both until then (UTC, RFC 3339)."""

    secret: str
    until: str


class Webhook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`kbs`: ids of knowledge bases, `*` for any characters; `on`: statuses; each empty: all.

    `allow_addresses`: CIDR ranges beyond public ones that `url` may lead to.
    """

    id: str
    name: str
    url: str
    kbs: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    allow_addresses: tuple[str, ...] = ()
    secret: str
    former: FormerSecret | None = None
    created_at: str

    @property
    def place(self) -> str:
        """The URL without what may be secret in it."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        return f"{parts.scheme}://" + (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")

    def wants(self, kb_id: str, status: str) -> bool:
        return sees(self.kbs, kb_id) and (not self.on or status in self.on)

    def signatures(self, message_id: str, timestamp: int, body: bytes) -> str:
        """The header's value: one signature, or two while the secret before is still known to the receiver."""
        former = self.former
        also = [former.secret] if former and time_of(former.until) > datetime.now(UTC) else []
        return " ".join(sign(secret, message_id, timestamp, body) for secret in (self.secret, *also))


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`secret` as `whsec_…`, `timestamp` in seconds since 1970."""
    key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    digest = hmac.new(key, b"%s.%d.%s" % (message_id.encode(), timestamp, body), hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def read_webhooks(path: Path) -> tuple[Webhook, ...]:
    """None at all where there is no file yet. Raises InvalidWebhooks."""
    return _ENTRIES.read(path)


def add(
    path: Path, name: str, url: str, *, kbs: Sequence[str], on: Sequence[str], allow_addresses: Sequence[str]
) -> Webhook:
    """With a new secret. Raises InvalidWebhooks."""
    if not NAME.match(name):
        raise InvalidWebhooks(f"{name!r} is no name: use up to 64 of letters, digits and ._@-")
    made = Webhook(
        id=secrets.token_hex(8), name=name, url=url, kbs=tuple(kbs), on=tuple(on),
        allow_addresses=tuple(allow_addresses), secret=_new_secret(), created_at=time_text(datetime.now(UTC)),
    )  # fmt: skip
    try:
        _check(made)
    except ValueError as exc:
        raise InvalidWebhooks(str(exc)) from exc
    with _ENTRIES.editing(path) as webhooks:
        if any(each.name == name for each in webhooks):
            raise InvalidWebhooks(f"there is a webhook {name!r} already; remove it first, or choose another name")
        if len(webhooks) >= MOST_WEBHOOKS:
            raise InvalidWebhooks(f"there are {MOST_WEBHOOKS} webhooks, and there can't be more; remove one first")
        webhooks.append(made)
    return made


def rotate(path: Path, name: str, *, grace: timedelta = timedelta()) -> Webhook:
    """With a new secret; messages are signed by the one before too until `grace` is over. Raises InvalidWebhooks."""
    with _ENTRIES.editing(path) as webhooks:
        place = _find(webhooks, name)
        old = webhooks[place]
        former = FormerSecret(secret=old.secret, until=time_text(datetime.now(UTC) + grace)) if grace else None
        webhooks[place] = msgspec.structs.replace(old, secret=_new_secret(), former=former)
        return webhooks[place]


def remove(path: Path, name: str) -> Webhook:
    """Raises InvalidWebhooks."""
    with _ENTRIES.editing(path) as webhooks:
        return webhooks.pop(_find(webhooks, name))


def _new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _find(webhooks: list[Webhook], name: str) -> int:
    for place, each in enumerate(webhooks):
        if each.name == name:
            return place
    known = ", ".join(each.name for each in webhooks)
    raise UnknownWebhook(f"there is no webhook {name!r}; there is {known or 'none'}")


def _check(webhook: Webhook) -> None:
    """Raises ValueError. No message repeats the URL: it may hold a secret."""
    _check_url(webhook.url)
    AddressPolicy(webhook.allow_addresses)
    for kb in webhook.kbs:
        if not SCOPE.match(kb):
            raise ValueError(f"{kb!r} is no knowledge base: write its id, or a pattern such as team-a-*")
    for status in webhook.on:
        if status not in STATUSES:
            raise ValueError(f"{status!r} is no status: use {', '.join(STATUSES)}")
    for secret in (webhook.secret, *([webhook.former.secret] if webhook.former else [])):
        if not secret.startswith(_PREFIX):
            raise ValueError(f"the secret of {webhook.name!r} does not begin with {_PREFIX}")
        base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    if webhook.former:
        time_of(webhook.former.until)


def _check_url(url: str) -> None:
    if len(url) > _MOST_URL_CHARACTERS or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"the URL has spaces or control characters, or more than {_MOST_URL_CHARACTERS} characters")
    try:
        parts = urlsplit(url)
    except ValueError:  # whose text repeats a user name and password
        raise ValueError("the host in the URL of a webhook can't be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL of a webhook begins with https:// (or http://) and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL holds a user name or password; receivers know us by the signature")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("the port in the URL of a webhook is no number up to 65535") from None


_ENTRIES = Entries("webhooks", Webhook, _check, InvalidWebhooks)
