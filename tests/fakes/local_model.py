"""Processes that stand for the local model's, and end over some texts. They import little, and start at once."""

import os
import signal
from typing import Any

import msgspec

from headrace.embedding.local import DIMENSIONS, Answer

DEADLY = "deadly"
"""A text that holds this ends the process."""


def ends_over_some(cache_dir: str, threads: int, connection: Any) -> None:
    _serve(connection, lambda text: DEADLY in text)


def ends_over_all(cache_dir: str, threads: int, connection: Any) -> None:
    _serve(connection, lambda text: True)


def _serve(connection: Any, deadly: Any) -> None:
    connection.send_bytes(msgspec.msgpack.encode(Answer()))
    while True:
        try:
            texts = msgspec.msgpack.decode(connection.recv_bytes(), type=list[str])
        except EOFError:
            return
        if any(map(deadly, texts)):
            os.kill(os.getpid(), signal.SIGKILL)
        vectors = bytes(4 * DIMENSIONS * len(texts))
        connection.send_bytes(msgspec.msgpack.encode(Answer(vectors=vectors, tokens=len(texts))))
