"""all-MiniLM-L6-v2 on this machine: int8 ONNX, 384 dimensions, English-leaning, no network once it is in the cache.

Reads 256 word pieces of a text: longer inputs are slower and, measured, found no better, but the rest stays unseen,
which is why chunks are cut at 256 of them for it. The model runs in a process of its own (`minilm.py`), so that this
one's event loop goes on meanwhile.
"""

import asyncio
import functools
import importlib
import multiprocessing
import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from headrace.embedding.base import HARMLESS, Embedded, TextsRefused
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import LOCAL_MODELS, Embedding

DIMENSIONS: Final = 384
MAX_WORD_PIECES: Final = 256 + 2
"""With the marks of beginning and end, so that a chunk of 256 is read whole."""
START_S: Final = 600.0
"""Longest wait for the process to be ready: it fetches 23 MB where they are not in the cache."""
CALL_S: Final = 120.0
"""Longest wait for a call, after which the process is ended. 32 texts take half a second on two free cores."""
END_S: Final = 5.0


class Answer(msgspec.Struct, frozen=True):
    """The process's, to its start and to each call. `vectors`: float32[n, 384]. `unwell`: why there are none."""

    vectors: bytes = b""
    tokens: int = 0
    unwell: str | None = None


class LocalEmbedder:
    server = ""
    usual_texts = max_texts = 32
    max_tokens = max_text_tokens = 1 << 40
    parallel = 1
    most_requests = 1

    def __init__(self, embedding: Embedding, settings: Settings) -> None:
        self._known = LOCAL_MODELS.get(embedding.model or "") == embedding.dimensions == DIMENSIONS
        self._profile = f"{embedding.model} of {embedding.dimensions} dimensions"
        self._cache_dir = settings.cache_dir
        self.shares: Hashable = self
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="minilm")
        self._process: _ModelProcess | None = None
        self._stopped = False

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """A process that ended is started again. Raises TextsRefused where it does so over these texts."""
        if not self._known:  # a command by hand, or a newer control's
            raise DependencyUnwell("local model", f"this consumer has no {self._profile}: cancel the job", lasting=True)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, list(texts))

    async def stop(self) -> None:
        """Ends the process at once: it holds nothing that is worth waiting for."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()
        await asyncio.to_thread(functools.partial(self._thread.shutdown, cancel_futures=True))

    @property
    def process_id(self) -> int | None:
        return self._process.process_id if self._process is not None else None

    def _embed(self, texts: list[str]) -> Embedded:
        """Tried again at once where the process ended over it, which others may do to it too. Texts over which it ends
        twice, and goes on over a harmless one behind that, are refused: one of them does it."""
        try:
            return self._attempt(texts)
        except _EndedOverCall:
            pass
        try:
            return self._attempt(texts)
        except _EndedOverCall as exc:
            ended = exc
        self._attempt([HARMLESS])
        raise TextsRefused(f"twice {ended.how}") from ended

    def _attempt(self, texts: list[str]) -> Embedded:
        if self._stopped:
            raise DependencyUnwell("local model", "is being stopped")
        try:
            if self._process is None:
                self._process = _ModelProcess(self._cache_dir)
                if self._stopped:
                    self._process.kill()
                self._process.wait_until_ready()
            return self._process.embed(texts)
        except DependencyUnwell:
            process, self._process = self._process, None
            if process is not None:
                process.kill()
            raise


class _EndedOverCall(DependencyUnwell):
    """Ready before it, and gone or without an answer after it. `how`: with what sign."""

    def __init__(self, how: str) -> None:
        super().__init__("local model", f"{how}; it is started again")
        self.how = how


class _ModelProcess:
    """Used by one thread, save `kill`. Every call raises DependencyUnwell where the process has ended or hangs."""

    def __init__(self, cache_dir: Path) -> None:
        # by its name: that module loads the model's libraries, which this process can do without
        serve = functools.partial(_serve, str(cache_dir), os.cpu_count() or 1)
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), name="minilm", daemon=True)
        self._process.start()
        theirs.close()  # so that its end is the end of what it sends

    @property
    def process_id(self) -> int | None:
        return self._process.pid

    def wait_until_ready(self) -> None:
        try:
            answer = self._answer(START_S)
        except _EndedOverCall as exc:  # no text is at fault
            raise DependencyUnwell("local model", exc.reason) from exc
        if answer.unwell is not None:
            raise DependencyUnwell("local model", answer.unwell)

    def embed(self, texts: list[str]) -> Embedded:
        try:
            self._connection.send_bytes(msgspec.msgpack.encode(texts))
        except OSError as exc:
            raise self._ended() from exc
        answer = self._answer(CALL_S)
        return Embedded(np.frombuffer(answer.vectors, dtype=np.float32).reshape(len(texts), DIMENSIONS), answer.tokens)

    def kill(self) -> None:
        self._process.kill()

    def _answer(self, within_s: float) -> Answer:
        try:
            if self._connection.poll(within_s):
                return msgspec.msgpack.decode(self._connection.recv_bytes(), type=Answer)
        except (EOFError, OSError) as exc:
            raise self._ended() from exc
        raise _EndedOverCall(f"its process gave no answer within {within_s:.0f} s")

    def _ended(self) -> _EndedOverCall:
        self._process.join(END_S)
        code = self._process.exitcode
        if code is not None and code < 0:
            return _EndedOverCall(f"its process was killed by signal {-code} (9: perhaps for want of memory)")
        return _EndedOverCall(f"its process ended with code {code}: its output says why")


def _serve(cache_dir: str, threads: int, connection: object) -> None:
    """Runs in the new process."""
    importlib.import_module("headrace.embedding.minilm").serve(connection, Path(cache_dir), threads)
