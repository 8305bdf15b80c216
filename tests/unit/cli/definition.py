"""What control shows of a knowledge base's definition."""

from typing import Any

import msgspec

from schemas.kb import Definition, Source

DEFINITION: dict[str, Any] = msgspec.json.decode(
    msgspec.json.encode(Definition(source=Source(urls=("https://example.org/docs/",))))
)
