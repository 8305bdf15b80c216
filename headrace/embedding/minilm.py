"""The local model in a process of its own: `serve` runs there, and nothing here is imported by who asks.

One text a run, one thread a core. Measured (`python -m bench local_embedding`): runs of several long texts cost more
processor time per text, not less, since what they hold leaves the cache; threads within a run wait for each other. So
no text is padded, and the int8 model, which rounds by all that is in a run, gives a text one vector in any company.
"""

import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from headrace.embedded.artifacts import MiniLmFiles, fetch_minilm
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.progress import SilentReporter
from headrace.embedding.base import Vectors
from headrace.embedding.local import DIMENSIONS, MAX_WORD_PIECES, Answer


class MiniLm:
    """`threads`: texts under way at once."""

    def __init__(self, files: MiniLmFiles, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena keeps the largest run's memory for good
        self._session = onnxruntime.InferenceSession(str(files.model), options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.enable_truncation(MAX_WORD_PIECES)
        self._tokenizer.no_padding()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="minilm")

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """float32[n, 384] of unit length, and the word pieces read. Longest first, so that all threads end together."""
        ids = [each.ids for each in self._tokenizer.encode_batch(texts)]
        out: Vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: -len(ids[row]))
        for row, vector in zip(order, self._threads.map(self._run, [ids[row] for row in order]), strict=True):
            out[row] = vector
        return out, sum(map(len, ids))

    def _run(self, ids: list[int]) -> Vectors:
        pieces = np.array([ids], dtype=np.int64)
        feeds = {
            "input_ids": pieces, "attention_mask": np.ones_like(pieces), "token_type_ids": np.zeros_like(pieces),
        }  # fmt: skip
        hidden = np.asarray(self._session.run(None, {name: feeds[name] for name in self._inputs})[0])
        mean = hidden[0].mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def serve(connection: "multiprocessing.connection.Connection[bytes, bytes]", cache_dir: Path, threads: int) -> None:
    """Says that it is ready, or why not, then answers texts with vectors.."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        model = MiniLm(fetch_minilm(cache_dir, SilentReporter()), threads)
    except EmbeddedError as exc:
        connection.send_bytes(msgspec.msgpack.encode(Answer(unwell=str(exc))))
        return
    connection.send_bytes(msgspec.msgpack.encode(Answer()))
    while True:
        try:
            texts = msgspec.msgpack.decode(connection.recv_bytes(), type=list[str])
            vectors, tokens = model.embed(texts)
            connection.send_bytes(msgspec.msgpack.encode(Answer(vectors=vectors.tobytes(), tokens=tokens)))
        except (EOFError, BrokenPipeError):
            return


def _end_with_parent() -> None:
    """In the middle of a run too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
