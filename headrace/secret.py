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

    @classmethod
    def in_header(cls, text: str) -> "Secret":
        """One that goes into a header. Raises ValueError, whose message doesn't hold it, where a header can't."""
        return cls(fit_for_header(text))


def fit_for_header(text: str) -> str:
    """As it is; a client that can't send it would repeat it in its error. Raises ValueError."""
    if not text.isascii() or not text.isprintable():
        raise ValueError("it holds letters that no key has: a line break, or a quotation mark that is not ASCII")
    return text
