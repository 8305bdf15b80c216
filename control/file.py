"""The projection's file: rows and the offsets that they reach to, written in one transaction.

A record below its partition's stored offset is passed over, so nothing is ever applied twice. Every method runs on
one thread; one process owns the file.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from control.folds import SCHEMA_VERSION, TABLES, VIEWS, Rows, rows_of
from control.metrics import APPLIED, APPLY_SECONDS, PASSED_OVER
from headrace.kafka.records import RawRecord
from schemas.codec import UndecodableRecord

log = logging.getLogger(__name__)

T = TypeVar("T")
_SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN"}


class ProjectionLocked(RuntimeError):
    """Another process has the file open; the message says which."""


class ProjectionFile:
    """`open`, `claim`, then `apply` and `read`; `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[tuple[str, int], int] = {}

    def open(self) -> None:
        """Raises ProjectionLocked. A file that can't be read is set aside."""
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

    def claim(self, log_identity: str) -> dict[tuple[str, int], int]:
        """The stored offsets of a file that is of this log and schema; otherwise of a new, empty one."""
        wanted = (SCHEMA_VERSION, log_identity)
        found = self._connection.execute("SELECT schema_version, log FROM identity").fetchone()
        if found is not None and found != wanted:
            self.close()
            self._set_aside("it was made by another version, or from another log")
            self._connection, found = self._connect(), None
        if found is None:
            self._create(wanted)
        stored = self._connection.execute('SELECT topic, "partition", next_offset FROM applied').fetchall()
        self._offsets = {(topic, partition): next_offset for topic, partition, next_offset in stored}
        return dict(self._offsets)

    def apply(self, batch: Sequence[RawRecord]) -> set[str]:
        """Writes one batch; gives the ids of the jobs that it touched."""
        if not batch:
            return set()
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
        except Exception:  # disk, file or program: whichever, nothing half written may stand
            self._after_failure()
            raise
        APPLY_SECONDS.observe(time.monotonic() - began)
        return touched

    def read(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Runs `query` with a cursor of its own."""
        with self._connection.cursor() as cursor:
            return query(cursor)

    def close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()

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

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self._path), config={"threads": 2, "preserve_insertion_order": False})
        connection.execute("CREATE TABLE IF NOT EXISTS identity (schema_version INTEGER, log VARCHAR)")
        return connection

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
            self.close()
            self._set_aside("it failed while it was written")


def _holder(exc: duckdb.Error) -> str:
    text = str(exc)
    return text[text.rfind("(PID") :].split(")", maxsplit=1)[0].strip("(") if "(PID" in text else "unknown"
