"""A file of what memory is not to hold, and a disk that has no room for it."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.frontier import BLOCK, Entry, Frontier
from producer.spill import SpillError, SpillFile


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond 1 MB: the kernel refuses the write, as that of a full disk is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    file = SpillFile(tmp_path)
    place = file.append(b"x" * 900_000)
    with pytest.raises(SpillError, match=f"{tmp_path} can't be written or read: File too large"):
        file.append(b"y" * 200_000)
    assert file.read(place, 3) == b"xxx"
    file.clear()
    assert file.append(b"z") == 0


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("no directory")
    frontier = Frontier(directory=tmp_path / "spill")
    with pytest.raises(SpillError, match="spill can't be written or read: File exists"):
        for number in range(2 * BLOCK):
            frontier.add(Entry(f"https://h.example/{number}", 0))
