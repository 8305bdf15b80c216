"""What every event is: a frozen struct that names its type, its version, its topic and its key."""

from typing import Annotated, ClassVar

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What Kafka, DuckDB and Weaviate can hold; JSON itself has no bound."""


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

    partition: Int64
    offset: Int64
