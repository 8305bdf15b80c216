"""How many, in words."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 page`, `1,200 pages`; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
