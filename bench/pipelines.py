"""Runs in .venv-bench: fills a Weaviate collection as a framework does; prints chunks and seconds as JSON.

python pipelines.py llama_index|llama_index_async|langchain|langchain_large BASE_URL PORT GRPC_PORT COLLECTION < chunks

Standard input has the objects' properties (a JSON array); the collection is there already.
"""

import asyncio
import json
import os
import sys
import time

import weaviate

NAME, BASE_URL, PORT, GRPC_PORT, COLLECTION = sys.argv[1:]
MODEL, KEY = "text-embedding-3-small", "sk-bench"
WHERE = {"host": "127.0.0.1", "port": int(PORT), "grpc_port": int(GRPC_PORT)}


def llama_index(chunks):
    """As its guide has it: `run`, batches of 100, one after the other."""
    with weaviate.connect_to_local(**WHERE) as client:
        pipeline, nodes = _llama_index(chunks, client)
        return len(pipeline.run(nodes=nodes))


def llama_index_async(chunks):
    """`arun` with 8 calls at once, the most that its guide shows."""
    return asyncio.run(_arun(chunks))


async def _arun(chunks):
    async with weaviate.use_async_with_local(**WHERE) as client:
        pipeline, nodes = _llama_index(chunks, client, num_workers=8)
        return len(await pipeline.arun(nodes=nodes))


def _llama_index(chunks, client, **options):
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.vector_stores.weaviate import WeaviateVectorStore

    embedding = OpenAIEmbedding(model=MODEL, api_key=KEY, api_base=BASE_URL, **options)
    store = WeaviateVectorStore(weaviate_client=client, index_name=COLLECTION)
    nodes = []
    for chunk in chunks:
        metadata = _metadata(chunk)
        nodes.append(TextNode(text=chunk["text"], metadata=metadata, excluded_embed_metadata_keys=list(metadata)))
    return IngestionPipeline(transformations=[embedding], vector_store=store), nodes


def langchain(chunks):
    """As its guide has it: `index`, batches of 100, one after the other."""
    return _langchain(chunks, 100)


def langchain_large(chunks):
    """Batches of 800, the most of these chunks that the API takes in one call: 1,000 are refused."""
    return _langchain(chunks, 800)


def _langchain(chunks, batch_size):
    from langchain_core.documents import Document
    from langchain_core.indexing import InMemoryRecordManager, index
    from langchain_openai import OpenAIEmbeddings
    from langchain_weaviate import WeaviateVectorStore

    # without the count of tokens, for which it would fetch a file
    embeddings = OpenAIEmbeddings(model=MODEL, api_key=KEY, base_url=BASE_URL, check_embedding_ctx_length=False)
    records = InMemoryRecordManager(namespace="bench")
    records.create_schema()
    documents = [Document(page_content=chunk["text"], metadata=_metadata(chunk)) for chunk in chunks]
    with weaviate.connect_to_local(**WHERE) as client:
        store = WeaviateVectorStore(client, COLLECTION, "text", embeddings)
        return index(documents, records, store, batch_size=batch_size)["num_added"]


def _metadata(chunk):
    return {name: value for name, value in chunk.items() if name != "text"}


os.environ["LLAMA_INDEX_CACHE_DIR"] = os.environ.get("TMPDIR", "/tmp")
chunks = json.load(sys.stdin)
globals()[NAME](chunks[:1])  # imports, and what a first call sets up
began, cpu = time.perf_counter(), time.process_time()
done = globals()[NAME](chunks[1:]) + 1
print(json.dumps({"chunks": done, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}))
