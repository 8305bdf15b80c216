"""The projection's file: rows and the offsets that they reach to, written in one transaction.

Every method runs on one thread; one process owns the file.

1. A transaction begins; rows and offsets go in. A crash, or a disk that refuses: the file is as it was before.
2. It commits. A crash or a refusal here: DuckDB cuts its write-ahead log back to the transaction before.
3. The rows answer questions.
"""

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from control.folds import SCHEMA_VERSION, TABLES, VIEWS, Batch, Partition
from control.metrics import APPLY_SECONDS

log = logging.getLogger(__name__)

T = TypeVar("T")
_SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN", pa.float64(): "DOUBLE"}

# Chunk ids are UUIDs, but the log may hold any text. As UUIDs they take half the time to write and to count.
_AS_UUID = "coalesce(try_cast(chunk_id AS UUID), md5(chunk_id)::UUID)"

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE)
_DAMAGE = (duckdb.IOException, duckdb.SerializationException, duckdb.FatalException, duckdb.InternalException)
"""What DuckDB says of a file that it can't make sense of."""
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class ProjectionLocked(RuntimeError):
    """Another process has the file open; the message says which."""


class ProjectionLost(RuntimeError):
    """The file is damaged and was set aside: this process must end, and the next start reads the log again."""


class ProjectionForbidden(RuntimeError):
    """The file may not be written; the message says what to do."""


class Refuses(Exception):
    """The machine gives no more: nothing was written, and it may be tried again. `reason` names no path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DiskRefuses(Refuses):
    """The disk is full or failing, also where a question spills to it."""


class MemoryRefuses(Refuses):
    """What is asked or written needs more memory than there is, and more room than is left to spill to."""


class ProjectionFile:
    """`open`, `claim`, then `write` and `read`; `close`. Each may raise Refuses, and be called again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: duckdb.DuckDBPyConnection | None = None

    def open(self) -> None:
        """Raises ProjectionLocked or ProjectionForbidden. A file that can't be read is set aside."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._held = self._connect()
        except (duckdb.Error, OSError) as exc:
            self._judge_opening(exc)
            self._set_aside(f"it can't be read: {_first_line(exc)}")
            self._held = self._connect()

    def claim(self, log_identity: str, ends: Mapping[Partition, int]) -> dict[Partition, int]:
        """The stored offsets of a file that is of this log and schema; otherwise of a new, empty one.

        `ends`: the offset after the last record of each of the log's partitions.
        """
        wanted = (SCHEMA_VERSION, log_identity)
        try:
            unfit = self._misfit(wanted) or self._beyond(ends)
        except duckdb.Error as exc:
            _raise_if_refused(exc)
            unfit = f"it can't be read: {_first_line(exc)}"
        if unfit:
            self.close()
            self._set_aside(unfit)
        if not self._tables():
            self._create(wanted)
        return self._stored()

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
        except duckdb.Error as exc:
            self._after_failure(exc)
            raise
        APPLY_SECONDS.observe(time.monotonic() - began)
        return self._touched(batch)

    def read(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Runs `query` with a cursor of its own. Raises Refuses or ProjectionLost."""
        try:
            with self._connection.cursor() as cursor:
                return query(cursor)
        except duckdb.Error as exc:
            self._raise_if_damaged(exc)
            raise

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """One that may be used on another thread. Raises Refuses."""
        return self._connection.cursor()

    def close(self) -> None:
        if self._held:
            self._held.close()
            self._held = None

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._held is None:
            self.open()
        assert self._held is not None
        return self._held

    def _insert(self, name: str, table: pa.Table) -> None:
        self._connection.register("batch", table)
        columns = f"* REPLACE ({_AS_UUID} AS chunk_id)" if "chunk_id" in table.column_names else "*"
        self._connection.execute(f"INSERT INTO {name} SELECT {columns} FROM batch")
        self._connection.unregister("batch")

    def _touched(self, batch: Batch) -> set[str]:
        """A tombstone doesn't say whose page it was; the page's own record does. What searches cost stands in the
        status of a knowledge base's newest job."""
        named = {each for table in batch.tables.values() if "job_id" in table.column_names
                 for each in table["job_id"].unique().to_pylist()}  # fmt: skip
        if "forgotten" in batch.tables:
            rows = self._connection.execute(
                "SELECT DISTINCT job_id FROM pages SEMI JOIN forgotten USING (kb_id, generation)"
            ).fetchall()
            named.update(job_id for (job_id,) in rows)
        if asked := _kbs_asked(batch):
            rows = self._connection.execute(
                "SELECT arg_max(job_id, generation) FROM facts WHERE list_contains($kbs, kb_id) GROUP BY kb_id",
                {"kbs": asked},
            ).fetchall()
            named.update(job_id for (job_id,) in rows)
        return named - {None}

    def _connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self._path), config={"threads": 2, "preserve_insertion_order": False})

    def _misfit(self, wanted: tuple[int, str]) -> str | None:
        """Why the file can't be gone on with; None where it can, or is new."""
        tables = self._tables()
        if not tables:
            return None
        if tables.get("identity") != ["schema_version", "log"]:
            return "it is no projection"
        if self._connection.execute("SELECT schema_version, log FROM identity").fetchall() != [wanted]:
            return "it was made by another version, or from another log"
        if any(tables.get(table) != schema.names for table, schema in TABLES.items()):
            return "its tables are others"
        return None

    def _beyond(self, ends: Mapping[Partition, int]) -> str | None:
        """Why the file can't be gone on with where it holds records that the log does not; None where it can."""
        stored = self._stored() if self._tables() else {}
        if all(offset <= ends.get(partition, offset) for partition, offset in stored.items()):
            return None
        return "the log ends before it: that was restored from an older copy"

    def _stored(self) -> dict[Partition, int]:
        rows = self._connection.execute('SELECT topic, "partition", next_offset FROM applied').fetchall()
        return {(topic, partition): next_offset for topic, partition, next_offset in rows}

    def _tables(self) -> dict[str, list[str]]:
        """Names of tables and of their columns, in order."""
        rows = self._connection.execute(
            "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() "
            "WHERE NOT internal GROUP BY table_name"
        ).fetchall()
        return dict(rows)

    def _create(self, identity: tuple[int, str]) -> None:
        try:
            self._connection.execute("BEGIN")
            self._create_tables()
            self._connection.execute("INSERT INTO identity VALUES (?, ?)", identity)
            self._connection.execute("COMMIT")
        except duckdb.Error as exc:
            self._after_failure(exc)
            raise

    def _create_tables(self) -> None:
        self._connection.execute("CREATE TABLE identity (schema_version INTEGER, log VARCHAR)")
        for table, schema in TABLES.items():
            columns = ", ".join(f'"{field.name}" {_sql_type(field)}' for field in schema)
            self._connection.execute(f"CREATE TABLE {table} ({columns})")
        for view, select in VIEWS.items():
            self._connection.execute(f"CREATE VIEW {view} AS {select}")
        self._connection.execute(
            'CREATE TABLE applied (topic VARCHAR, "partition" BIGINT, next_offset BIGINT, '
            'PRIMARY KEY (topic, "partition"))'
        )

    def _set_aside(self, why: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.aside-{time.time_ns()}")
        log.warning("the projection is made anew from the log: %s; the old file is kept as %s", why, aside.name)
        wal = self._path.with_name(self._path.name + ".wal")
        self._path.rename(aside)
        if wal.exists():
            wal.rename(aside.with_name(aside.name + ".wal"))

    def _after_failure(self, exc: duckdb.Error) -> None:
        """Raises Refuses with the file as it was before the transaction, or ProjectionLost."""
        with contextlib.suppress(duckdb.Error):  # a failed commit has rolled back by itself
            self._connection.execute("ROLLBACK")
        try:
            self._connection.execute("SELECT 1").fetchone()
        except duckdb.Error as end:  # DuckDB gives its connection up where it can't tell what stands in the file
            log.warning("the projection's file is opened anew: %s", _first_line(end))
            self.close()
        self._raise_if_damaged(exc)

    def _raise_if_damaged(self, exc: duckdb.Error) -> None:
        """Raises Refuses, or ProjectionLost where the file itself is at fault; anything else is the program's."""
        _raise_if_refused(exc, also=_FORBIDDEN)
        if not isinstance(exc, _DAMAGE) and type(exc) is not duckdb.Error:  # a wrong checksum has no class of its own
            return
        self.close()
        self._set_aside(f"it is damaged: {_first_line(exc)}")
        raise ProjectionLost("the projection's file is damaged, and is made anew at the next start") from exc

    def _judge_opening(self, exc: duckdb.Error | OSError) -> None:
        """Raises what is not the file's fault."""
        if "Conflicting lock" in str(exc):
            raise ProjectionLocked(
                f"another process uses {self._path}: {_holder(exc)}; stop it, or give this control its own "
                "HEADRACE_DATA_DIR"
            ) from exc
        _raise_if_refused(exc)
        if isinstance(exc, OSError) or _cause(exc, _FORBIDDEN) or not os.access(self._path.parent, os.W_OK):
            raise ProjectionForbidden(
                f"the projection can't be kept in {self._path.parent}: {_first_line(exc)}; let this user write there, "
                "or set HEADRACE_DATA_DIR to a directory where it may"
            ) from exc


def _raise_if_refused(exc: Exception, *, also: Iterable[int] = ()) -> None:
    """`also`: what is no refusal while the file is being opened."""
    cause = _cause(exc, (*_DISK, *also))
    if cause:
        raise DiskRefuses(f"its file can't be written: {cause}") from exc
    if isinstance(exc, duckdb.OutOfMemoryException):
        raise MemoryRefuses("there is too little memory, and room to spill to, for what it is asked") from exc


def _cause(exc: Exception, codes: Iterable[int]) -> str | None:
    """The system's word for what happened: DuckDB passes it on at the end of its own."""
    return next((os.strerror(code) for code in codes if os.strerror(code) in str(exc)), None)


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [""])[0]


def _holder(exc: Exception) -> str:
    text = str(exc)
    return text[text.rfind("(PID") :].split(")", maxsplit=1)[0].strip("(") if "(PID" in text else "unknown"


def _sql_type(field: pa.Field) -> str:
    return "UUID" if field.name == "chunk_id" else _SQL_TYPES[field.type]


def _kbs_asked(batch: Batch) -> list[str]:
    """Knowledge bases of which the batch tells what searches cost."""
    if "calls" not in batch.tables:
        return []
    calls = batch.tables["calls"]
    return list(
        {kb for kb, job in zip(calls["kb_id"].to_pylist(), calls["job_id"].to_pylist(), strict=True) if job is None}
    )
