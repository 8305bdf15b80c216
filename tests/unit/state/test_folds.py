"""Folds of compacted topics: the same answer in every service, after any history."""

import logging
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import tracing
from headrace.kafka.records import RawRecord
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from headrace.state.parked import Parked
from schemas.codec import encode, headers_for
from schemas.commands import Desired, JobCommand
from schemas.events import Event
from schemas.kb import Definition, GenerationState, KbDefined, Source, resolve
from schemas.parked import ParkedSpan, RequeuedThrough

DEFINITION = resolve(Definition(source=Source(urls=("https://docs.example.org/",))), openai_available=False)
NOW = "2026-11-24T09:15:00.000Z"
ORDER = ["open", "published", "undone"]


def command(revision: int = 1, desired: Desired = "running", job_id: str = "job", **changed: Any) -> JobCommand:
    fields: dict[str, Any] = {"kb_id": "docs", "generation": 1, "partition": 4, "definition": DEFINITION} | changed
    return JobCommand(job_id=job_id, desired=desired, revision=revision, issued_at=NOW, issued_by="test", **fields)


def generation(number: int, state: Any, kb_id: str = "docs") -> GenerationState:
    return GenerationState(
        kb_id=kb_id, generation=number, job_id=f"job-{number}", state=state, base=None, collection="C", changed_at=NOW,
    )  # fmt: skip


def span(first: int, last: int, job_id: str = "job") -> ParkedSpan:
    return ParkedSpan(
        job_id=job_id, kb_id="docs", generation=1, partition=4,
        first_offset=first, last_offset=last, revision=2, parked_at=NOW,
    )  # fmt: skip


def record(event: Event, *, partition: int = 4, offset: int = 0) -> RawRecord:
    return RawRecord(
        topic=event.TOPIC, partition=partition, offset=offset, key=event.key().encode(), value=encode(event),
        headers=tuple(headers_for(event, "test")),
    )  # fmt: skip


def tombstone(event: Event) -> RawRecord:
    return RawRecord(topic=event.TOPIC, partition=4, offset=0, key=event.key().encode(), value=None)


def garbage(topic: str, value: bytes = b"garbage") -> RawRecord:
    return RawRecord(topic=topic, partition=4, offset=7, key=b"job", value=value)


class TestCommands:
    @pytest.fixture(autouse=True)
    def fold(self) -> None:
        self.changes: list[JobCommand] = []
        self.refusals: list[str] = []
        self.commands = Commands(self.changes.append, lambda raw, reason: self.refusals.append(reason))

    def apply(self, *events: JobCommand) -> None:
        for event in events:
            self.commands.apply(record(event))

    def test_the_newest_valid_one_is_in_force(self) -> None:
        self.apply(command(1), command(2, "paused"), command(3))
        assert self.commands.get("job") == command(3)
        assert self.changes == [command(1), command(2, "paused"), command(3)]
        assert self.refusals == []

    def test_an_invalid_one_leaves_the_last_valid_one_in_force(self) -> None:
        self.apply(command(1), command(5, "cancelled"), command(2, "paused"))
        assert self.commands.get("job") == command(2, "paused")
        assert self.refusals == ["revision 5 does not follow 1"]

    def test_cancelled_is_final(self) -> None:
        self.apply(command(1), command(2, "cancelled"), command(3, "running"))
        assert self.commands.get("job") == command(2, "cancelled")
        assert self.refusals == ["a cancelled job can't become running"]

    def test_a_repeated_one_is_no_change(self) -> None:
        self.apply(command(1), command(1))
        assert (self.changes, self.refusals) == ([command(1)], [])

    @pytest.mark.parametrize("value", [b"garbage", b"{}", b"\xff"])
    def test_garbage_is_refused(self, value: bytes) -> None:
        self.commands.apply(garbage("commands", value))
        assert self.commands.all() == [] and len(self.refusals) == 1

    def test_a_console_record_without_headers_counts(self) -> None:
        bare = RawRecord(topic="commands", partition=4, offset=0, key=b"job", value=encode(command()))
        self.commands.apply(bare)
        assert self.commands.get("job") == command()

    @pytest.mark.parametrize("key", [None, b"", b"other", b"\xff"])
    def test_the_key_must_be_the_jobs(self, key: bytes | None) -> None:
        """Under another key, compaction would keep it beside the real one for ever."""
        self.commands.apply(RawRecord(topic="commands", partition=4, offset=0, key=key, value=encode(command())))
        assert self.commands.get("job") is None
        assert self.refusals == ["the record's key is not the command's job_id"]

    def test_it_must_stand_on_the_jobs_partition(self) -> None:
        self.commands.apply(record(command(), partition=5))
        assert self.refusals == ["the command names partition 4 but stands on 5"]

    def test_a_command_has_the_trace_of_who_gave_it(self) -> None:
        def give(event: JobCommand, traceparent: bytes | None) -> None:
            raw, traced = record(event), ((tracing.HEADER, traceparent),) if traceparent else ()
            self.commands.apply(msgspec.structs.replace(raw, headers=(*raw.headers, *traced)))

        give(command(1), b"00-start")
        give(command(1), None)
        give(command(5, "paused"), b"00-invalid")
        assert self.commands.traceparent(command(1)) == "00-start"
        give(command(2, "paused"), b"00-pause")
        assert self.commands.traceparent(command(1)) is None, "it is not the newest any more"
        assert self.commands.traceparent(command(2, "paused")) == "00-pause"
        give(command(3), None)
        assert self.commands.traceparent(command(3)) is None
        assert self.commands.traceparent(command(job_id="unknown")) is None

    def test_a_tombstone_changes_nothing(self) -> None:
        self.apply(command(1))
        self.commands.apply(tombstone(command(1)))
        assert self.commands.get("job") == command(1)

    def test_jobs_are_listed_by_partition(self) -> None:
        elsewhere = command(job_id="other", partition=5)
        self.apply(command())
        self.commands.apply(record(elsewhere, partition=5))
        assert self.commands.of_partition(4) == [command()]
        assert self.commands.of_partition(5) == [elsewhere]
        assert len(self.commands.all()) == 2

    @given(st.lists(st.tuples(st.integers(-1, 6), st.sampled_from(["running", "paused", "cancelled"]))))
    def test_after_any_history_revisions_rise_by_one(self, history: list[tuple[int, Desired]]) -> None:
        changes: list[JobCommand] = []
        commands = Commands(changes.append)
        for revision, desired in history:
            commands.apply(record(command(revision, desired)))
        revisions = [each.revision for each in changes]
        assert revisions == list(range(revisions[0], revisions[0] + len(revisions))) if revisions else True
        assert "cancelled" not in [each.desired for each in changes][:-1] or changes[-1].desired == "cancelled"
        assert commands.all() == changes[-1:]


class TestKnowledgeBases:
    @pytest.fixture(autouse=True)
    def fold(self) -> None:
        self.changes: list[KbDefined | GenerationState] = []
        self.kbs = KnowledgeBases(self.changes.append)

    def apply(self, *events: Event) -> None:
        for event in events:
            self.kbs.apply(record(event))

    def test_definitions_and_generations_live_side_by_side(self) -> None:
        defined = KbDefined(kb_id="docs", definition=DEFINITION, last_generation=1, updated_at=NOW, updated_by="test")
        self.apply(defined, generation(1, "open"))
        assert (self.kbs.get("docs"), self.kbs.generation("docs", 1)) == (defined, generation(1, "open"))
        assert self.kbs.all() == [defined]
        assert self.changes == [defined, generation(1, "open")]

    def test_the_highest_published_one_is_searched(self) -> None:
        self.apply(
            generation(10, "published"), generation(9, "published"), generation(11, "open"), generation(2, "undone")
        )
        published = self.kbs.published("docs")
        assert published is not None and published.generation == 10
        assert [each.generation for each in self.kbs.generations("docs")] == [2, 9, 10, 11]

    def test_undoing_the_newest_goes_back_to_the_one_before(self) -> None:
        self.apply(generation(1, "published"), generation(2, "published"), generation(2, "undone"))
        published = self.kbs.published("docs")
        assert published is not None and published.generation == 1
        assert self.kbs.undone("docs") == {2}

    def test_nothing_is_published_at_first(self) -> None:
        self.apply(generation(1, "open"), generation(1, "published", kb_id="other"))
        assert self.kbs.published("docs") is None

    @pytest.mark.parametrize("later", ["open", "published"])
    def test_undone_is_final(self, later: str) -> None:
        """A worker that slept through a rebalance may write late."""
        self.apply(generation(1, "open"), generation(1, "undone"))
        count = len(self.changes)
        self.apply(generation(1, later))
        assert self.kbs.generation("docs", 1) == generation(1, "undone")
        assert len(self.changes) == count

    @pytest.mark.parametrize(
        ("states", "hidden"),
        [
            (["open", "published", "undone"], []),
            (["published", "open"], ["published"]),
            (["undone", "published"], ["undone"]),
            (["published", "undone", "open", "published"], ["undone"]),
            (["undone", "open", "undone"], []),
        ],
    )
    def test_what_a_later_record_hides_is_told(self, states: list[str], hidden: list[str]) -> None:
        told: list[GenerationState] = []
        self.kbs = KnowledgeBases(on_hidden=told.append)
        self.apply(*(generation(1, state) for state in states))
        assert [state.state for state in self.kbs.hidden()] == hidden
        assert bool(told) == any(later < earlier for earlier, later in pairwise(map(ORDER.index, states)))

    def test_those_undone_lately(self) -> None:
        self.apply(generation(1, "undone"), generation(2, "open"))
        assert [state.generation for state in self.kbs.undone_since(NOW)] == [1]
        assert not self.kbs.undone_since("9")

    def test_garbage_is_passed_over_and_told(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            self.kbs.apply(garbage("kbs"))
        assert self.changes == []
        assert "kbs 4/7 is passed over" in caplog.text

    def test_a_tombstone_changes_nothing(self) -> None:
        self.apply(generation(1, "published"))
        self.kbs.apply(tombstone(generation(1, "published")))
        assert self.kbs.published("docs") is not None


class TestParked:
    @pytest.fixture(autouse=True)
    def fold(self) -> None:
        self.parked = Parked()

    def test_spans_are_in_order_and_apart_by_job(self) -> None:
        for each in (span(10, 20), span(1, 5), span(1, 3), span(7, 8, job_id="other")):
            self.parked.apply(record(each))
        assert self.parked.of("job") == [span(1, 3), span(1, 5), span(10, 20)]
        assert self.parked.of("other") == [span(7, 8, job_id="other")]
        assert self.parked.of("unknown") == []

    def test_a_tombstone_takes_its_span_alone(self) -> None:
        for each in (span(1, 5), span(10, 20)):
            self.parked.apply(record(each))
        self.parked.apply(tombstone(span(1, 5)))
        self.parked.apply(tombstone(span(1, 5)))
        self.parked.apply(tombstone(span(77, 78)))
        assert self.parked.of("job") == [span(10, 20)]

    def test_a_span_read_twice_stands_once(self) -> None:
        for _ in range(2):
            self.parked.apply(record(span(1, 5)))
        assert self.parked.of("job") == [span(1, 5)]

    def test_copies_stand_up_to_the_highest_offset_told(self) -> None:
        assert self.parked.requeued_through("job") == -1
        for offset in (30, 40, 35):
            self.parked.apply(record(RequeuedThrough(job_id="job", partition=4, offset=offset)))
        assert self.parked.requeued_through("job") == 40
        assert self.parked.requeued_through("other") == -1

    def test_garbage_is_passed_over_and_told(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            self.parked.apply(garbage("parked"))
        assert self.parked.of("job") == []
        assert "parked 4/7 is passed over" in caplog.text
