"""Repeated requests: the same `Idempotency-Key` and the same body give the same answer."""

import hashlib

import msgspec

from control.problems import Invalid
from schemas.identity import canonical_json


def request_digest(**asked: object) -> str:
    """sha256 (hex) of what a start asks for, defaults filled in: equal requests, equal digests."""
    asked = msgspec.to_builtins(asked)
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()


def check_idempotency_key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise Invalid("Idempotency-Key must be 1 to 255 printable characters", code="invalid-idempotency-key")
    return key
