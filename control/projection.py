"""The projection: `events` and `pages` in one DuckDB file, with the offsets that it has applied.

1. Records are collected in memory while the previous batch is written.
2. One transaction inserts their rows and stores the offset after each partition's last record.
   A crash before the commit: nothing of the batch is there, and its records are read again.
   A crash after: the next start reads from the stored offsets.

The file can be deleted at any time while control is stopped: the log is the truth.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import duckdb

from control.file import ProjectionFile
from control.folds import FOLLOWED
from headrace.kafka.follower import Follower
from headrace.kafka.records import RawRecord

BATCH_S = 0.1
"""How long records are collected: what a status may be late, against one transaction per record."""
BATCH_RECORDS = 50_000
"""Records taken into one transaction at most: about 0.5 s of work."""
MAX_QUEUED = 100_000
"""Records read ahead of the file; beyond it the follower waits."""

T = TypeVar("T")


class Projection:
    """`open`, then `start` with what the log is, `catch_up`; `read` at any time; `stop`.

    All work on the file happens on one thread. `on_applied(job_ids)` is called from the event loop after each batch.
    """

    def __init__(self, path: Path, *, on_applied: Callable[[set[str]], None]) -> None:
        self._file, self._on_applied = ProjectionFile(path), on_applied
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="projection")
        self._queued: list[RawRecord] = []
        self._changed = asyncio.Condition()
        self._received = self._applied = 0
        self._follower: Follower | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises ProjectionLocked. A file that can't be read is set aside."""
        await self._on_thread(self._file.open)

    async def start(self, bootstrap_servers: str, *, prefix: str, log_identity: str) -> None:
        """Follows the log from where the file stands; a file of another log (`log_identity`) is set aside."""
        offsets = await self._on_thread(lambda: self._file.claim(log_identity))
        self._follower = Follower(
            bootstrap_servers,
            dict.fromkeys(FOLLOWED, self._queue),
            prefix=prefix,
            start_at=offsets,
            room=self._room,
        )
        self._follower.start()
        self._task = asyncio.create_task(self._write_batches(), name="projection")

    async def catch_up(self) -> None:
        """Returns once all that stood in the log at the call is in the file."""
        assert self._follower is not None and self._task is not None
        await self._follower.catch_up()
        wanted = self._received
        reached = asyncio.create_task(self._reached(wanted))
        await asyncio.wait({reached, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            reached.cancel()
            self._task.result()

    async def failure(self) -> None:
        """Returns never; raises what ended the writing of batches."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def read(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Runs `query` with a cursor on the projection's thread: it sees whole batches only."""
        return await self._on_thread(lambda: self._file.read(query))

    async def stop(self) -> None:
        if self._follower:
            await self._follower.stop()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._on_thread(self._file.close)
        self._thread.shutdown(wait=True)

    @property
    def queued(self) -> int:
        return len(self._queued)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _queue(self, raw: RawRecord) -> None:
        self._received += 1
        self._queued.append(raw)

    async def _reached(self, wanted: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._applied >= wanted)

    async def _room(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._queued) < MAX_QUEUED)

    async def _write_batches(self) -> None:
        while True:
            if len(self._queued) < BATCH_RECORDS:
                await asyncio.sleep(BATCH_S)
            if not self._queued:
                continue
            batch, self._queued = self._queued[:BATCH_RECORDS], self._queued[BATCH_RECORDS:]
            touched = await self._on_thread(lambda batch=batch: self._file.apply(batch))  # type: ignore[misc]
            self._on_applied(touched)
            async with self._changed:
                self._applied += len(batch)
                self._changed.notify_all()
