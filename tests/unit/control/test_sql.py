"""SQL over the history: what is answered, what is refused, and what no query reaches."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer
from pyarrow import parquet

from control import sql as answering
from control import sql_worker, streaming, views
from control.ailments import Ailments
from control.engine import Engine
from control.http import application
from control.problems import BadRequest, Unavailable
from control.projection import Projection
from control.sql import BOUNDS, Sql, SqlRequest
from headrace.settings import Settings
from schemas.facts import CommandIssued, JobFinished
from tests.support.waiting import until
from tests.unit.control.test_folds import JOB, Filed, outcome, page, records, reserved, settled
from tests.unit.control.test_history import at

STARTED, ENDED = "2026-11-26T09:59:00.000Z", "2026-11-26T10:09:00.000Z"


def history() -> list[Any]:
    """One job: two pages, three chunks; and one that was cancelled before it read any."""
    of_none = {**JOB, "job_id": "k", "generation": 3}
    told = [
        CommandIssued(**JOB, action="start", desired="running", revision=1, issued_at=STARTED, issued_by="token:me"),
        at(4, outcome(1, "a0", "indexed")),
        at(5, outcome(2, "a1", "dead_lettered")),
        reserved("x"), settled("x", at=ENDED), reserved("y", at=ENDED),
        JobFinished(**JOB, outcome="completed", finished_at=ENDED),
        CommandIssued(**of_none, action="start", desired="running", revision=1, issued_at=ENDED, issued_by="http"),
    ]  # fmt: skip
    manifest = [at(0, page("a", "a0", "a1")), at(5, page("b", "b0")), at(9, page("c", state="gone"))]
    return [*records("pages", 0, manifest), *records("events", 1, told)]


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Filed(tmp_path_factory.mktemp("sql") / "projection.duckdb")
    made.apply(history())
    made.file.close()
    return made.path


@pytest.fixture
async def sql(filed: Path) -> AsyncIterator[Sql]:
    projection = Projection(filed, on_applied=lambda jobs: None, ailments=Ailments(lambda: None))
    await projection.open()
    yield Sql(projection, filed.parent, timeout_s=600)
    await projection.stop()
    assert not list(filed.parent.glob("sql-*"))


class Confined:
    """A worker's DuckDB within this process: before rows are there, and after."""

    def __init__(self) -> None:
        asked = {
            "memory_mb": 128,
            "views": {view.name: [(c.name, c.kind) for c in view.columns] for view in views.VIEWS},
        }
        self._bound, self._filled = sql_worker._opened(asked), sql_worker._opened(asked)
        sql_worker._fill(self._filled, asked["views"], [])

    def answer(self, query: str) -> list[Any]:
        sql_worker._check(self._bound, query)
        return self._filled.execute(query).fetchall()


@pytest.fixture(scope="module")
def confined() -> Confined:
    return Confined()


async def answer(sql: Sql, query: str) -> dict[str, Any]:
    async with sql.answer(SqlRequest(query=query)) as result:
        decoded: dict[str, Any] = json.loads(result.path.read_bytes())
        assert decoded["truncated"] == result.truncated
        return decoded


async def rows(sql: Sql, query: str) -> list[list[Any]]:
    return list((await answer(sql, query))["rows"])


async def test_every_view_has_the_columns_that_are_documented(sql: Sql) -> None:
    ways = [f"(SELECT '{view.name}' AS name, count(*) AS rows FROM {view.name})" for view in views.VIEWS]
    counts = dict(await rows(sql, " UNION ALL ".join(ways)))
    assert counts == {
        "jobs": 2, "pages": 3, "page_chunks": 3, "outcomes": 2, "dead_letters": 0, "calls": 2, "requests": 0,
        "events": 3,
    }  # fmt: skip
    names = ", ".join(view.name for view in views.VIEWS)
    query = f"SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal -- {names}"
    documented = [[view.name, column.name, column.kind] for view in views.VIEWS for column in view.columns]
    assert sorted(await rows(sql, query)) == sorted(documented)


def test_the_page_of_views_is_current() -> None:
    assert Path("docs/views.md").read_text(encoding="utf-8") == views.document(), "python -m control.views"


async def test_what_a_job_was(sql: Sql) -> None:
    assert await rows(sql, "SELECT job_id, started_at, started_by, finished_at, outcome FROM jobs ORDER BY job_id") == [
        ["j", "2026-11-26T09:59:00", "token:me", "2026-11-26T10:09:00", "completed"],
        ["k", "2026-11-26T10:09:00", "http", None, None],
    ]
    assert await rows(
        sql, "SELECT state, count(*), max(date_trunc('minute', fetched_at)) FROM pages GROUP BY state ORDER BY state"
    ) == [["fetched", 2, "2026-11-26T10:00:00"], ["gone", 1, "2026-11-26T10:00:00"]]
    assert await rows(sql, "SELECT settled, tokens FROM calls ORDER BY settled") == [[False, 10], [True, 7]]
    assert await rows(
        sql, "SELECT p.url, o.result FROM page_chunks p JOIN outcomes o USING (job_id, chunk_id) ORDER BY o.result"
    ) == [["a", "dead_lettered"], ["a", "indexed"]]


async def test_values_that_json_has_no_form_of(sql: Sql) -> None:
    query = """SELECT 'nan'::DOUBLE, 2::HUGEINT ** 70::HUGEINT, 1.50::DECIMAL(9, 2), DATE '2026-01-02', TIME '03:04:05',
        INTERVAL 1 DAY, '\\xAB'::BLOB, [1, NULL], {'a': 1, 'b': [2]}, MAP {7: 'x'}, NULL, 9223372036854775807, true"""
    (found,) = await rows(sql, query)
    assert found[2:] == ["1.50", "2026-01-02", "03:04:05", "1 day, 0:00:00", "ab", [1, None], {"a": 1, "b": [2]},
                         {"7": "x"}, None, 2**63 - 1, True]  # fmt: skip
    assert found[0] is None


@pytest.mark.parametrize("query", ["SHOW TABLES", "DESCRIBE pages", "-- pages\nSELECT 1;"])
def test_other_forms_of_a_question(confined: Confined, query: str) -> None:
    assert confined.answer(query)


async def test_a_summary(sql: Sql) -> None:
    assert len(await rows(sql, "SUMMARIZE pages")) == 16
    assert len(await rows(sql, "FROM query_table('pages')")) == 3


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM pages", '"nothing"'),
        ("SELECT * FROM newest_pages", "newest_pages does not exist"),
        ("SELECT * FROM facts", "facts does not exist"),
        ("", "one SELECT"), ("-- nothing", "one SELECT"), ("SELECT 1; SELECT 2", "one SELECT"),
        ("SELECT 1; DROP TABLE pages", "one SELECT"), ("DROP VIEW pages", "one SELECT"),
        ("COPY pages TO 'x.csv'", "one SELECT"), ("COPY pages FROM '/etc/passwd'", "one SELECT"),
        ("ATTACH 'x.db'", "one SELECT"), ("INSTALL httpfs", "one SELECT"), ("LOAD httpfs", "one SELECT"),
        ("SET threads = 8", "one SELECT"), ("RESET lock_configuration", "one SELECT"), ("PRAGMA threads = 8", "one"),
        ("CALL pragma_version()", "one SELECT"), ("EXPORT DATABASE 'x'", "one SELECT"), ("CHECKPOINT", "one SELECT"),
        ("CREATE TABLE x (a INT)", "one SELECT"), ("EXPLAIN ANALYZE SELECT 1", "one SELECT"),
        ("EXPLAIN SELECT 1", "one SELECT"), ("CREATE SECRET (TYPE s3)", "one SELECT"), ("VACUUM", "one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"), ("SELECT * FROM read_text('/etc/passwd')", "disabled"),
        ("SELECT * FROM read_blob('/proc/self/environ')", "disabled"), ("SELECT * FROM glob('/etc/*')", "disabled"),
        ("SELECT * FROM '/etc/passwd'", "does not exist"), ("SELECT * FROM 'x.parquet'", "x.parquet"),
        ("SELECT * FROM read_parquet('https://example.org/x.parquet')", "disabled"),
        ("SELECT * FROM parquet_metadata('/etc/passwd')", "disabled"),
        ("SELECT * FROM sniff_csv('/etc/passwd')", "dis"),
        ("SELECT * FROM read_json('../projection.duckdb')", "disabled"),
        ("SELECT * FROM read_parquet('../projection.duckdb')", "disabled"),
        ("SELECT getenv('PATH')", "getenv"), ("SELECT $1", "parameter"),
        ("SELECT * FROM query('SELECT 1; COPY pages TO ''x''')", "SELECT"),
        ("SELECT * FROM query('FROM pa' || 'ges')", "name pages plainly"),
    ],
)  # fmt: skip
def test_a_query_that_is_refused(confined: Confined, query: str, says: str) -> None:
    with pytest.raises((sql_worker.Refused, duckdb.Error)) as refused:
        confined.answer(query)
    assert says in str(refused.value)


async def test_a_slip_is_shown_where_it_is_and_an_unknown_view_beside_those_that_there_are(sql: Sql) -> None:
    with pytest.raises(BadRequest, match=r"there is no view facts; there are calls, dead_letters, events, jobs"):
        await rows(sql, "SELECT * FROM facts")
    with pytest.raises(BadRequest, match=r"(?m)^LINE 1: SELECT stat FROM pages\n {15}\^"):
        await rows(sql, "SELECT stat FROM pages")


@pytest.mark.parametrize(
    "query", ["SELECT * FROM facts", f"SELECT {'(' * 40_000}1{')' * 40_000}", "SELECT error(repeat('a', 1200000))"]
)
async def test_what_is_wrong_is_told_to_who_asked(sql: Sql, query: str) -> None:
    with pytest.raises(BadRequest) as refused:
        await rows(sql, query)
    assert len(refused.value.detail) < 5_000
    assert await rows(sql, "SELECT 1") == [[1]]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM range(100000000) a, range(100000000) b",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
        "SELECT repeat('x', 4000000000)",
    ],
)
async def test_a_bomb_ends_in_time(sql: Sql, query: str) -> None:
    """Whether memory or time is short first hangs on the machine; neither is this process's."""
    sql._timeout_s = 1.0
    with pytest.raises(BadRequest):
        await rows(sql, query)


async def test_more_rows_than_an_answer_holds(sql: Sql) -> None:
    limit = BOUNDS["json"].max_rows
    cut = await answer(sql, f"FROM range({limit + 1})")
    assert cut["truncated"] and len(cut["rows"]) == limit
    wide = await answer(sql, "SELECT repeat('x', 1000000) FROM range(20)")
    assert wide["truncated"] and 0 < len(wide["rows"]) < 20


async def test_parquet(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sql.answer(SqlRequest(query="FROM pages ORDER BY url", format="parquet")) as result:
        table = parquet.read_table(result.path)
    assert table.column_names == [c.name for view in views.VIEWS if view.name == "pages" for c in view.columns]
    assert table["url"].to_pylist() == ["a", "b", "c"] and not result.truncated
    monkeypatch.setitem(BOUNDS, "parquet", replace(BOUNDS["parquet"], max_rows=5_000))
    async with sql.answer(SqlRequest(query="FROM range(6000)", format="parquet")) as result:
        assert parquet.read_table(result.path).num_rows == 5_000 and result.truncated
        assert parquet.read_metadata(result.path).metadata[b"headrace.truncated"] == b"true"


async def test_while_rows_are_taken_no_copies_of_views_are_kept(sql: Sql) -> None:
    async with sql.answer(SqlRequest(query="FROM pages JOIN outcomes USING (job_id)")) as result:
        assert [each.name for each in result.path.parent.iterdir()] == [sql_worker.RESULT]


async def test_a_third_query_is_told_to_come_again(sql: Sql) -> None:
    endless = "SELECT count(*) FROM range(100000000) a, range(100000000) b"
    two = [asyncio.create_task(rows(sql, endless)) for _ in range(answering.AT_ONCE)]

    async def running() -> bool:
        return sql._running == answering.AT_ONCE

    await until(running, what="two run")
    with pytest.raises(Unavailable):
        await rows(sql, "SELECT 1")
    for each in two:
        each.cancel()
    await asyncio.gather(*two, return_exceptions=True)
    assert await rows(sql, "SELECT 1") == [[1]]


async def test_what_is_read_aside_is_interrupted_with_its_caller(sql: Sql) -> None:
    asking = asyncio.create_task(
        sql._projection.read_aside(lambda cursor: cursor.execute("SELECT count(*) FROM range(9e9::BIGINT), range(99)"))
    )
    await sql._projection.read(lambda cursor: cursor.execute("SELECT 1"))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def test_what_a_crash_left_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "sql-left").mkdir()
    (tmp_path / "sql-left" / "pages.parquet").touch()
    (tmp_path / "projection.duckdb").touch()
    Sql(None, tmp_path).clear()  # type: ignore[arg-type]
    assert [each.name for each in tmp_path.iterdir()] == ["projection.duckdb"]


async def test_who_takes_nothing_holds_nobody_up_and_is_cut_off(filed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that no buffer on the way has room for, to two who don't read it."""
    engine = Engine(replace(Settings.from_env({}), data_dir=filed.parent))
    await engine.projection.open()
    engine.unready = None
    path = "/api/ingestion/sql"
    async with TestClient(TestServer(application(engine))) as client:
        wide = {"query": "SELECT repeat('x', 1000000) FROM range(14)"}
        slow = [await client.post(path, json=wide, read_bufsize=1024) for _ in range(answering.AT_ONCE)]
        assert {each.status for each in slow} == {200}
        assert (await client.post(path, json={"query": "SELECT 1"})).status == 200

        async def theirs_are_left() -> bool:
            return len(list(filed.parent.glob("sql-*"))) == len(slow)

        await until(theirs_are_left, what="the third is done, and the two are not")
        monkeypatch.setattr(streaming, "TAKES_WITHIN_S", 0.05)
        cut = await client.post(path, json=wide, read_bufsize=1024)
        await until(theirs_are_left, what="the last is cut off")
        with pytest.raises(ClientError):
            await cut.read()
        for each in slow:
            each.close()
    await engine.stop()
    assert not list(filed.parent.glob("sql-*"))


async def test_over_http(filed: Path) -> None:
    engine = Engine(replace(Settings.from_env({}), data_dir=filed.parent))
    await engine.projection.open()
    engine.unready = None
    async with TestClient(TestServer(application(engine))) as client:
        path = "/api/ingestion/sql"
        response = await client.post(path, json={"query": "SELECT count(*) AS n FROM pages"})
        found = msgspec.convert(await response.json(), answering.SqlAnswer)
        assert (found.rows, found.columns, found.truncated) == ([[3]], [answering.SqlColumn("n", "BIGINT")], False)
        response = await client.post(path, json={"query": "FROM pages", "format": "parquet"})
        assert response.headers["Headrace-Truncated"] == "false" and (await response.read())[:4] == b"PAR1"
        for body, status in (({"query": "SELEC"}, 400), ({"query": ""}, 422), ({"query": "SELECT 1", "x": 1}, 422)):
            assert (await client.post(path, json=body)).status == status
    await engine.stop()
