"""The projection's file under faults: what doesn't fit is set aside, and a full disk takes nothing away."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from control import questions
from control.file import (
    DiskRefuses,
    MemoryRefuses,
    ProjectionFile,
    ProjectionForbidden,
    ProjectionLocked,
    ProjectionLost,
    Refuses,
)
from control.folds import TABLES, Folder
from headrace.kafka.records import RawRecord
from tests.unit.control.test_folds import Filed, page, records

PAGES = 40_000
"""Enough rows for blocks of data besides the header."""


def large() -> list[RawRecord]:
    return records("pages", 0, [page(f"u{n}", f"c{n}") for n in range(PAGES)])


@pytest.fixture
def filed(tmp_path: Path) -> Path:
    """A file of many blocks, closed in order."""
    path = tmp_path / "p.duckdb"
    made = Filed(path)
    made.apply(large())
    made.file.close()
    return path


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def header_only(path: Path) -> None:
    os.truncate(path, 8_192)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(30_000))


def foreign(path: Path) -> None:
    path.unlink()
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE customers AS SELECT 1 AS id")


def directory(path: Path) -> None:
    path.unlink()
    (path / "kept").mkdir(parents=True)


def newer(path: Path) -> None:
    with duckdb.connect(str(path)) as other:
        other.execute("UPDATE identity SET schema_version = schema_version + 1")


def other_tables(path: Path) -> None:
    with duckdb.connect(str(path)) as other:
        other.execute("ALTER TABLE batches ADD COLUMN another INTEGER")


def other_log(path: Path) -> None:
    with duckdb.connect(str(path)) as other:
        other.execute("UPDATE identity SET log = 'another'")


@pytest.mark.parametrize("fault", [truncated, header_only, garbage, foreign, directory, newer, other_tables, other_log])
def test_what_does_not_fit_is_set_aside_and_made_anew(
    filed: Path, fault: object, caplog: pytest.LogCaptureFixture
) -> None:
    fault(filed)  # type: ignore[operator]
    again = Filed(filed)
    assert again.offsets == {} and "made anew" in caplog.text
    (aside,) = filed.parent.glob("p.duckdb.aside-*")
    if fault is foreign:
        with duckdb.connect(str(aside)) as other:
            assert other.execute("SHOW TABLES").fetchall() == [("customers",)]
    again.apply(large()[:10])
    assert len(again.pages()) == 10
    again.file.close()


def test_a_file_that_knows_more_than_the_log_is_set_aside(filed: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Filed(filed)
    offsets = kept.offsets
    kept.file.close()
    assert offsets
    whole = Filed(filed, ends=offsets)
    assert whole.offsets == offsets
    whole.file.close()
    (partition, offset), *_ = offsets.items()
    again = Filed(filed, ends={**offsets, partition: offset - 1})
    assert again.offsets == {} and "restored from an older copy" in caplog.text
    again.file.close()


def test_damage_that_shows_later_ends_this_process_and_the_next_makes_it_anew(filed: Path) -> None:
    with duckdb.connect(str(filed)) as other:
        blocks = other.execute("SELECT max(block_id) FROM pragma_storage_info('pages') WHERE column_name = 'url'")
        (block,) = blocks.fetchone() or (0,)
    with filed.open("r+b") as file:
        file.seek(3 * 4_096 + block * 262_144 + 1_000)  # behind the three headers
        file.write(os.urandom(1_000))
    damaged = Filed(filed)
    with pytest.raises(ProjectionLost, match="made anew"):
        for table in TABLES:
            damaged.file.read(lambda cursor, table=table: cursor.execute(f"SELECT * FROM {table}").fetchall())
    damaged.file.close()
    again = Filed(filed)
    assert again.offsets == {}
    again.file.close()


def test_a_question_that_is_wrong_sets_nothing_aside(filed: Path) -> None:
    file = Filed(filed).file
    with pytest.raises(duckdb.CatalogException):
        file.read(lambda cursor: cursor.execute("SELECT * FROM nothing"))
    assert not list(filed.parent.glob("*.aside-*"))
    file.close()


def test_a_file_in_use_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.duckdb"
    owner = Filed(path)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        opened_by_another(path)
    assert ProjectionLocked.__name__ in failed.value.stderr and "HEADRACE_DATA_DIR" in failed.value.stderr
    assert "PID" in failed.value.stderr
    owner.file.close()


def opened_by_another(path: Path, **how: object) -> None:
    code = f"from pathlib import Path; from control.file import *; ProjectionFile(Path({str(path)!r})).open()"
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **how)  # type: ignore[call-overload]


def test_a_directory_that_may_not_be_written_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ProjectionForbidden, match="set HEADRACE_DATA_DIR to a directory"):
        ProjectionFile(Path("/proc/nowhere/p.duckdb")).open()
    with pytest.raises(ProjectionForbidden, match="let this user write there"):
        ProjectionFile(Path("/sys/p.duckdb")).open()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(path)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("file systems can't be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("size", [500, 20_000], ids=["at the commit", "in the transaction"])
def test_a_full_disk_takes_nothing_away_and_the_batch_goes_in_later(small_disk: Path, size: int) -> None:
    """Few rows go through DuckDB's log, which is written at the commit; many go to the file before it."""
    path = small_disk / "p.duckdb"
    filed, folder, log = Filed(path), Folder({}), large()
    written, refusals = 0, 0
    while written < PAGES:
        batch = folder.fold(log[written : written + size])
        while True:
            try:
                filed.file.write(batch)
                break
            except DiskRefuses as exc:
                assert exc.reason == "its file can't be written: No space left on device"
            assert count(filed) == written, "nothing of the batch, all of those before"
            refusals += 1
            if refusals == 3:
                subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        written += len(log[written : written + size])
    assert refusals == 3 and count(filed) == PAGES
    filed.file.close()
    again = Filed(path)
    assert again.offsets == {("pages", 0): log[-1].next_offset} and count(again) == PAGES
    again.file.close()


SORTED = "SELECT range FROM range(3_000_000) ORDER BY hash(range)"


def bounded(file: ProjectionFile, memory_mb: int, *, spills: bool) -> None:
    """DuckDB may take so much memory, and the rest from the disk or from nowhere."""
    file.read(lambda cursor: cursor.execute(f"SET memory_limit = '{memory_mb}MB'"))
    spilling = "max_temp_directory_size = '1GB'" if spills else "temp_directory = ''"
    file.read(lambda cursor: cursor.execute(f"SET {spilling}"))


def test_a_question_that_needs_too_much_memory_is_no_damage(filed: Path) -> None:
    file = Filed(filed).file
    bounded(file, 40, spills=False)
    with pytest.raises(MemoryRefuses, match="too little memory"):
        file.read(lambda cursor: cursor.execute(SORTED).fetchall())
    assert not list(filed.parent.glob("*.aside-*"))
    assert file.read(lambda cursor: cursor.execute("SELECT count(*) FROM pages").fetchone()) == (PAGES,)
    file.close()


def test_a_batch_that_needs_too_much_memory_goes_in_later(tmp_path: Path) -> None:
    filed = Filed(tmp_path / "p.duckdb")
    filed.apply(large()[:100])
    bounded(filed.file, 2, spills=False)
    batch = Folder({}).fold(large())
    with pytest.raises(Refuses):
        filed.file.write(batch)
    filed.file.read(lambda cursor: cursor.execute("SET memory_limit = '2GB'"))
    assert count(filed) == 100
    filed.file.write(batch)
    assert not list(tmp_path.glob("*.aside-*"))
    filed.file.close()


def test_a_question_that_spills_to_a_full_disk_is_no_damage(small_disk: Path) -> None:
    filed = Filed(small_disk / "p.duckdb")
    filed.apply(large()[:100])
    bounded(filed.file, 20, spills=True)
    with pytest.raises(DiskRefuses, match="No space left on device"):
        filed.file.read(lambda cursor: cursor.execute(SORTED).fetchall())
    assert not list(small_disk.glob("*.aside-*")) and count(filed) == 100
    filed.file.close()


def count(filed: Filed) -> int:
    return filed.file.read(lambda cursor: questions.tally(cursor, "j", 2, None)).chunks
