"""A file of what memory is not to hold, and a disk that has no room for it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from producer.frontier import BLOCK, Entry, Frontier
from producer.spill import SpillError, SpillFile
from tests.fakes.site import FakeSite
from tests.unit.producer.crawl_play import Play, article


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond 100 KB: the kernel refuses the write, as that of a full disk is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    file = SpillFile(tmp_path)
    place = file.append(b"x" * 90_000)
    with full_disk(), pytest.raises(SpillError, match=f"{tmp_path} can't be written or read: File too large"):
        file.append(b"y" * 20_000)
    assert file.read(place, 3) == b"xxx"
    file.clear()
    assert file.append(b"z") == 0


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("no directory")
    frontier = Frontier(directory=tmp_path / "spill")
    with pytest.raises(SpillError, match="spill can't be written or read: File exists"):
        for number in range(2 * BLOCK):
            frontier.add(Entry(f"https://h.example/{number}", 0))


async def test_a_crawl_is_ended_by_it_and_goes_on_once_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeSite(pages=1, min_kb=1, max_kb=1) as site:
        site.put("/", article("many", *(f"/{number}" for number in range(3 * BLOCK))))
        site.put("/1", article("one"))
        play = Play(monkeypatch, site.root + "/", max_pages=5, sitemaps=False)
        with full_disk(), pytest.raises(SpillError):
            await play.new().run()
        ending = await play.new().run()
    assert ending is not None and ending.failure is None
    assert play.states["/"] == play.states["/1"] == "fetched"
    assert site.requests["/"] == 1
