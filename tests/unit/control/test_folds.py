"""The projection gives the same answers however the log was read: order across topics, batches, repetitions."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control import questions
from control.file import ProjectionFile, ProjectionLocked
from headrace.kafka.records import RawRecord
from schemas.codec import encode, headers_for
from schemas.events import Event, Place
from schemas.facts import CrawlCounts, CrawlReport, IndexReport, Outcome, Outcomes, Stall
from schemas.pages import ChunkRef, PageRecord

JOB: dict[str, Any] = {"job_id": "j", "kb_id": "docs", "generation": 2}
CHUNKS = [f"c{n}" for n in range(6)]
URLS = ["u0", "u1", "u2"]


def in_memory() -> ProjectionFile:
    file = ProjectionFile(Path(":memory:"))
    file.open()
    file.claim("log")
    return file


def answers(file: ProjectionFile) -> Any:
    return [
        file.read(lambda cursor: questions.told(cursor, "j")),
        file.read(lambda cursor: questions.page_rows(cursor, "j", state=None, after=None, limit=100)),
        *(file.read(lambda cursor, c=c: questions.tally(cursor, "j", 2, c)) for c in (None, 0, 10)),
    ]


def records(topic: str, partition: int, events: Sequence[Event]) -> list[RawRecord]:
    return [
        RawRecord(
            topic=topic,
            partition=partition,
            offset=2 * n,
            key=b"k",
            value=encode(e),
            headers=tuple(headers_for(e, "t")),
        )
        for n, e in enumerate(events)
    ]


outcomes = st.builds(
    lambda entries: Outcomes(**JOB, partition=1, group_generation=1, worker="w", entries=tuple(entries), decided_at="t",
                             texts_embedded=len(entries), tokens_embedded=7, calls=1),
    st.lists(
        st.builds(
            Outcome, offset=st.integers(0, 20), type=st.just("chunk"),
            result=st.sampled_from(["indexed", "duplicate", "dead_lettered", "parked", "requeued", "superseded"]),
            chunk_id=st.sampled_from(CHUNKS), reused=st.booleans(),
            origin=st.none() | st.builds(Place, st.just(1), st.integers(0, 20)),
        ),
        max_size=4,
    ),
)  # fmt: skip
crawls = st.builds(
    lambda state, revision, epoch, pages: CrawlReport(
        **JOB, state=state, revision=revision, epoch=epoch, counts=CrawlCounts(pages_crawled=pages), owner="o",
        reported_at="t"),
    st.sampled_from(["crawling", "holding", "finished"]), st.integers(1, 3), st.integers(0, 2), st.integers(0, 9),
)  # fmt: skip
indexes = st.builds(
    lambda state, revision, group: IndexReport(
        **JOB, state=state, revision=revision, group_generation=group, worker="w", reported_at="t"),
    st.sampled_from(["running", "holding", "undone"]), st.integers(1, 3), st.integers(1, 2),
)  # fmt: skip
stalls = st.builds(
    lambda dependency, ended: Stall(
        **JOB, service="consumer", dependency=dependency, reason="r", since="t", ended=ended),
    st.sampled_from(["Weaviate", "OpenAI"]), st.booleans(),
)  # fmt: skip
pages = st.builds(
    lambda url, state, refs: PageRecord(
        **JOB, epoch=0, attempt=1, url=url, state=state, fetched_at="t",
        chunks=tuple(ChunkRef(i, born) for i, born in refs)),
    st.sampled_from(URLS), st.sampled_from(["fetched", "unchanged", "failed"]),
    st.lists(st.tuples(st.sampled_from(CHUNKS), st.sampled_from([1, 2])), max_size=4),
)  # fmt: skip


@st.composite
def readings(draw: Any) -> tuple[list[RawRecord], list[list[RawRecord]]]:
    """A log, topic after topic; and the same log as some reader may get it, in batches, with repetitions."""
    events = records("events", 1, draw(st.lists(st.one_of(outcomes, crawls, indexes, stalls), max_size=12)))
    manifest = records("pages", 0, draw(st.lists(pages, max_size=8)))
    queues, mixed = [list(events), list(manifest)], []
    while any(queues):
        queue = draw(st.sampled_from([q for q in queues if q]))
        mixed.append(queue.pop(0))
        if draw(st.booleans()) and draw(st.booleans()):  # read again from an earlier place
            mixed += [r for r in mixed[-3:] if r.topic == mixed[-1].topic]
    cuts = sorted(draw(st.lists(st.integers(0, len(mixed)), max_size=4)))
    edges = [0, *cuts, len(mixed)]
    return [*events, *manifest], [mixed[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(readings())
def test_order_batches_and_repetitions_do_not_show(reading: tuple[list[RawRecord], list[list[RawRecord]]]) -> None:
    straight, batches = reading
    one, other = in_memory(), in_memory()
    one.apply(straight)
    for batch in batches:
        other.apply(batch)
    assert answers(one) == answers(other)
    tally = answers(one)[2]
    assert tally.indexed + tally.duplicate + tally.failed == tally.processed <= tally.chunks
    one.close(), other.close()


def outcome(offset: int, chunk_id: str, result: Any, **more: Any) -> Outcomes:
    entry = Outcome(offset=offset, type="chunk", result=result, chunk_id=chunk_id, **more)
    return Outcomes(**JOB, partition=1, group_generation=1, worker="w", entries=(entry,), decided_at="t")


def page(url: str, *ids: str, state: Any = "fetched", born: int = 2) -> PageRecord:
    chunks = tuple(ChunkRef(i, born) for i in ids)
    return PageRecord(**JOB, epoch=0, attempt=1, url=url, state=state, fetched_at="t", chunks=chunks)


def told(events: Sequence[Event], manifest: Sequence[Event], committed: int | None = None) -> questions.Tally:
    file = in_memory()
    file.apply([*records("events", 1, events), *records("pages", 0, manifest)])
    tally = file.read(lambda cursor: questions.tally(cursor, "j", 2, committed))
    file.close()
    return tally


def test_only_what_the_group_has_committed_past_counts() -> None:
    events = [outcome(4, "c0", "indexed"), outcome(5, "c1", "indexed")]
    manifest = [page("u0", "c0"), page("u1", "c1")]
    assert [told(events, manifest, c).processed for c in (0, 4, 5, 6, None)] == [0, 0, 1, 2, 2]
    assert [told(events, manifest, c).documents_processed for c in (0, 5, 6)] == [0, 1, 2]


def test_chunks_are_counted_once_and_under_the_best_outcome() -> None:
    events = [
        outcome(1, "c0", "parked"), outcome(5, "c0", "indexed", origin=Place(1, 1)), outcome(9, "c0", "duplicate"),
        outcome(2, "c1", "dead_lettered"), outcome(3, "c2", "parked"), outcome(4, "c3", "duplicate"),
    ]  # fmt: skip
    tally = told(events, [page("u0", "c0", "c1", "c2", "c3", "c4")])
    assert (tally.chunks, tally.processed) == (5, 3)
    assert (tally.indexed, tally.failed, tally.duplicate, tally.parked) == (1, 1, 1, 1)
    assert tally.batches == 6


def test_a_page_that_was_fetched_again_counts_as_it_is_now() -> None:
    events = [outcome(1, "c0", "indexed"), outcome(2, "c9", "indexed")]
    tally = told(events, [page("u0", "c0", "c1"), page("u0", "c9")])
    assert (tally.chunks, tally.processed, tally.documents, tally.documents_processed) == (1, 1, 1, 1)


def test_chunks_of_earlier_generations_are_not_this_jobs_work() -> None:
    tally = told([], [page("u0", "c0", state="unchanged", born=1), page("u1", state="failed")])
    assert (tally.chunks, tally.documents, tally.documents_processed) == (0, 1, 1)


def test_garbage_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    file = in_memory()
    garbage = RawRecord(topic="events", partition=0, offset=7, key=None, value=b"\xff{")
    assert file.apply([garbage, *records("pages", 0, [page("u0", "c0")])]) == {"j"}
    assert "passed over" in caplog.text


def test_a_file_goes_on_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "p.duckdb"
    events = records("events", 1, [outcome(1, "c0", "indexed"), outcome(2, "c1", "indexed")])
    first = ProjectionFile(path)
    first.open()
    assert first.claim("log") == {}
    first.apply(events[:1])
    first.close()
    second = ProjectionFile(path)
    second.open()
    assert second.claim("log") == {("events", 1): 1}
    second.apply(events)
    assert second.read(lambda cursor: questions.tally(cursor, "j", 2, None)).batches == 2
    second.close()


@pytest.mark.parametrize("fault", ["corrupt", "other log", "other version"])
def test_a_file_that_does_not_fit_is_set_aside(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.duckdb"
    if fault == "corrupt":
        path.write_bytes(b"garbage" * 3_000)
    else:
        monkeypatch.setattr("control.file.SCHEMA_VERSION", 0 if fault == "other version" else 1)
        old = ProjectionFile(path)
        old.open()
        old.claim("another log" if fault == "other log" else "log")
        old.close()
        monkeypatch.undo()
    file = ProjectionFile(path)
    file.open()
    assert file.claim("log") == {}
    assert len(list(tmp_path.glob("p.duckdb.aside-*"))) == 1
    file.close()


def test_a_file_in_use_is_named(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = tmp_path / "p.duckdb"
    owner = ProjectionFile(path)
    owner.open()
    code = f"from pathlib import Path; from control.file import *; ProjectionFile(Path({str(path)!r})).open()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    owner.close()
    assert ProjectionLocked.__name__ in run.stderr and "HEADRACE_DATA_DIR" in run.stderr and "PID" in run.stderr
