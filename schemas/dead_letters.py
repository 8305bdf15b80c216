"""Headers of a dead letter, named as Kafka Connect names them (KIP-298)."""

from collections.abc import Iterable

from schemas.codec import Headers

PREFIX = "__connect.errors."


def reason_headers(
    *, topic: str, partition: int, offset: int, connector: str, stage: str, error: str, message: str
) -> Headers:
    """The reason of a dead letter; the record's own headers stand before these. `message` holds no secret."""
    fields = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "connector.name": connector,
        "stage": stage,
        "exception.class.name": error,
        "exception.message": message,
    }
    return [(PREFIX + name, value.encode()) for name, value in fields.items()]


def without_reasons(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes | None], ...]:
    """The record's own headers."""
    return tuple((name, value) for name, value in headers if not name.startswith(PREFIX))
