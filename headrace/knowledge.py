"""A knowledge base to search from a program; of this package and the standard library alone.

    kb = KnowledgeBase("docs")
    for hit in kb.search("how do I configure a proxy?", k=3):
        print(hit.url, hit.text)

examples/ plugs one into LangChain and LlamaIndex.
"""

import asyncio
import os
from dataclasses import dataclass, fields
from typing import Any

from headrace.client import EXAMPLE, TIMEOUT_S, ControlClient
from headrace.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A chunk that was found. Higher scores are better; they compare within one answer only."""

    chunk_id: str
    url: str
    title: str
    heading_path: tuple[str, ...]
    text: str
    score: float


class KnowledgeBase:
    """May be used from several threads at once: each call has a connection of its own.

    Every call raises `headrace.client.ControlError`: control is away, or says what is wrong with the question.
    """

    def __init__(
        self, kb_id: str, url: str | None = None, *, token: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`url` of control and `token` are HEADRACE_URL's and HEADRACE_TOKEN's where they are not given.

        Raises InvalidAddress, and ValueError where no token can be as given.
        """
        token = (token or os.environ.get("HEADRACE_TOKEN", "")).strip()
        self.kb_id = kb_id
        self._client = ControlClient(
            url or os.environ.get("HEADRACE_URL") or EXAMPLE,
            timeout_s,
            token=Secret.in_header(token) if token else None,
        )

    def search(self, query: str, *, k: int = 5, **options: Any) -> list[Hit]:
        """The best `k`, the best first. `options`: other fields of a search: `mode`, `filters`, `generation` …"""
        answer = self._client.search(self.kb_id, {"query": query, "k": k, **options})
        return [_hit(each) for each in answer["hits"]]

    async def asearch(self, query: str, *, k: int = 5, **options: Any) -> list[Hit]:
        """As `search`, in a thread."""
        return await asyncio.to_thread(self.search, query, k=k, **options)

    def __repr__(self) -> str:
        return f"KnowledgeBase({self.kb_id!r}, {self._client.url!r})"


def _hit(found: dict[str, Any]) -> Hit:
    known = {field.name: found[field.name] for field in fields(Hit)}
    return Hit(**{**known, "heading_path": tuple(known["heading_path"])})
