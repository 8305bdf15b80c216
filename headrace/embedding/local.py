"""all-MiniLM-L6-v2 on this machine: int8 ONNX, 384 dimensions, English-leaning, no network once it is in the cache.

Reads 256 word pieces of a text: longer inputs are slower and, measured, found no better, but the rest stays unseen,
which is why chunks are cut at 256 of them for it.
"""

import asyncio
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from headrace.embedded.artifacts import fetch_minilm
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.progress import SilentReporter
from headrace.embedding.base import Embedded, Vectors
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import Embedding

MAX_WORD_PIECES = 256 + 2
"""With the marks of beginning and end, so that a chunk of 256 is read whole."""
BATCH = 8
"""Texts of like length in one run of the model: more costs memory (32 x 512 tokens is over 2 GB) and gains nothing."""


class LocalEmbedder:
    server = ""
    usual_texts = max_texts = 16
    max_tokens = max_text_tokens = 1 << 40
    parallel = 1

    def __init__(self, embedding: Embedding, settings: Settings) -> None:
        assert embedding.dimensions
        self._cache_dir = settings.cache_dir
        self.shares: Hashable = self
        # one thread: onnxruntime spreads each run over the cores itself, and releases the interpreter while it does
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="minilm")
        self._model: _MiniLm | None = None

    async def embed(self, texts: Sequence[str]) -> Embedded:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, list(texts))

    async def stop(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _embed(self, texts: list[str]) -> Embedded:
        if self._model is None:
            try:
                files = fetch_minilm(self._cache_dir, SilentReporter())
            except EmbeddedError as exc:
                raise DependencyUnwell("local model", str(exc)) from exc
            self._model = _MiniLm(str(files.model), str(files.tokenizer))
        return self._model.embed(texts)


class _MiniLm:
    def __init__(self, model: str, tokenizer: str) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # the arena keeps the largest run's memory for good
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(tokenizer)
        self._tokenizer.enable_truncation(MAX_WORD_PIECES)
        self._tokenizer.enable_padding()  # to the longest of the batch, not the file's fixed 128

    def embed(self, texts: list[str]) -> Embedded:
        out: Vectors = np.empty((len(texts), 384), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        tokens = 0
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            out[rows], used = self._run([texts[i] for i in rows])
            tokens += used
        return Embedded(out, tokens)

    def _run(self, texts: list[str]) -> tuple[Vectors, int]:
        encoded = self._tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in encoded], dtype=np.int64)
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = np.asarray(self._session.run(None, {name: feeds[name] for name in self._inputs})[0])
        weights = mask[:, :, None].astype(np.float32)
        mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32), int(mask.sum())
