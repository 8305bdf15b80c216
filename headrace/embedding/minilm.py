"""The local model in a process of its own: `serve` runs there, and nothing here is imported by who asks.

One text a run, one thread a core. Measured (`python -m bench local_embedding`): runs of several long texts cost more
processor time per text, not less, since what they hold leaves the cache; threads within a run wait for each other. So
no text is padded, and the int8 model, which rounds by all that is in a run, gives a text one vector in any company.
Short texts in runs of equal length would be a tenth faster, and lose that. onnxruntime keeps the memory of a run for
the next (its arena), which makes short texts a seventh faster: of one text a run that is 30 MB a thread, not more.
"""

import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from headrace.embedded.artifacts import MiniLmFiles, fetch_minilm
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.progress import SilentReporter
from headrace.embedding.base import Vectors
from headrace.embedding.local import DIMENSIONS, MAX_WORD_PIECES, Answer

READ_CHARS: Final = 1 << 15
"""Of a text: 256 words of 100 characters, the longest that are no unknown word, have fewer. All of it would be cut into
word pieces first, at 35 MB for each MB of text."""
SPARE_BYTES: Final = 512 << 20
SPARE_BYTES_A_THREAD: Final = 64 << 20
"""Memory of the process beyond what it has once it is ready. 32 of the longest texts on two threads take 110 MB."""


class MiniLm:
    """`threads`: texts under way at once."""

    def __init__(self, files: MiniLmFiles, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(files.model), options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.enable_truncation(MAX_WORD_PIECES)
        self._tokenizer.no_padding()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="minilm")

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """float32[n, 384] of unit length, and the word pieces read. Longest first, so that all threads end together."""
        ids = [each.ids for each in self._tokenizer.encode_batch([text[:READ_CHARS] for text in texts])]
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
    """Says that it is ready, or why not, then answers texts with vectors. What wants too much memory ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        model = MiniLm(fetch_minilm(cache_dir, SilentReporter()), threads)
    except EmbeddedError as exc:
        connection.send_bytes(msgspec.msgpack.encode(Answer(unwell=str(exc))))
        return
    limit_memory(SPARE_BYTES + threads * SPARE_BYTES_A_THREAD)
    connection.send_bytes(msgspec.msgpack.encode(Answer()))
    while True:
        try:
            texts = msgspec.msgpack.decode(connection.recv_bytes(), type=list[str])
            vectors, tokens = model.embed(texts)
            connection.send_bytes(msgspec.msgpack.encode(Answer(vectors=vectors.tobytes(), tokens=tokens)))
        except (EOFError, BrokenPipeError):
            return


def limit_memory(spare_bytes: int) -> None:
    """Of this process, beyond what it has now; on Linux. Who asks for more gets an error, and the machine goes on."""
    if sys.platform == "linux":
        data_pages = int(Path("/proc/self/statm").read_text().split()[5])
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_pages * resource.getpagesize() + spare_bytes, hard))


def _end_with_parent() -> None:
    """In the middle of a run too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
