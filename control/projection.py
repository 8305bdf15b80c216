"""The projection: `events` and `pages` in one DuckDB file, with the offsets that it has applied.

1. Records are read and folded on one thread while the batch before them is written on another.
   A crash here: they were never there.
2. One transaction inserts a batch's rows and stores the offset after each partition's last record.
   A crash before the commit: nothing of the batch is there, and its records are read again.
   A crash after: the next start reads from the stored offsets.
3. Whoever waits is woken, and the jobs that it touched are made anew. A crash before: the next start makes all anew.

A batch that can't be written is kept and tried again: reading waits for it once `MAX_AHEAD` records are.
The file can be deleted at any time while control is stopped: the log is the truth.

Tests: any cut into batches and any restart between them in `unit/control/test_folds.py`, a disk that refuses before
and at the commit in `test_file.py`, the waiting in `test_projection.py`, all of it together in
`integration/test_control_faults.py`.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from confluent_kafka import KafkaException

from control.ailments import Ailments
from control.file import ProjectionFile, ProjectionLost, Refuses
from control.folds import Batch, Partition
from control.reader import LogReader
from headrace.errors import DependencyUnwell
from headrace.kafka.servers import Servers

log = logging.getLogger(__name__)

MAX_AHEAD = 60_000
"""Records folded ahead of the file; beyond it reading waits. Together they make one transaction: writing many rows at
once takes half the time, as they go to their place without the detour over DuckDB's write-ahead log."""
RETRY_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
"""Between two tries to write: going on is late by this much at most once the disk takes it again."""
PROJECTION = "projection"
"""What it is called in a stall."""

T = TypeVar("T")


class Projection:
    """`open`, then `start` with what the log is, `catch_up`; `read` at any time; `stop`.

    All work on the file happens on one thread. `on_applied(job_ids)` is called from the event loop after each batch.
    """

    def __init__(self, path: Path, *, on_applied: Callable[[set[str]], None], ailments: Ailments) -> None:
        self._file, self._on_applied, self._ailments = ProjectionFile(path), on_applied, ailments
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="projection")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="log-reader")
        self._lost = asyncio.Event()
        self._next: Batch | None = None
        self._changed = asyncio.Condition()
        self._applied: dict[Partition, int] = {}
        self._reader: LogReader | None = None
        self._work: asyncio.Task[Any] | None = None

    async def open(self) -> None:
        """Raises ProjectionLocked or ProjectionForbidden. A file that can't be read is set aside."""
        await self._done(self._file.open)

    async def start(self, bootstrap_servers: Servers, *, prefix: str, log_identity: str) -> None:
        """Follows the log from where the file stands.

        A file of another log (`log_identity`) is set aside, and so is one that knows more than the log holds.
        """
        self._reader = reader = LogReader(bootstrap_servers, prefix=prefix)
        await self._answered(reader.find)
        ends = await self._answered(reader.ends)
        self._applied = await self._done(lambda: self._file.claim(log_identity, ends))
        await self._on_log(lambda: reader.assign(self._applied))
        self._work = asyncio.create_task(self._follow(), name="projection")

    async def catch_up(self) -> None:
        """Returns once all that stood in the log at the call is in the file."""
        assert self._reader is not None and self._work is not None
        ends = await self._answered(self._reader.ends)
        reached = asyncio.create_task(self._reached(ends))
        await asyncio.wait({reached, self._work}, return_when=asyncio.FIRST_COMPLETED)
        if self._work.done():
            reached.cancel()
            self._work.result()

    async def failure(self) -> None:
        """Returns never; raises what ended the reading or the writing."""
        assert self._work is not None
        lost = asyncio.create_task(self._lost.wait())
        await asyncio.wait({self._work, lost}, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if self._work.done():
            self._work.result()
        raise ProjectionLost("the projection's file is damaged, and is made anew at the next start")

    async def read(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Runs `query` with a cursor on the projection's thread: it sees whole batches only.

        Raises DependencyUnwell where disk or memory don't allow it now.
        """
        try:
            return await self._on_file(lambda: self._file.read(query))
        except Refuses as exc:
            raise DependencyUnwell(PROJECTION, exc.reason) from exc
        except ProjectionLost:
            self._lost.set()
            raise

    async def read_aside(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """As `read`, on a thread of its own: a long one holds nobody up. Interrupted where its caller is cancelled.

        Raises DependencyUnwell.
        """
        try:
            cursor = await self._on_file(self._file.cursor)
            asking = asyncio.create_task(asyncio.to_thread(query, cursor))
            try:
                return await asyncio.shield(asking)
            except asyncio.CancelledError:
                cursor.interrupt()
                raise
            finally:
                await asyncio.gather(asking, return_exceptions=True)
                cursor.close()
        except (Refuses, duckdb.OutOfMemoryException, duckdb.IOException) as exc:
            raise DependencyUnwell(PROJECTION, "it can't be copied: there is too little memory or disk") from exc

    async def stop(self) -> None:
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._reader:
            await self._on_log(self._reader.close)
        await self._on_file(self._file.close)
        self._reading.shutdown(wait=True)
        self._writing.shutdown(wait=True)

    @property
    def queued(self) -> int:
        return self._next.records if self._next else 0

    async def _on_file(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work)

    async def _done(self, work: Callable[[], T]) -> T:
        """Tries until disk and memory allow it, and says meanwhile what hinders."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                done = await self._on_file(work)
            except Refuses as exc:
                self._ailments.tell(PROJECTION, exc.reason)
                log.warning("the projection waits: %s; trying again in %.1f s", exc.reason, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._ailments.over(PROJECTION)
            return done

    async def _on_log(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    async def _answered(self, question: Callable[[], T]) -> T:
        while True:
            try:
                return await self._on_log(question)
            except KafkaException as exc:
                log.warning("the log can't be asked yet: %s; trying again", exc.args[0].str())
                await asyncio.sleep(RETRY_S)

    async def _reached(self, ends: dict[Partition, int]) -> None:
        await self._until(lambda: all(self._applied.get(each, 0) >= end for each, end in ends.items()))

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _follow(self) -> None:
        await asyncio.gather(self._read_batches(), self._write_batches())

    async def _read_batches(self) -> None:
        assert self._reader is not None
        while True:
            batch = await self._on_log(self._reader.read)
            if batch.offsets:
                self._next = self._next.with_next(batch) if self._next else batch
                await self._wake()
                await self._until(lambda: self.queued < MAX_AHEAD)

    async def _write_batches(self) -> None:
        while True:
            await self._until(lambda: self._next is not None)
            batch, self._next = self._next, None
            assert batch is not None
            await self._wake()
            touched = await self._done(lambda batch=batch: self._file.write(batch))  # type: ignore[misc]
            self._applied.update(batch.offsets)
            self._on_applied(touched)
            await self._wake()
