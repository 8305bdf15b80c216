"""One SQL query in a process of its own, where it can harm nobody: `python -I sql_worker.py`, in an empty directory.

A line of JSON in, a line out, twice:

1. The query, its views and its bounds; it is parsed and bound to views without rows, and refused or found fit.
2. What was exported for it, as Parquet files in the directory; it runs, and the rows are in `result`.

Whatever a query makes of it, it sees no other file, no network, no environment, no settings; it takes one thread, so
much memory and so many seconds of the processor, and the kernel ends it where DuckDB doesn't.
"""

import json
import math
import os
import re
import resource
import signal
import sys
from typing import Any

import duckdb

Json = dict[str, Any]

RESULT = "result"
ADDRESS_SPACE = 4
"""Times DuckDB's own limit: what DuckDB doesn't count, and the libraries, are in it too."""
ROWS_AT_ONCE = 2_048


MAX_SAID = 4_000
"""Characters of an error: DuckDB repeats what it was asked, and a query may make one of any length."""
_ASKED = "EXPLAIN "
"""Stands before a query to see whether it names only what there is."""


class Refused(Exception):
    """The message is for who asked."""


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    _confine(asked)
    try:
        connection = _opened(asked)
        _check(connection, asked["query"])
        _say({})
        _fill(connection, asked["views"], json.loads(sys.stdin.readline()))
        _say(_run(connection, asked))
    except (Refused, duckdb.Error) as exc:
        _say({"error": _cut(_reason(exc, asked["views"]))})
    except MemoryError:
        _say({"error": "Out of Memory Error: the query needs more memory than it may use"})
    sys.stdout.flush()
    os._exit(0)  # what is left of a broken query need not be put in order


def _reason(exc: Exception, views: Json) -> str:
    """What DuckDB says, without what it can't know: that EXPLAIN is ours, and which tables were meant."""
    text = str(exc)
    if unknown := re.match(r"Catalog Error: Table with name (\S+) does not exist", text):
        return f"there is no view {unknown[1]}; there are {', '.join(sorted(views))} (DESCRIBE one to see its columns)"
    return re.sub(rf"(LINE 1: ){_ASKED}(.*\n) {{{len(_ASKED)}}}", r"\1\2", text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]} …"


def _confine(asked: Json) -> None:
    os.nice(10)
    seconds = int(asked["timeout_s"]) + 5
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        memory = ADDRESS_SPACE * asked["memory_mb"] * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _opened(asked: Json) -> duckdb.DuckDBPyConnection:
    """With the views as empty tables."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": f"{asked['memory_mb']}MB",
        "temp_directory": "",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    files = ", ".join(f"'{_file(name)}'" for name in asked["views"])
    connection.execute(f"SET allowed_paths = [{files}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    for name, columns in asked["views"].items():
        typed = ", ".join(f'"{column}" {kind}' for column, kind in columns)
        connection.execute(f"CREATE TABLE {name} ({typed})")
    return connection


def _check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raises Refused, or duckdb.Error for what names no view or column that there is."""
    found = duckdb.extract_statements(query)
    if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
        raise Refused("only one SELECT is answered: nothing can be written, set, loaded or attached")
    if not query.lstrip().upper().startswith(("DESCRIBE", "DESC", "SHOW", "SUMMARIZE")):
        connection.execute(_ASKED + query)


def _fill(connection: duckdb.DuckDBPyConnection, views: Json, exported: list[str]) -> None:
    """What was not exported, since the query doesn't name it, can be described; reading it is an error."""
    for name, columns in views.items():
        connection.execute(f"DROP TABLE {name}")
        if name in exported:
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{_file(name)}')")
            continue
        typed = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns)
        says = f"the query must name {name} plainly to read it"
        connection.execute(f"CREATE VIEW {name} AS SELECT {typed} WHERE error('{says}') IS NOT NULL")


def _run(connection: duckdb.DuckDBPyConnection, asked: Json) -> Json:
    connection.execute(asked["query"])
    write = _write_parquet if asked["format"] == "parquet" else _write_json
    return write(connection, asked["max_rows"], asked["max_bytes"])


def _write_json(connection: duckdb.DuckDBPyConnection, max_rows: int, max_bytes: int) -> Json:
    columns = [{"name": name, "type": str(kind)} for name, kind, *_ in connection.description or ()]
    count, truncated = 0, False
    with open(RESULT, "wb") as file:
        size = file.write(b'{"columns":%s,"rows":[' % json.dumps(columns).encode())
        while not truncated and (rows := connection.fetchmany(ROWS_AT_ONCE)):
            for row in rows:
                line = json.dumps([_plain(value) for value in row], ensure_ascii=False).encode("utf-8", "replace")
                if count == max_rows or size + len(line) > max_bytes:
                    truncated = True
                    break
                size += file.write((b"," if count else b"") + line)
                count += 1
        file.write(b'],"truncated":%s}' % (b"true" if truncated else b"false"))
    return {"rows": count, "truncated": truncated}


def _write_parquet(connection: duckdb.DuckDBPyConnection, max_rows: int, max_bytes: int) -> Json:
    from pyarrow import parquet  # half of the time that a process takes to start

    reader: Any = connection.to_arrow_reader(ROWS_AT_ONCE)
    count, truncated = 0, False
    with open(RESULT, "wb") as file, parquet.ParquetWriter(file, reader.schema, compression="zstd") as writer:
        for batch in reader:
            room = max_rows - count if file.tell() + batch.nbytes <= max_bytes else 0
            truncated = batch.num_rows > room
            writer.write_batch(batch.slice(0, room))
            count += min(batch.num_rows, room)
            if truncated:
                break
        writer.add_key_value_metadata({"headrace.truncated": json.dumps(truncated)})
    return {"rows": count, "truncated": truncated}


def _plain(value: Any) -> Any:
    """As JSON has it: what it knows no form of is text, and no number (NaN, infinity) is null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case bytes():
            return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _file(view: str) -> str:
    return f"{view}.parquet"


def _say(answer: Json) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
