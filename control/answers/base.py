"""What all answers have in common."""

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all; times are UTC, RFC 3339."""
