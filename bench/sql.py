"""What SQL costs others: how long a job's count of its chunks takes meanwhile, and how late the event loop is.

    python -m bench sql [--pages 100000]

Baseline: without a query. Beside it: while two run that copy every page and chunk, and how long those take, copies
included; and while two run that would never end.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench.rig import line
from control import questions
from control.ailments import Ailments
from control.file import ProjectionFile
from control.problems import BadRequest
from control.projection import Projection
from control.sql import AT_ONCE, Sql, SqlRequest

COPIES = "SELECT count(*), count(DISTINCT c.chunk_id) FROM pages p JOIN page_chunks c USING (job_id, url)"
ENDLESS = "SELECT sum(hash(a.range, b.range)) FROM range(100000000) a, range(100000000) b"
CHUNKS_A_PAGE, JOBS = 5, 100
ASKED_S = 15.0


def filled(path: Path, pages: int) -> None:
    file = ProjectionFile(path)
    file.open()
    file.claim("bench", {})
    ask = file.cursor()
    place = f"0, i, 'job-' || (i % {JOBS})"
    ask.execute(
        'INSERT INTO pages ("partition", position, job_id, kb_id, generation, epoch, attempt, url, state, status, '
        f"chunks, fetched_at) SELECT {place}, 'docs', 1, 0, 1, 'https://example.org/docs/page-' || i, 'fetched', 200, "
        f"{CHUNKS_A_PAGE}, '2026-11-26T10:00:00.000Z' FROM range({pages}) r(i)"
    )
    chunks = f"SELECT {place}, uuid(), 1 FROM range({pages}) r(i), range({CHUNKS_A_PAGE})"
    ask.execute(f"INSERT INTO page_chunks {chunks}")
    ask.close()
    file.close()


@asynccontextmanager
async def busy(sql: Sql, query: str | None) -> AsyncIterator[list[float]]:
    """As many at once as there may be, one after the other; how long each took."""
    took: list[float] = []

    async def over_and_over(query: str) -> None:
        while True:
            began = time.perf_counter()
            with suppress(BadRequest):
                async with sql.answer(SqlRequest(query=query)):
                    pass
            took.append(time.perf_counter() - began)

    tasks = [asyncio.create_task(over_and_over(query)) for _ in range(AT_ONCE)] if query else []
    yield took
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def asked(projection: Projection) -> tuple[list[float], list[float]]:
    """Seconds that each count took, and by how much the loop woke late meanwhile."""
    counts, lates, end = [], [], time.monotonic() + ASKED_S

    async def ticks() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            lates.append(time.perf_counter() - began - 0.005)

    ticking = asyncio.create_task(ticks())
    while time.monotonic() < end:
        began = time.perf_counter()
        await projection.read(lambda cursor: questions.tally(cursor, "job-7", 1, None))
        counts.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    ticking.cancel()
    return counts, lates


async def benchmark(pages: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        filled(directory / "projection.duckdb", pages)
        projection = Projection(
            directory / "projection.duckdb", on_applied=lambda jobs: None, ailments=Ailments(lambda: None)
        )
        await projection.open()
        sql = Sql(projection, directory)
        print(f"sql: {pages:,} pages, {pages * CHUNKS_A_PAGE:,} chunks, {JOBS} jobs; {AT_ONCE} queries at once")
        bases: list[float] = []
        for says, query in (("nobody asks", None), ("all is copied", COPIES), ("endless ones", ENDLESS)):
            async with busy(sql, query) as took:
                counts, lates = await asked(projection)
            values = [statistics.median(counts), _p99(counts), _p99(lates)]
            bases = bases or values
            for what, value, base in zip(("count, p50", "count, p99", "loop late, p99"), values, bases, strict=True):
                line(f"{says}: {what}", value * 1e3, "ms", f"{value / base:.1f} x nobody")
            if query is COPIES and took:
                line(f"{says}: a query, median", statistics.median(took), "s", f"of {len(took)}")
        await projection.stop()


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=100_000)
    asyncio.run(benchmark(parser.parse_args().pages))
