"""What every event is: a frozen struct that names its type, its version, its topic and its key."""

from typing import Any, ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One value on a topic. Subclasses set the class variables; unknown fields of newer writers are ignored."""

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def key(self) -> str:
        raise NotImplementedError

    @classmethod
    def ce_type(cls) -> str:
        return f"headrace.{cls.TYPE}.v{cls.VERSION}"


class Place(msgspec.Struct, frozen=True):
    """Where a record of `chunks` was first written; a requeued copy carries it."""

    partition: int
    offset: int


def as_builtins(value: Any) -> Any:
    """Plain dicts, lists and scalars, as they stand in the JSON."""
    return msgspec.to_builtins(value)
