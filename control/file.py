"""The projection's file: rows and the offsets that they reach to, written in one transaction.

Every method runs on one thread; one process owns the file.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from control.folds import SCHEMA_VERSION, TABLES, VIEWS, Batch, Partition
from control.metrics import APPLY_SECONDS

log = logging.getLogger(__name__)

T = TypeVar("T")
_SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN"}

# Chunk ids are UUIDs, but the log may hold any text. As UUIDs they take half the time to write and to count.
_AS_UUID = "coalesce(try_cast(chunk_id AS UUID), md5(chunk_id)::UUID)"


class ProjectionLocked(RuntimeError):
    """Another process has the file open; the message says which."""


class ProjectionFile:
    """`open`, `claim`, then `write` and `read`; `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path

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

    def claim(self, log_identity: str) -> dict[Partition, int]:
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
        return {(topic, partition): next_offset for topic, partition, next_offset in stored}

    def write(self, batch: Batch) -> set[str]:
        """Writes one batch; gives the ids of the jobs that it touched."""
        if not batch.offsets:
            return set()
        began = time.monotonic()
        self._connection.execute("BEGIN")
        try:
            for name, table in batch.tables.items():
                self._insert(name, table)
            self._connection.executemany(
                "INSERT OR REPLACE INTO applied VALUES (?, ?, ?)",
                [(topic, partition, offset) for (topic, partition), offset in batch.offsets.items()],
            )
            self._connection.execute("COMMIT")
        except Exception:  # disk, file or program: whichever, nothing half written may stand
            self._after_failure()
            raise
        APPLY_SECONDS.observe(time.monotonic() - began)
        return self._touched(batch)

    def read(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Runs `query` with a cursor of its own."""
        with self._connection.cursor() as cursor:
            return query(cursor)

    def close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()

    def _insert(self, name: str, table: pa.Table) -> None:
        self._connection.register("batch", table)
        columns = f"* REPLACE ({_AS_UUID} AS chunk_id)" if "chunk_id" in table.column_names else "*"
        self._connection.execute(f"INSERT INTO {name} SELECT {columns} FROM batch")
        self._connection.unregister("batch")

    def _touched(self, batch: Batch) -> set[str]:
        """A tombstone doesn't say whose page it was; the page's own record does."""
        named = {each for table in batch.tables.values() if "job_id" in table.column_names
                 for each in table["job_id"].unique().to_pylist()}  # fmt: skip
        if "forgotten" in batch.tables:
            rows = self._connection.execute(
                "SELECT DISTINCT job_id FROM pages SEMI JOIN forgotten USING (kb_id, generation)"
            ).fetchall()
            named.update(job_id for (job_id,) in rows)
        return named - {None}

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self._path), config={"threads": 2, "preserve_insertion_order": False})
        connection.execute("CREATE TABLE IF NOT EXISTS identity (schema_version INTEGER, log VARCHAR)")
        return connection

    def _create(self, identity: tuple[int, str]) -> None:
        self._connection.execute("BEGIN")
        for table, schema in TABLES.items():
            columns = ", ".join(f'"{field.name}" {_sql_type(field)}' for field in schema)
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


def _sql_type(field: pa.Field) -> str:
    return "UUID" if field.name == "chunk_id" else _SQL_TYPES[field.type]
