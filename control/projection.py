"""The projection: `events` and `pages` in one DuckDB file, with the offsets that it has applied.

1. Records are collected in memory while the previous batch is written.
2. One transaction inserts their rows and stores the offset after each partition's last record.
   A crash before the commit: nothing of the batch is there, and its records are read again.
   A crash after: the next start reads from the stored offsets.
3. A record below its partition's stored offset is passed over, so nothing is ever applied twice.

The file can be deleted at any time while control is stopped: the log is the truth.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from control.folds import FOLLOWED, SCHEMA_VERSION, TABLES, VIEWS, Rows, rows_of
from control.metrics import APPLIED, APPLY_SECONDS, PASSED_OVER
from headrace.kafka.follower import Follower
from headrace.kafka.records import RawRecord
from schemas.codec import UndecodableRecord

log = logging.getLogger(__name__)

BATCH_S = 0.1
"""How long records are collected: what a status may be late, against one transaction per record."""
BATCH_RECORDS = 50_000
"""Records taken into one transaction at most: about 0.5 s of work."""
MAX_QUEUED = 100_000
"""Records read ahead of the file; beyond it the follower waits."""

T = TypeVar("T")
_SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN"}


class ProjectionLocked(RuntimeError):
    """Another process has the file open; the message says which."""


class Projection:
    """`open`, then `start` with what the log is, `catch_up`; `read` at any time; `stop`.

    All work on the file happens on one thread. `on_applied(job_ids)` is called from the event loop after each batch.
    """

    def __init__(self, path: Path, *, on_applied: Callable[[set[str]], None]) -> None:
        self._path, self._on_applied = path, on_applied
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="projection")
        self._queued: list[RawRecord] = []
        self._changed = asyncio.Condition()
        self._taken = 0
        self._offsets: dict[tuple[str, int], int] = {}
        self._follower: Follower | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises ProjectionLocked. A file that can't be read is set aside."""
        await self._on_thread(self._open)

    async def start(self, bootstrap_servers: str, *, prefix: str, log_identity: str) -> None:
        """Follows the log from where the file stands; a file of another log (`log_identity`) is set aside."""
        self._offsets = await self._on_thread(lambda: self._claim(log_identity))
        self._follower = Follower(
            bootstrap_servers,
            dict.fromkeys(FOLLOWED, self._queue),
            prefix=prefix,
            start_at=self._offsets,
            room=self._room,
        )
        self._follower.start()
        self._task = asyncio.create_task(self._write_batches(), name="projection")

    async def catch_up(self) -> None:
        """Returns once all that stood in the log at the call is in the file."""
        assert self._follower is not None and self._task is not None
        await self._follower.catch_up()
        wanted = self._taken + len(self._queued)
        async with self._changed:
            await self._changed.wait_for(lambda: self._taken >= wanted or self._task is None or self._task.done())
        if self._task.done():
            self._task.result()

    async def failure(self) -> None:
        """Returns never; raises what ended the writing of batches."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def read(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Runs `query` with a cursor on the projection's thread: it sees whole batches only."""
        return await self._on_thread(lambda: self._with_cursor(query))

    async def stop(self) -> None:
        if self._follower:
            await self._follower.stop()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._on_thread(self._close)
        self._thread.shutdown(wait=True)

    @property
    def queued(self) -> int:
        return len(self._queued)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _with_cursor(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        with self._connection.cursor() as cursor:
            return query(cursor)

    def _queue(self, raw: RawRecord) -> None:
        if raw.offset >= self._offsets.get((raw.topic, raw.partition), 0):
            self._queued.append(raw)

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
            touched = await self._on_thread(lambda batch=batch: self.apply(batch))  # type: ignore[misc]
            self._on_applied(touched)
            async with self._changed:
                self._taken += len(batch)
                self._changed.notify_all()

    # On the projection's thread from here on.

    def apply(self, batch: Sequence[RawRecord]) -> set[str]:
        """Writes one batch; gives the ids of the jobs that it touched. Only on the projection's thread."""
        began = time.monotonic()
        rows, touched = self._fold(batch)
        self._connection.execute("BEGIN")
        try:
            for table, found in rows.items():
                self._insert(table, found)
            self._connection.executemany(
                "INSERT OR REPLACE INTO applied VALUES (?, ?, ?)", [(t, p, o) for (t, p), o in self._offsets.items()]
            )
            self._connection.execute("COMMIT")
        except duckdb.Error:
            self._after_failure()
            raise
        APPLY_SECONDS.observe(time.monotonic() - began)
        return touched

    def _fold(self, batch: Sequence[RawRecord]) -> tuple[Rows, set[str]]:
        rows: Rows = {table: [] for table in TABLES}
        job_column = {table: schema.get_field_index("job_id") for table, schema in TABLES.items()}
        for raw in batch:
            place = (raw.topic, raw.partition)
            if raw.offset < self._offsets.get(place, 0):
                continue
            self._offsets[place] = raw.next_offset
            APPLIED.labels(raw.topic).inc()
            try:
                for table, row in rows_of(raw):
                    rows[table].append(row)
            except UndecodableRecord as exc:
                PASSED_OVER.labels(raw.topic).inc()
                log.warning("%s %d/%d is passed over: %s", raw.topic, raw.partition, raw.offset, exc)
        touched = {row[job_column[table]] for table, found in rows.items() for row in found}
        return {table: found for table, found in rows.items() if found}, touched - {None}

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        schema = TABLES[table]
        columns = [
            pa.array(column, type=field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)
        ]
        self._connection.register("batch", pa.Table.from_arrays(columns, schema=schema))
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM batch")
        self._connection.unregister("batch")

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._connect()
        except duckdb.Error as exc:
            if "Conflicting lock" in str(exc):
                raise ProjectionLocked(
                    f"another process uses {self._path}: {_holder(exc)}; stop it, or give this control its own "
                    "HEADRACE_DATA_DIR"
                ) from exc
            self._set_aside(f"it can't be read: {str(exc).splitlines()[0]}")
            self._connection = self._connect()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self._path), config={"threads": 2, "preserve_insertion_order": False})
        connection.execute("CREATE TABLE IF NOT EXISTS identity (schema_version INTEGER, log VARCHAR)")
        return connection

    def _claim(self, log_identity: str) -> dict[tuple[str, int], int]:
        """The stored offsets of a file that is of this log and schema; otherwise of a new, empty one."""
        wanted = (SCHEMA_VERSION, log_identity)
        found = self._connection.execute("SELECT schema_version, log FROM identity").fetchone()
        if found is not None and found != wanted:
            self._close()
            self._set_aside("it was made by another version, or from another log")
            self._connection, found = self._connect(), None
        if found is None:
            self._create(wanted)
        stored = self._connection.execute('SELECT topic, "partition", next_offset FROM applied').fetchall()
        return {(topic, partition): next_offset for topic, partition, next_offset in stored}

    def _create(self, identity: tuple[int, str]) -> None:
        self._connection.execute("BEGIN")
        for table, schema in TABLES.items():
            columns = ", ".join(f'"{field.name}" {_SQL_TYPES[field.type]}' for field in schema)
            self._connection.execute(f"CREATE TABLE {table} ({columns})")
        for view, select in VIEWS.items():
            self._connection.execute(f"CREATE VIEW {view} AS {select}")
        self._connection.execute(
            'CREATE TABLE applied (topic VARCHAR, "partition" BIGINT, next_offset BIGINT, '
            'PRIMARY KEY (topic, "partition"))'
        )
        self._connection.execute("INSERT INTO identity VALUES (?, ?)", identity)
        self._connection.execute("COMMIT")

    def _set_aside(self, why: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.aside-{time.time_ns()}")
        log.warning("the projection is made anew from the log: %s; the old file is kept as %s", why, aside.name)
        wal = self._path.with_name(self._path.name + ".wal")
        self._path.rename(aside)
        if wal.exists():
            wal.rename(aside.with_name(aside.name + ".wal"))

    def _after_failure(self) -> None:
        """The file may be at fault: the next start shall not fail on it again. A full disk is not the file's fault."""
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.Error as exc:
            log.warning("the projection's file is at fault: %s", exc)
            self._close()
            self._set_aside("it failed while it was written")

    def _close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()


def _holder(exc: duckdb.Error) -> str:
    text = str(exc)
    return text[text.rfind("(PID") :].split(")", maxsplit=1)[0].strip("(") if "(PID" in text else "unknown"
