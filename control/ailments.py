"""What keeps control itself from seeing how things are: every status says so while it lasts."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.codec import now


@dataclass(frozen=True)
class Ailment:
    """`reason` is fit for a status, without paths and addresses. `since`: UTC, RFC 3339."""

    dependency: str
    reason: str
    since: str


class Ailments:
    """Of each dependency at most one, with the time that it began; `on_change` runs in the event loop."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._held: dict[str, Ailment] = {}

    def tell(self, dependency: str, reason: str, *, since: str | None = None) -> None:
        """`since` where it began before it was told."""
        known = self._held.get(dependency)
        self._held[dependency] = Ailment(dependency, reason, known.since if known else since or now())
        if known != self._held[dependency]:
            self._on_change()

    def over(self, dependency: str) -> None:
        if self._held.pop(dependency, None):
            self._on_change()

    def all(self) -> tuple[Ailment, ...]:
        return tuple(self._held.values())
