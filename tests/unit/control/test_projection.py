"""The projection's tasks around its file: what waits for what."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control import projection
from control.ailments import Ailments
from control.file import DiskRefuses
from control.folds import Batch, Folder, Partition
from control.projection import MAX_AHEAD, Projection
from control.reader import BATCH_RECORDS
from tests.support.waiting import until
from tests.unit.control.test_folds import page, records


class EndlessLog:
    """A reader that always has more."""

    def __init__(self, *_: object, **__: object) -> None:
        self._folder, self._read = Folder({}), 0

    def find(self) -> None:
        pass

    def ends(self) -> dict[Partition, int]:
        return {}

    def assign(self, offsets: dict[Partition, int]) -> None:
        pass

    def read(self) -> Batch:
        (record,) = records("pages", 0, [page(f"u{self._read}", "c0")])
        self._read += 1
        batch = self._folder.fold([msgspec.structs.replace(record, offset=self._read)])
        return Batch(batch.tables, batch.offsets, BATCH_RECORDS)  # as if it were a full one

    def close(self) -> None:
        pass


async def test_reading_waits_for_a_disk_that_refuses_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "LogReader", EndlessLog)
    monkeypatch.setattr(projection, "LONGEST_PAUSE_S", 0.05)
    ailments, applied = Ailments(lambda: None), list[set[str]]()
    held = Projection(tmp_path / "p.duckdb", on_applied=applied.append, ailments=ailments)
    await held.open()
    write, full = held._file.write, [True]

    def refusing(batch: Batch) -> set[str]:
        if full[0]:
            raise DiskRefuses("full")
        return write(batch)

    monkeypatch.setattr(held._file, "write", refusing)
    await held.start("nowhere", prefix="", log_identity="log")
    first = await until(_told(ailments), what="the ailment is told")

    async def ahead() -> bool:
        return held.queued >= MAX_AHEAD

    await until(ahead, what="as much as may be is read ahead")
    for _ in range(20):
        await asyncio.sleep(0)
        assert held.queued < MAX_AHEAD + BATCH_RECORDS
    assert ailments.all() == first and applied == []
    full[0] = False
    await until(_healthy(ailments), what="it goes on by itself")

    async def wrote() -> bool:
        return {"j"} in applied

    await until(wrote, what="what was kept is written")
    await held.stop()


def _told(ailments: Ailments) -> Any:
    async def told() -> Any:
        return ailments.all()

    return told


def _healthy(ailments: Ailments) -> Any:
    async def healthy() -> bool:
        return not ailments.all()

    return healthy
