"""Dead letters and changes between generations, against models, however the log was cut into batches."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control import changes
from control.letters import Wanted, letters
from control.standing import Standing
from schemas.events import Event, Place
from schemas.facts import DeadLettered, DeadLetterRetried, IndexReport, JobFinished, Outcome, Outcomes
from schemas.kb import GenerationState
from schemas.pages import ChunkRef, PageRecord
from tests.unit.consumer.made import command
from tests.unit.control.test_folds import JOB, Filed, records

steps = st.lists(
    st.tuples(
        st.sampled_from(["dead", "dead", "told again", "retried", "indexed", "superseded", "another's end", "over"]),
        st.integers(0, 2),
    ),
    max_size=12,
)


class Model:
    """What becomes of three records, each at its own original offset."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.newest: dict[int, int] = {}
        self.retried: set[int] = set()
        self.indexed: set[int] = set()
        self.over = False
        self._letters = 0

    def step(self, what: str, record: int) -> None:
        if what == "dead":
            self.newest[record] = self._letters
            self._letters += 1
        if what in ("dead", "told again") and record in self.newest:
            self.events.append(_dead(record, self.newest[record]))
        elif what == "retried" and record in self.newest:
            self.retried.add(self.newest[record])
            self.events.append(_retried(record, self.newest[record]))
        elif what in ("indexed", "superseded"):
            self.indexed |= {record} if what == "indexed" else set()
            self.events.append(_outcome(record, what))
        elif what == "another's end":
            self.events += [_finished("completed"), msgspec.structs.replace(_finished("failed"), job_id="another")]
        elif what == "over":
            self.over = True
            self.events.append([_UNDONE, _finished("failed")][record % 2])

    def expected(self) -> dict[int, tuple[int, str]]:
        """By record, its newest dead letter and that one's state."""
        return {record: (n, "void" if self.over else self._state(record, n)) for record, n in self.newest.items()}

    def _state(self, record: int, letter: int) -> str:
        return "healed" if record in self.indexed else "retried" if letter in self.retried else "waiting"


def _dead(record: int, letter: int) -> DeadLettered:
    return DeadLettered(
        job_id="j", chunk_id=f"c{record}", record_key="j", topic="chunks", place=Place(1, record),
        dead_letter=Place(1, letter), stage="embed", reason="400", dead_lettered_at="t",
    )  # fmt: skip


def _retried(record: int, letter: int) -> DeadLetterRetried:
    return DeadLetterRetried(
        **JOB, dead_letter=Place(1, letter), place=Place(1, record), copy=Place(1, 100), retried_at="t", retried_by="t"
    )


def _outcome(record: int, result: Any) -> Outcomes:
    entry = Outcome(offset=50 + record, type="chunk", result=result, chunk_id=f"c{record}")
    return Outcomes(**JOB, partition=1, group_generation=1, worker="w", entries=(entry,), decided_at="t")


def _finished(outcome: Any) -> JobFinished:
    return JobFinished(**JOB, outcome=outcome, finished_at="t")


_UNDONE = IndexReport(**JOB, state="undone", revision=2, group_generation=1, worker="w", reported_at="t")


@settings(max_examples=30, deadline=None)
@given(steps, st.integers(1, 5))
def test_a_record_is_what_its_newest_letter_is(taken: list[tuple[str, int]], batch: int) -> None:
    model, filed = Model(), Filed()
    for what, record in taken:
        model.step(what, record)
    told = records("events", 1, model.events)
    for start in range(0, len(told), batch):
        filed.apply(told[start : start + batch])
    found = filed.file.read(lambda cursor: letters(cursor, Wanted()))
    assert {each.origin.offset: (each.place.offset, each.state) for each in found} == model.expected()
    for state in ("waiting", "retried", "healed", "void"):
        some = filed.file.read(lambda cursor, s=state: letters(cursor, Wanted(state=s)))  # type: ignore[misc]
        assert some == [each for each in found if each.state == state]
    untold = filed.file.read(lambda cursor: letters(cursor, Wanted(untold=True)))
    assert {each.origin.offset for each in untold} == {r for r, n in model.newest.items() if n not in model.retried}
    filed.file.close()


manifests = st.dictionaries(st.sampled_from("abcd"), st.frozensets(st.integers(0, 3), max_size=3))


def _pages(job: str, generation: int, manifest: dict[str, frozenset[int]]) -> list[Event]:
    return [
        PageRecord(
            kb_id="docs", generation=generation, job_id=job, epoch=1, attempt=1, url=url, state="fetched",
            fetched_at="t", chunks=tuple(ChunkRef(f"{url}{n}", generation) for n in sorted(chunks)),
        )
        for url, chunks in manifest.items()
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(manifests, manifests)
def test_changes_are_differences_of_sets(before: dict[str, frozenset[int]], after: dict[str, frozenset[int]]) -> None:
    filed, jobs = Filed(), changes.Compared("one", "two")
    filed.apply(records("pages", 0, [*_pages("one", 1, before), *_pages("two", 2, after)]))
    totals = filed.file.read(lambda cursor: changes.totals(cursor, jobs))
    rows = [
        row
        for change in changes.CHANGES
        for row in filed.file.read(
            lambda cursor, c=change: changes.pages(cursor, jobs, change=c, url=None, limit=9)  # type: ignore[misc]
        )
    ]
    expected = {}
    for url in {*before, *after}:
        was, stays = before.get(url, frozenset()), after.get(url, frozenset())
        if was or stays:
            word = "unchanged" if was == stays else "added" if not was else "removed" if not stays else "changed"
            expected[url] = (word, len(stays - was), len(was - stays), len(was & stays))
    columns = ("change", "chunks_added", "chunks_removed", "chunks_kept")
    assert {row["url"]: tuple(row[name] for name in columns) for row in rows} == expected
    assert sum(totals[name] for name in totals if name.startswith("pages_")) == len(expected)
    assert totals["chunks_added"] == sum(each[1] for each in expected.values())
    assert totals["chunks_removed"] == sum(each[2] for each in expected.values())
    filed.file.close()


def test_texts_that_are_embedded_anew_have_not_changed() -> None:
    """Under other ids; one that was not stored is missing."""
    filed, jobs = Filed(), changes.Compared("one", "two", anew=True)
    before = {"a": frozenset({0, 1}), "b": frozenset({0, 1}), "c": frozenset({0})}
    after = {"a": frozenset({8, 9}), "b": frozenset({9}), "c": frozenset[int]()}
    filed.apply(records("pages", 0, [*_pages("one", 1, before), *_pages("two", 2, after)]))
    totals = filed.file.read(lambda cursor: changes.totals(cursor, jobs))
    assert totals == {
        "pages_added": 0, "pages_changed": 1, "pages_removed": 1, "pages_unchanged": 1,
        "chunks_added": 0, "chunks_removed": 2, "chunks_kept": 3,
    }  # fmt: skip
    filed.file.close()


@pytest.mark.parametrize(
    ("ends", "compared"),
    [
        ((1, 2), ("1", "2", True)),
        ((1, 3), ("2", "3", False)),
        ((2, 3), ("2", "3", False)),
        ((3, 4), ("3", "4", True)),
        ((2, 4), ("2", "3", False)),
        ((1, 4), ("2", "3", False)),
        ((4, 1), ("4", "1", False)),
    ],
)
def test_a_generation_is_compared_by_the_ids_that_its_texts_have_next(ends: Any, compared: Any) -> None:
    """2 embeds the texts of 1 anew and 4 those of 3, a refresh of 2."""
    sources = {1: None, 2: 1, 3: None, 4: 3}
    jobs = [command(job_id=str(n), generation=n, reembeds=source) for n, source in sources.items()]
    states = tuple(
        GenerationState(
            kb_id="docs", generation=n, job_id=str(n), state="published", base=None, collection="C", changed_at="t"
        )
        for n in sources
    )
    standing = Standing("docs", 0, 0, frozenset(), states)
    found = changes.compared(standing, jobs, *(standing.named(each) for each in ends))
    assert (found.before, found.after, found.anew) == compared
