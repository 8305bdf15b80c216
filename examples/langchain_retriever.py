"""A knowledge base as a LangChain retriever: pip install langchain-core

HEADRACE_URL=http://127.0.0.1:8000 python langchain_retriever.py docs "how do I configure a proxy?"
"""

import sys
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from headrace.knowledge import Hit, KnowledgeBase


class HeadraceRetriever(BaseRetriever):
    """`options`: other fields of a search, such as {"mode": "vector"}."""

    kb: KnowledgeBase
    k: int = 5
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [document(hit) for hit in self.kb.search(query, k=self.k, **self.options)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [document(hit) for hit in await self.kb.asearch(query, k=self.k, **self.options)]


def document(hit: Hit) -> Document:
    metadata = {
        "source": hit.url,
        "title": hit.title,
        "heading_path": list(hit.heading_path),
        "score": hit.score,
    }
    return Document(id=hit.chunk_id, page_content=hit.text, metadata=metadata)


if __name__ == "__main__":
    for found in HeadraceRetriever(kb=KnowledgeBase(sys.argv[1])).invoke(sys.argv[2]):
        print(f"{found.metadata['source']}\n{found.page_content}\n")
