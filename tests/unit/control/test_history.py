"""How a job went over time, from the facts of its log."""

from typing import Any

import msgspec
import pytest

from control.history import history
from control.questions import tally
from tests.unit.control.test_folds import Filed, outcome, page, records


def moments(filed: Filed, points: int) -> list[tuple[int, int, int]]:
    rows = filed.file.read(lambda cursor: history(cursor, "j", points))
    times = [row["at_s"] for row in rows]
    assert times == sorted(times)
    return [(row["pages"], row["chunks_found"], row["chunks_processed"]) for row in rows]


def at(second: int, event: Any) -> Any:
    name = "fetched_at" if hasattr(event, "fetched_at") else "decided_at"
    return msgspec.structs.replace(event, **{name: f"2026-11-26T10:00:{second:02}.000Z"})


def test_sums_up_to_each_moment() -> None:
    filed = Filed()
    manifest = [at(0, page("a", "a0", "a1")), at(5, page("b", "b0")), at(10, page("c", state="gone"))]
    told = [
        at(4, outcome(1, "a0", "indexed")),
        at(10, outcome(2, "a1", "dead_lettered")),
        at(9, outcome(3, "b0", "duplicate")),
    ]
    filed.apply([*records("pages", 0, manifest), *records("events", 1, told)])
    assert moments(filed, 10) == [(1, 2, 0), (1, 2, 1), (2, 3, 1), (2, 3, 3)]
    assert moments(filed, 2) == [(1, 2, 1), (2, 3, 3)]
    rows = filed.file.read(lambda cursor: history(cursor, "j", 10))
    assert [round(row["at_s"] - 1_795_687_200, 3) for row in rows] == [1, 5, 6, 10]


def test_pages_are_those_that_the_status_counts_as_read() -> None:
    filed = Filed()
    states = ("fetched", "unchanged", "kept", "redirected", "gone", "skipped", "failed", "out_of_scope")
    filed.apply(records("pages", 0, [at(5, page(state, state=state)) for state in states]))
    (now,) = filed.file.read(lambda cursor: history(cursor, "j", 10))
    assert now["pages"] == filed.tally().documents == 2
    (anew,) = filed.file.read(lambda cursor: history(cursor, "j", 10, anew=True))
    assert anew["pages"] == filed.file.read(lambda cursor: tally(cursor, "j", 2, None, anew=True)).documents == 3


def test_a_chunk_counts_once_when_its_first_end_is_told() -> None:
    filed = Filed()
    told = [
        at(1, outcome(1, "a0", "parked")), at(2, outcome(5, "a0", "indexed")), at(9, outcome(5, "a0", "duplicate")),
    ]  # fmt: skip
    filed.apply([*records("pages", 0, [at(0, page("a", "a0"))]), *records("events", 1, told)])
    assert moments(filed, 100) == [(1, 1, 0), (1, 1, 1)]


@pytest.mark.parametrize("points", [2, 3, 1000])
def test_one_moment_and_none(points: int) -> None:
    filed = Filed()
    assert moments(filed, points) == []
    filed.apply(records("pages", 0, [at(7, page("a", "a0"))]))
    assert moments(filed, points) == [(1, 1, 0)]


def test_a_time_that_is_none_is_left_out() -> None:
    filed = Filed()
    filed.apply(records("pages", 0, [page("a", "a0"), at(1, page("b", "b0"))]))
    assert moments(filed, 10) == [(1, 1, 0)]
