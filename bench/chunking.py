"""Chunking by each strategy and tokenizer, beside slices of so many cl100k tokens, on pages that `pydoc` writes.

    python -m bench.chunking [--max-tokens 256]

`unseen` is the share of all word pieces that the local model, which reads 256 of a text, would not see; `runts` the
share of chunks below a quarter of the limit. Time is CPU time of this process.
"""

import argparse
import logging
import pydoc
import time
from collections.abc import Callable
from typing import get_args

from bench.extract import PYDOC_MODULES
from producer.chunker import RUNT_SHARE, STRATEGIES, chunk
from producer.content.document import Document
from producer.extract import extract
from producer.tokens import cl100k, tokens_for, word_pieces
from schemas.identity import embedding_input
from schemas.kb import Tokenizer

READ_BY_LOCAL_MODEL = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-tokens", type=int, default=256)
    limit = parser.parse_args().max_tokens
    logging.disable(logging.CRITICAL)
    documents = list(map(_document, PYDOC_MODULES))
    print(f"{len(documents)} pages, {sum(len(each.text) for each in documents) / 1e3:.0f} KB of text, {limit} tokens")
    baseline_s = _report("slices of cl100k", "cl100k", limit, lambda: [_slices(each, limit) for each in documents])
    for strategy in STRATEGIES:
        for tokenizer in get_args(Tokenizer):

            def cut(strategy: str = strategy, tokenizer: Tokenizer = tokenizer) -> list[list[str]]:
                return [_chunks(each, limit, strategy, tokenizer) for each in documents]

            took = _report(f"{strategy}, {tokenizer}", tokenizer, limit, cut)
            print(f"{'':24} {took / baseline_s:6.1f} times the slices' time")


def _report(name: str, tokenizer: Tokenizer, limit: int, cut: Callable[[], list[list[str]]]) -> float:
    cut()
    began = time.process_time()
    chunks = [text for page in cut() for text in page]
    took = time.process_time() - began
    sizes = list(map(tokens_for(tokenizer).count, chunks))
    pieces = list(map(word_pieces().count, chunks))
    unseen = sum(max(0, each - READ_BY_LOCAL_MODEL) for each in pieces) / sum(pieces)
    runts = sum(each < limit // RUNT_SHARE for each in sizes) / len(sizes)
    print(f"{name:24} {1e3 * took:6.0f} ms, {len(chunks)} chunks, mean {sum(sizes) / len(sizes):.0f} tokens, "
          f"runts {runts:.1%}, unseen {unseen:.1%}")  # fmt: skip
    return took


def _document(module: str) -> Document:
    writer = pydoc.HTMLDoc()
    markup = writer.page(module, writer.document(pydoc.locate(module), module))
    return extract(f"https://bench.example/{module}.html", markup.encode(), "text/html")


def _slices(document: Document, limit: int) -> list[str]:
    return cl100k().cut(document.text, limit)


def _chunks(document: Document, limit: int, strategy: str, tokenizer: Tokenizer) -> list[str]:
    found = chunk(document, "bench", limit, 25, strategy, tokenizer)  # type: ignore[arg-type]
    return [embedding_input(each.title, each.heading_path, each.text) for each in found]


if __name__ == "__main__":
    main()
