"""What never shows itself."""


class Secret(str):
    """A value that never shows itself: printing or logging it gives stars. `reveal()` gives the value."""

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        return str.__str__(self)
