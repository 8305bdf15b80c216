"""A knowledge base as a LlamaIndex retriever: pip install llama-index-core

HEADRACE_URL=http://127.0.0.1:8000 python llama_index_retriever.py docs "how do I configure a proxy?"
"""

import sys
from typing import Any

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from headrace.knowledge import Hit, KnowledgeBase


class HeadraceRetriever(BaseRetriever):
    """`options`: other fields of a search, such as {"mode": "vector"}."""

    def __init__(self, kb: KnowledgeBase, k: int = 5, **options: Any) -> None:
        self._kb, self._k, self._options = kb, k, options
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [node(hit) for hit in self._kb.search(query_bundle.query_str, k=self._k, **self._options)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [node(hit) for hit in await self._kb.asearch(query_bundle.query_str, k=self._k, **self._options)]


def node(hit: Hit) -> NodeWithScore:
    metadata = {"url": hit.url, "title": hit.title, "heading_path": " > ".join(hit.heading_path)}
    return NodeWithScore(node=TextNode(id_=hit.chunk_id, text=hit.text, metadata=metadata), score=hit.score)


if __name__ == "__main__":
    for found in HeadraceRetriever(KnowledgeBase(sys.argv[1])).retrieve(sys.argv[2]):
        print(f"{found.metadata['url']}\n{found.text}\n")
