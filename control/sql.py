"""Read-only SQL over the documented views, answered by a process of its own that can harm nobody.

1. The worker starts, parses and binds the query, and says what is wrong with it; control's own DuckDB never sees it.
2. Views that the query names are copied to Parquet from a cursor on a thread of its own: neither the projection's
   writer nor other questions wait for it.
3. The worker runs the query over the copies, and leaves the rows in a file.
4. The copies are deleted: while somebody takes the rows, the disk holds these alone.

Whatever happens, the worker is ended and the directory deleted before the call returns. A crash between any two leaves
a directory, which the next start deletes, and a worker that ends by itself.
"""

import asyncio
import contextlib
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
import msgspec

from control import sql_worker
from control.problems import BadRequest, Unavailable
from control.projection import Projection
from control.views import VIEWS, View

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""For all of it: below what proxies allow a request."""
MEMORY_MB = 512
AT_ONCE = 2
"""More would leave no processor to others on a small machine; who comes then is told to come again."""
MAX_LINE = 1024 * 1024
"""Of what the worker says: DuckDB repeats the query in its errors."""

_ROOM = "sql-"

Format = Literal["json", "parquet"]


@dataclass(frozen=True)
class _Bounds:
    max_rows: int
    max_bytes: int


BOUNDS: dict[Format, _Bounds] = {
    "json": _Bounds(10_000, 16 * 1024 * 1024),
    "parquet": _Bounds(5_000_000, 256 * 1024 * 1024),
}


class SqlRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One SELECT in DuckDB's language, over the views of docs/views.md."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=100_000)]
    format: Format = "json"


class SqlColumn(msgspec.Struct, frozen=True):
    """`type` is DuckDB's."""

    name: str
    type: str


class SqlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`truncated`: there were more rows than an answer holds. Times are ISO 8601, what JSON has no form of is text."""

    columns: list[SqlColumn]
    rows: list[list[Any]]
    truncated: bool


@dataclass(frozen=True)
class Result:
    path: Path
    truncated: bool


class Sql:
    """`answer` as often as wanted, also at once."""

    def __init__(self, projection: Projection, directory: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._projection, self._directory, self._timeout_s = projection, directory, timeout_s
        self._running, self._copying = 0, asyncio.Lock()

    def clear(self) -> None:
        """Deletes what a crash left. Blocks."""
        for left in self._directory.glob(f"{_ROOM}*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def answer(self, request: SqlRequest) -> AsyncIterator[Result]:
        """The rows in a file that is there while the context is. Raises BadRequest or Unavailable."""
        with self._room() as room:
            truncated = await self._answered(request, room)
            await asyncio.to_thread(_clear_copies, room)
            yield Result(room / sql_worker.RESULT, truncated)

    async def _answered(self, request: SqlRequest, room: Path) -> bool:
        """Whether there were more rows. The turn is over before they are sent: who reads slowly holds up nobody."""
        if self._running >= AT_ONCE:
            raise Unavailable(f"{AT_ONCE} queries run already; try again", code="sql-busy", retry_after_s=2)
        self._running += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._run(request, room)
        except TimeoutError as exc:
            raise BadRequest(
                f"the query took more than {self._timeout_s:g} s and was ended; ask for less", code="sql-timeout"
            ) from exc
        finally:
            self._running -= 1

    @contextlib.contextmanager
    def _room(self) -> Iterator[Path]:
        room = Path(tempfile.mkdtemp(prefix=_ROOM, dir=self._directory))
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)

    async def _run(self, request: SqlRequest, room: Path) -> bool:
        async with _worker(room) as worker:
            bounds = BOUNDS[request.format]
            await worker.ask(
                {
                    "query": request.query,
                    "format": request.format,
                    "views": {view.name: [(c.name, c.kind) for c in view.columns] for view in VIEWS},
                    "timeout_s": self._timeout_s,
                    "memory_mb": MEMORY_MB,
                    "max_rows": bounds.max_rows,
                    "max_bytes": bounds.max_bytes,
                }
            )
            named = [view for view in VIEWS if re.search(rf"\b{view.name}\b", request.query, re.IGNORECASE)]
            async with self._copying:  # two at once would take both threads of the projection's DuckDB for longer
                await self._projection.read_aside(lambda cursor: _export(cursor, named, room))
            answer = await worker.ask([view.name for view in named])
            return bool(answer["truncated"])


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, what: Any) -> dict[str, Any]:
        """What it answers. Raises BadRequest where the query is at fault."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(ConnectionError):  # it has ended, and what it said last says why
            self._process.stdin.write(msgspec.json.encode(what) + b"\n")
            await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            code = await self._process.wait()
            log.warning("a query's process ended with %d", code)
            raise BadRequest("the query needs more memory or time than it may use, or broke DuckDB", code="sql-failed")
        answer: dict[str, Any] = msgspec.json.decode(line)
        if "error" in answer:
            raise BadRequest(answer["error"], code="invalid-sql")
        return answer


@contextlib.asynccontextmanager
async def _worker(room: Path) -> AsyncIterator[_Worker]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", sql_worker.__file__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=room,
        env={"HOME": "/nonexistent"},
        limit=MAX_LINE,
    )
    try:
        yield _Worker(process)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _export(cursor: duckdb.DuckDBPyConnection, views: list[View], room: Path) -> None:
    """All of one moment."""
    cursor.execute("BEGIN")
    for view in views:
        path = str(room / f"{view.name}.parquet").replace("'", "''")
        cursor.execute(f"COPY ({view.select}) TO '{path}' (FORMAT parquet)")
    cursor.execute("ROLLBACK")


def _clear_copies(room: Path) -> None:
    for each in room.iterdir():
        if each.name != sql_worker.RESULT:
            each.unlink(missing_ok=True)
