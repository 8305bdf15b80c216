"""Runs in .venv-bench: embeds the texts on standard input (JSON) as a framework does; prints seconds and texts as JSON.

python embedding_pipelines.py llama_index|llama_index_async|langchain|langchain_large BASE_URL < texts.json
"""

import asyncio
import json
import os
import sys
import time

NAME, BASE_URL = sys.argv[1:]
MODEL, KEY = "text-embedding-3-small", "sk-bench"


def llama_index(texts):
    """As its guide has it: `run`, batches of 100, one after the other."""
    pipeline, nodes = _llama_index(texts)
    return len(pipeline.run(nodes=nodes))


def llama_index_async(texts):
    """`arun` with 8 calls at once, the most that its guide shows."""
    pipeline, nodes = _llama_index(texts, num_workers=8)
    return len(asyncio.run(pipeline.arun(nodes=nodes)))


def _llama_index(texts, **options):
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.openai import OpenAIEmbedding

    embedding = OpenAIEmbedding(model=MODEL, api_key=KEY, api_base=BASE_URL, **options)
    return IngestionPipeline(transformations=[embedding]), [TextNode(text=text) for text in texts]


def langchain(texts):
    """As its guide has it: `index`, batches of 100, one after the other."""
    return _langchain(texts, 100)


def langchain_large(texts):
    """Batches of 800, the most of these chunks that the API takes in one call: 1,000 are refused."""
    return _langchain(texts, 800)


def _langchain(texts, batch_size):
    from langchain_core.documents import Document
    from langchain_core.indexing import InMemoryRecordManager, index
    from langchain_core.vectorstores import InMemoryVectorStore
    from langchain_openai import OpenAIEmbeddings

    # without the count of tokens, for which it would fetch a file
    embeddings = OpenAIEmbeddings(model=MODEL, api_key=KEY, base_url=BASE_URL, check_embedding_ctx_length=False)
    records = InMemoryRecordManager(namespace="bench")
    records.create_schema()
    documents = [Document(page_content=text, metadata={"source": str(i)}) for i, text in enumerate(texts)]
    return index(documents, records, InMemoryVectorStore(embeddings), batch_size=batch_size)["num_added"]


os.environ["LLAMA_INDEX_CACHE_DIR"] = os.environ.get("TMPDIR", "/tmp")
texts = json.load(sys.stdin)
globals()[NAME](texts[:1])  # imports, and what a first call sets up
began, cpu = time.perf_counter(), time.process_time()
done = globals()[NAME](texts)
print(json.dumps({"texts": done, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}))
