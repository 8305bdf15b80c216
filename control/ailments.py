"""What keeps control itself from seeing or saying how things are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ailment:
    """`reason` is fit for a status: no path, no address. `since`: UTC, RFC 3339."""

    dependency: str
    reason: str
    since: str
