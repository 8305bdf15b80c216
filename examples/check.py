"""Both retrievers against the frameworks themselves and a control that answers from memory: `make examples`.

Runs in .venv-bench, which has the frameworks: with them among the tests' dependencies, every `make test` would wait for
their installation.
"""

import asyncio

import langchain_retriever
import llama_index_retriever
from langchain_core.runnables import RunnableLambda
from llama_index.core import get_response_synthesizer
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from headrace.client import ControlProblem
from headrace.knowledge import KnowledgeBase
from tests.unit.cli.control_fake import FakeControl, status_of

HITS = [
    {"chunk_id": f"0000000{n}-0000-5000-8000-000000000000", "url": f"https://example.org/{n}", "title": f"Page {n}",
     "heading_path": ["Guide", "Proxy"], "text": f"Set proxy {n}.", "score": 1 - n / 10, "duplicates": []}
    for n in range(2)
]  # fmt: skip


def main() -> None:
    with FakeControl() as control:
        control.statuses["docs"] = [status_of(status="completed")]
        control.hits = HITS
        kb = KnowledgeBase("docs", control.url)
        langchain(kb, control)
        llama_index(kb, control)
        refused(control)
    print("both retrievers answer")


def langchain(kb: KnowledgeBase, control: FakeControl) -> None:
    retriever = langchain_retriever.HeadraceRetriever(kb=kb, k=2, options={"mode": "vector"})
    chain = retriever | RunnableLambda(lambda documents: [each.page_content for each in documents])
    for documents in (retriever.invoke("proxy?"), asyncio.run(retriever.ainvoke("proxy?"))):
        assert [each.id for each in documents] == [each["chunk_id"] for each in HITS]
        assert [each.metadata["source"] for each in documents] == [each["url"] for each in HITS]
    assert chain.invoke("proxy?") == asyncio.run(chain.ainvoke("proxy?")) == ["Set proxy 0.", "Set proxy 1."]
    assert control.requests("POST")[-1][1] == {"query": "proxy?", "k": 2, "mode": "vector"}


def llama_index(kb: KnowledgeBase, control: FakeControl) -> None:
    retriever = llama_index_retriever.HeadraceRetriever(kb, k=2, mode="keyword")
    for nodes in (retriever.retrieve("proxy?"), asyncio.run(retriever.aretrieve("proxy?"))):
        assert [(each.node_id, each.score) for each in nodes] == [(each["chunk_id"], each["score"]) for each in HITS]
        assert [each.metadata["url"] for each in nodes] == [each["url"] for each in HITS]
    engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=MockLLM()))
    answer = engine.query("proxy?")
    assert "Set proxy 0." in str(answer) and len(answer.source_nodes) == 2
    assert control.requests("POST")[-1][1] == {"query": "proxy?", "k": 2, "mode": "keyword"}


def refused(control: FakeControl) -> None:
    missing = KnowledgeBase("nothing", control.url)
    for ask in (
        langchain_retriever.HeadraceRetriever(kb=missing).invoke,
        llama_index_retriever.HeadraceRetriever(missing).retrieve,
    ):
        try:
            ask("proxy?")
        except ControlProblem as problem:
            assert problem.code == "unknown-kb"
        else:
            raise AssertionError("a knowledge base that there is not was searched")


if __name__ == "__main__":
    main()
