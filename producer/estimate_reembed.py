"""What a reembedding would come to, from the stored texts: nothing is published, stored or embedded.

`python -m producer.estimate_reembed` takes a ReembedRequest on stdin and gives a ReembedEstimate on stdout, both JSON.
Chunks and distinct texts are counted in Weaviate. Tokens are counted as the new model does, of `COUNTED` texts at most,
taken in the order of their ids, which has nothing to do with their length; more than that is their mean, with two
standard errors to both sides.
"""

import asyncio
import math
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.errors import DependencyUnwell
from headrace.prices import AS_OF, Prices
from headrace.service import configure_logging
from headrace.settings import Settings
from headrace.vectors import Tenancy, VectorStore, live_ids
from producer.estimate import OVERHEAD_S, STANDARD_ERRORS, cost_of, tokens_per_s
from producer.tokens import tokens_for
from schemas.estimates import Range, ReembedEstimate, ReembedRequest
from schemas.identity import embedding_input
from schemas.kb import Definition, collection_name, tokenizer_of

COUNTED: Final = 5_000
"""A second of counting; the error of the mean is then some 2 % where texts differ by as much as their mean."""


async def estimate(request: ReembedRequest, store: VectorStore, prices: Prices, most: int = COUNTED) -> ReembedEstimate:
    """Of the texts that `request` names. `most`: texts whose tokens are counted."""
    began = time.monotonic()
    source = Tenancy(request.collection, request.kb_id)
    embedded = {text async for _, text, _, _ in store.texts(_target(request))}
    rows = [row async for row in store.texts(source)]
    places = ((chunk_id, born, retired) for chunk_id, _, born, retired in rows)
    live = live_ids(places, request.generation, frozenset(request.undone))
    texts = {text_hash: chunk_id for chunk_id, text_hash, _, _ in rows if chunk_id in live}
    new = [chunk_id for text_hash, chunk_id in texts.items() if text_hash not in embedded]
    counts = await _counts(store, source, new[:most], request.definition)
    tokens = _tokens(counts, len(new))
    return ReembedEstimate(
        generation=request.generation,
        chunks=len(live),
        texts=len(texts),
        reused=len(texts) - len(new),
        counted=len(counts),
        took_s=round(time.monotonic() - began, 1),
        tokens=tokens,
        minutes=_minutes(tokens, request.definition),
        model=request.definition.embedding.model or "",
        prices_as_of=AS_OF,
        **cost_of(tokens, request.definition, prices),  # type: ignore[arg-type]
    )


def _target(request: ReembedRequest) -> Tenancy:
    return Tenancy(collection_name(request.definition.embedding), request.kb_id)


async def _counts(store: VectorStore, source: Tenancy, ids: Sequence[str], definition: Definition) -> list[int]:
    stored = await store.stored(source, ids)
    tokens = tokens_for(tokenizer_of(definition.embedding.model))
    return [tokens.count(embedding_input(each.title, each.heading_path, each.text)) for each in stored.values()]


def _tokens(counts: Sequence[int], texts: int) -> Range:
    """Of all texts, where some have so many each."""
    if len(counts) >= texts:
        return Range(low=sum(counts), expected=sum(counts), high=sum(counts))
    mean = statistics.fmean(counts) if counts else 0.0
    error = STANDARD_ERRORS * statistics.stdev(counts) / math.sqrt(len(counts)) if len(counts) > 1 else mean
    low, expected, high = (round(texts * max(0.0, mean + sign * error)) for sign in (-1, 0, 1))
    return Range(low=max(low, sum(counts)), expected=expected, high=high)


def _minutes(tokens: Range, definition: Definition) -> Range:
    slow, usual, fast = tokens_per_s(definition)
    rates = ((tokens.low, fast), (tokens.expected, usual), (tokens.high, slow))
    low, expected, high = (round((each / rate + OVERHEAD_S) / 60, 1) for each, rate in rates)
    return Range(low=low, expected=expected, high=high)


async def _answer(request: ReembedRequest, settings: Settings) -> ReembedEstimate:
    store = VectorStore(settings)
    try:
        return await estimate(request, store, Prices(settings.prices))
    except DependencyUnwell as exc:
        return ReembedEstimate(problem=f"{exc.dependency}: {exc.reason}")
    finally:
        await store.stop()


if __name__ == "__main__":
    configure_logging("ERROR")
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=ReembedRequest)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_answer(asked, Settings.from_env()))))
