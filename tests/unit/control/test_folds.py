"""The projection gives the same answers however the log was read: order across topics, batches, repetitions."""

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control import costs, folds, questions
from control import pages as job_pages
from control.file import ProjectionFile
from headrace.kafka.records import RawRecord
from headrace.state.manifest import PageFold
from schemas.codec import encode, headers_for
from schemas.events import Event, Place
from schemas.facts import (
    CallReserved,
    CallSettled,
    CrawlCounts,
    CrawlReport,
    HostRequests,
    IndexReport,
    Outcome,
    Outcomes,
    Request,
    RequestsMade,
    Stall,
)
from schemas.identity import page_key, parse_page_key
from schemas.pages import ChunkRef, PageRecord

JOB: dict[str, Any] = {"job_id": "j", "kb_id": "docs", "generation": 2}
CHUNKS = [f"c{n}" for n in range(6)]
URLS = ["u0", "u1", "u2"]
HOSTS = ["h0", "h1"]


class Filed:
    """A projection's file, and the folder that fills it."""

    def __init__(self, path: Path = Path(":memory:"), ends: Mapping[folds.Partition, int] | None = None) -> None:
        self.path = path
        self.file = ProjectionFile(path)
        self.file.open()
        self.offsets = self.file.claim("log", ends or {})
        self._folder = folds.Folder(self.offsets)

    def apply(self, batch: Sequence[RawRecord]) -> set[str]:
        return self.file.write(self._folder.fold(batch))

    def tally(self, committed: int | None = None) -> questions.Tally:
        return self.file.read(lambda cursor: questions.tally(cursor, "j", 2, committed))

    def pages(self) -> dict[str, str]:
        rows = self.file.read(lambda cursor: job_pages.rows(cursor, "j", limit=100))
        return {row["url"]: row["state"] for row in rows}

    def again(self) -> "Filed":
        self.file.close()
        return Filed(self.path)


def answers(filed: Filed) -> Any:
    read = filed.file.read
    return [
        read(lambda cursor: questions.told(cursor, "j")),
        read(lambda cursor: job_pages.rows(cursor, "j", limit=100)),
        [(e["offset"], e["type"]) for reports in ("all", "changes")
         for e in read(lambda cursor, r=reports: questions.trail(cursor, "j", after=None, limit=100, reports=r))],
        *(filed.tally(committed) for committed in (None, 0, 10)),
        read(lambda cursor: costs.of_job(cursor, "j")),
        read(lambda cursor: costs.of_kb(cursor, "docs")),
        read(lambda cursor: questions.hosts(cursor, "j")),
        [read(lambda cursor, h=host: questions.host_requests(cursor, "j", h, after=(-1, -1), limit=100))
         for host in HOSTS],
    ]  # fmt: skip


def records(topic: str, partition: int, events: Sequence[Event | str]) -> list[RawRecord]:
    """A string is the key of a tombstone."""
    return [
        RawRecord(
            topic=topic,
            partition=partition,
            offset=2 * n,
            key=(e if isinstance(e, str) else e.key()).encode(),
            value=None if isinstance(e, str) else encode(e),
            headers=() if isinstance(e, str) else tuple(headers_for(e, "t")),
        )
        for n, e in enumerate(events)
    ]


outcomes = st.builds(
    lambda entries: Outcomes(**JOB, partition=1, group_generation=1, worker="w", entries=tuple(entries), decided_at="t",
                             texts_embedded=len(entries), tokens_embedded=7, calls=len(entries)),
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
    lambda url, state, epoch, refs: PageRecord(
        **JOB, epoch=epoch, attempt=1, url=url, state=state, fetched_at="t",
        chunks=tuple(ChunkRef(i, born) for i, born in refs)),
    st.sampled_from(URLS), st.sampled_from(["fetched", "unchanged", "failed"]), st.integers(0, 2),
    st.lists(st.tuples(st.sampled_from(CHUNKS), st.sampled_from([1, 2])), max_size=4),
)  # fmt: skip


ledgers = st.builds(
    lambda hosts: RequestsMade(**JOB, epoch=0, owner="o", hosts=tuple(hosts), reported_at="t"),
    st.lists(
        st.builds(
            HostRequests, host=st.sampled_from(HOSTS), concurrency=st.integers(1, 8),
            robots=st.sampled_from([None, "found", "none"]), crawl_delay_s=st.none() | st.floats(0, 9),
            requests=st.lists(
                st.builds(
                    Request, at=st.sampled_from("abc"), url=st.sampled_from(URLS), purpose=st.just("page"),
                    status=st.none() | st.sampled_from([200, 304, 429, 500]), duration_ms=st.integers(0, 99),
                ),
                max_size=3,
            ).map(tuple),
        ),
        max_size=2, unique_by=lambda part: part.host,
    ),
)  # fmt: skip


def reserved(call_id: str, tokens: int = 10, pico_usd: int | None = 20, at: str = "2026-01-01T") -> CallReserved:
    return CallReserved(**JOB, call_id=call_id, provider="openai", model="m", texts=1, max_tokens=tokens,
                        max_pico_usd=pico_usd, group_generation=1, worker="w", reserved_at=at)  # fmt: skip


def settled(
    call_id: str, tokens: int = 7, pico_usd: int | None = 14, at: str = "2026-01-01T", **of: Any
) -> CallSettled:
    return CallSettled(**JOB | of, call_id=call_id, provider="openai", model="m", texts=2, requests=1, tokens=tokens,
                       pico_usd=pico_usd, worker="w", settled_at=at)  # fmt: skip


calls = st.one_of(
    st.builds(reserved, st.sampled_from("abc")),
    st.builds(settled, st.sampled_from("abc"), pico_usd=st.sampled_from([14, None])),
)
tombstones = st.sampled_from([page_key("docs", 2, url) for url in URLS])


@st.composite
def readings(draw: Any) -> tuple[list[RawRecord], list[list[RawRecord]]]:
    """A log, topic after topic; and the same log as some reader may get it, in batches, with repetitions."""
    events = records(
        "events", 1, draw(st.lists(st.one_of(outcomes, crawls, indexes, stalls, ledgers, calls), max_size=12))
    )
    manifest = records("pages", 0, draw(st.lists(st.one_of(pages, pages, tombstones), max_size=8)))
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
@given(readings(), st.data())
def test_order_batches_repetitions_and_restarts_do_not_show(
    reading: tuple[list[RawRecord], list[list[RawRecord]]], data: st.DataObject
) -> None:
    straight, batches = reading
    with tempfile.TemporaryDirectory() as directory:
        one, other = Filed(Path(directory, "one")), Filed(Path(directory, "other"))
        one.apply(straight)
        for batch in batches:
            if data.draw(st.booleans(), label="restart"):
                other = other.again()
            other.apply(batch)
        assert answers(one) == answers(other)
        tally = one.tally()
        assert tally.indexed + tally.duplicate + tally.failed == tally.processed <= tally.chunks
        assert one.pages() == newest([r for r in straight if r.topic == "pages"])
        one.file.close(), other.file.close()


def newest(manifest: Sequence[RawRecord]) -> dict[str, str]:
    """URL to state, as the topic's other readers fold it."""
    fold = PageFold(generation=2)
    for raw in manifest:
        if raw.value is None:
            fold.forget(parse_page_key((raw.key or b"").decode()).url)
        else:
            fold.fold(raw.offset, msgspec.json.decode(raw.value, type=PageRecord))
    return {url: logged.page.state for url, logged in fold.pages.items()}


def test_batches_written_together_are_as_those_written_apart() -> None:
    log = [*records("events", 1, [outcome(1, "c0", "indexed"), outcome(2, "c1", "parked")]),
           *records("pages", 0, [page("u0", "c0"), page("u1", "c1")])]  # fmt: skip
    apart, together, folder = Filed(), Filed(), folds.Folder({})
    for raw in log:
        apart.apply([raw])
    first, *others = [folder.fold([raw]) for raw in log]
    for each in others:
        first = first.with_next(each)
    assert together.file.write(first) == {"j"} and first.records == 4
    assert answers(apart) == answers(together)


def outcome(offset: int, chunk_id: str, result: Any, **more: Any) -> Outcomes:
    entry = Outcome(offset=offset, type="chunk", result=result, chunk_id=chunk_id, **more)
    return Outcomes(**JOB, partition=1, group_generation=1, worker="w", entries=(entry,), decided_at="t")


def page(url: str, *ids: str, state: Any = "fetched", born: int = 2, epoch: int = 0) -> PageRecord:
    chunks = tuple(ChunkRef(i, born) for i in ids)
    return PageRecord(**JOB, epoch=epoch, attempt=1, url=url, state=state, fetched_at="t", chunks=chunks)


def told(events: Sequence[Event], manifest: Sequence[Event], committed: int | None = None) -> questions.Tally:
    filed = Filed()
    filed.apply([*records("events", 1, events), *records("pages", 0, manifest)])
    return filed.tally(committed)


def test_a_page_s_row_tells_what_it_says_of_itself() -> None:
    said = {
        "discovered_from": "u1",
        "title": "T",
        "language": "en",
        "canonical_url": "u",
        "description": "About.",
        "published_on": "2026-01-02",
    }
    filed = Filed()
    filed.apply(records("pages", 0, [msgspec.structs.replace(page("u0"), **said)]))
    (row,) = filed.file.read(lambda cursor: job_pages.rows(cursor, "j", limit=9))
    assert said.items() <= row.items()


def test_pages_are_chosen_and_counted_by_what_became_of_them() -> None:
    root = "https://x"
    came = [
        page(f"{root}/a", "c0"),
        page(f"{root}/B", "c1", "c2"),
        told_of(f"{root}/c", "skipped", f"canonical is {root}/a"),
        told_of(f"{root}/d", "skipped", f"canonical is {root}/B"),
        told_of(f"{root}/e", "failed", "Timeout"),
        told_of(f"{root}/f", "skipped", "an RSS feed: 1,200 links"),
        told_of(f"{root}/g", "skipped", "an RSS feed: 1 link"),
    ]
    filed = Filed()
    filed.apply(records("pages", 0, came))

    def chosen(**wanted: Any) -> str:
        rows = filed.file.read(lambda cursor: job_pages.rows(cursor, "j", job_pages.Wanted(**wanted), limit=9))
        return "".join(row["url"].removeprefix(f"{root}/") for row in rows)

    assert chosen() == "Bacdefg"
    assert chosen(state="skipped") == "cdfg"
    assert chosen(reason="timeOUT") == "e"
    assert chosen(contains="/b") == "B"
    assert chosen(url=f"{root}/b") == "", "a whole URL is taken at its word"
    assert chosen(state="skipped", reason="canonical", contains="/D") == "d"
    summary = filed.file.read(lambda cursor: job_pages.summary(cursor, "j"))
    assert [tuple(row.values())[:3] for row in summary["states"]] == [
        ("skipped", 4, 0), ("fetched", 2, 3), ("failed", 1, 0),
    ]  # fmt: skip
    assert [tuple(row.values()) for row in summary["reasons"]] == [
        ("skipped", "an RSS feed: … links", 2), ("skipped", "canonical is …", 2), ("failed", "Timeout", 1),
    ]  # fmt: skip
    some = filed.file.read(lambda cursor: job_pages.summary(cursor, "j", job_pages.Wanted(state="failed")))
    assert [row["pages"] for row in some["states"]] == [1]


def told_of(url: str, state: Any, reason: str) -> PageRecord:
    return msgspec.structs.replace(page(url, state=state), reason=reason)


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


def test_a_newer_owners_page_stands_wherever_an_older_owners_record_comes() -> None:
    filed = Filed()
    filed.apply(records("pages", 0, [page("u0", "c0", epoch=5), page("u0", "c1", epoch=3, state="failed")]))
    assert filed.pages() == {"u0": "fetched"}
    assert filed.tally().chunks == 1


def test_a_forgotten_page_is_none_until_it_is_fetched_again() -> None:
    filed = Filed()
    log = records("pages", 0, [page("u0", "c0", epoch=5), page("u1", "c1"), page_key("docs", 2, "u0"),
                               page("u0", "c2", epoch=4)])  # fmt: skip
    filed.apply(log[:2])
    assert filed.apply(log[2:3]) == {"j"}
    assert filed.pages() == {"u1": "fetched"}
    assert (filed.tally().documents, filed.tally().chunks) == (1, 1)
    filed.apply(log[3:])
    assert filed.pages() == {"u0": "fetched", "u1": "fetched"}
    assert filed.tally().chunks == 2


@pytest.mark.parametrize("key", [b"\xff", b"docs", b"docs/two/u0", b"docs/" + b"9" * 30 + b"/u0"])
def test_a_tombstone_of_no_page_is_passed_over(key: bytes, caplog: pytest.LogCaptureFixture) -> None:
    filed = Filed()
    tombstone = RawRecord(topic="pages", partition=0, offset=0, key=key, value=None)
    assert filed.apply([tombstone]) == set()
    assert "passed over" in caplog.text


def test_garbage_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    filed = Filed()
    garbage = RawRecord(topic="events", partition=0, offset=7, key=None, value=b"\xff{")
    assert filed.apply([garbage, *records("pages", 0, [page("u0", "c0")])]) == {"j"}
    assert "passed over" in caplog.text


@pytest.mark.parametrize("part", folds._PARTS.values())
def test_parts_of_events_are_as_the_schema_has_them(part: msgspec.json.Decoder[Any]) -> None:
    whole = {PageRecord.TYPE: PageRecord, Outcomes.TYPE: Outcomes}[part.type.TYPE]
    fields = {field.name: (field.type, field.default) for field in msgspec.structs.fields(whole)}
    for field in msgspec.structs.fields(part.type):
        if field.name != "entries":
            assert (field.type, field.default) == fields[field.name], field.name
    entries = {field.name: (field.type, field.default) for field in msgspec.structs.fields(Outcome)}
    for field in msgspec.structs.fields(folds._Outcome):
        assert (field.type, field.default) == entries[field.name], field.name


def test_a_file_goes_on_where_it_stood(tmp_path: Path) -> None:
    events = records("events", 1, [outcome(1, "c0", "indexed"), outcome(2, "c1", "indexed")])
    first = Filed(tmp_path / "p.duckdb")
    assert first.offsets == {}
    first.apply(events[:1])
    second = first.again()
    assert second.offsets == {("events", 1): 1}
    second.apply(events)
    assert second.tally().batches == 2
    second.file.close()


def stall(service: Literal["producer", "consumer"] = "consumer") -> Stall:
    """It began long before it was told: its reason changed meanwhile."""
    return Stall(**JOB, service=service, dependency="Weaviate", reason="down", since="2026-01-01T00:00:00.000Z")


def report(state: Literal["running", "holding", "undone"]) -> IndexReport:
    return IndexReport(
        **JOB, state=state, revision=1, group_generation=1, worker="w", reported_at="2026-01-01T00:00:05.000Z"
    )


RUNNING = report("running")
CRAWLING = CrawlReport(
    **JOB,
    state="crawling",
    revision=1,
    epoch=1,
    counts=CrawlCounts(),
    owner="o",
    reported_at="2026-01-01T00:00:05.000Z",
)


@pytest.mark.parametrize(
    ("told", "open_stalls"),
    [
        ([stall()], 1),
        ([stall(), RUNNING], 0),
        ([RUNNING, stall()], 1),
        ([stall("producer"), RUNNING], 1),
        ([CRAWLING, stall("producer")], 1),
        ([stall("producer"), stall(), CRAWLING], 1),
        ([RUNNING, msgspec.structs.replace(stall(), ended=True)], 0),
        ([RUNNING, stall(), report("undone")], 0),
        ([RUNNING, stall(), report("holding")], 0),
        ([RUNNING, stall(), report("holding"), stall()], 1),
    ],
)
def test_who_reports_on_a_job_tells_anew_what_it_waits_for(told: list[Event], open_stalls: int) -> None:
    """By place, not by time: the stall behind the report counts, however long ago it began."""
    filed = Filed()
    filed.apply(records("events", 1, told))
    assert len(filed.file.read(lambda cursor: questions.told(cursor, "j")).stalls) == open_stalls


@pytest.mark.parametrize(
    ("reports", "over"),
    [
        ([("crawling", 10)], False),
        ([("crawling", 10), ("finished", 10)], True),
        ([("finished", 10), ("crawling", 200)], False),
        ([("finished", 10), ("crawling", 200), ("holding", 200)], False),
        ([("finished", 10), ("crawling", 200), ("finished", 200)], True),
        ([("finished", 10), ("crawling", 9)], True),
        ([("failed", 10)], True),
    ],
)
def test_a_crawl_that_begins_anew_is_not_over(reports: list[tuple[Any, int]], over: bool) -> None:
    """By epoch: an older owner's word that comes late says nothing of the newer one's crawl."""
    filed = Filed()
    crawls = [
        CrawlReport(**JOB, state=state, revision=1, epoch=epoch, counts=CrawlCounts(), owner="o", reported_at="t")
        for state, epoch in reports
    ]
    filed.apply(records("events", 1, crawls))
    assert filed.file.read(lambda cursor: questions.told(cursor, "j")).crawl_over is over


class TestLedger:
    """What the producer asked of hosts: each request once, however the log was read."""

    @staticmethod
    def told(n: int, *requests: Request, host: str = "a.example", **more: Any) -> RequestsMade:
        part = HostRequests(host=host, concurrency=2 + n, requests=requests, **more)
        other = HostRequests(host="b.example:8080", concurrency=1, requests=(asked(100 + n, 404),))
        return RequestsMade(**JOB, epoch=0, owner="p", hosts=(part, other), reported_at="t")

    @pytest.fixture
    def filed(self) -> Filed:
        filed = Filed()
        log = records("events", 1, [
            self.told(0, asked(0, 200), asked(1, 304, bytes=0), asked(2, 301), robots="none"),
            self.told(1, asked(3, 429), asked(4, 503), asked(5, 403), asked(6, 500)),
            self.told(2, asked(7, None, error="timeout", duration_ms=15_000),
                      asked(8, 200, error="too_large"), robots="found", crawl_delay_s=0.5,
                      closed_until="later"),
        ])  # fmt: skip
        filed.apply(log[:1])
        filed.apply(log)
        filed.apply(log[1:])
        return filed

    def test_hosts_by_outcome_with_the_newest_standing(self, filed: Filed) -> None:
        first, second = filed.file.read(lambda cursor: questions.hosts(cursor, "j"))
        assert first == {
            "host": "a.example", "requests": 9, "succeeded": 1, "not_modified": 1, "redirected": 1, "refused": 2,
            "client_errors": 1, "server_errors": 1, "unusable": 2, "first_at": "t00", "last_at": "t08",
            "bytes": 800, "mean_ms": 36.3, "p95_ms": 73.0, "waited_ms": 90, "robots": "found", "crawl_delay_s": 0.5,
            "concurrency": 4, "closed_until": "later",
        }  # fmt: skip
        assert (second["host"], second["requests"], second["client_errors"], second["robots"]) == (
            "b.example:8080", 3, 3, None,
        )  # fmt: skip
        assert filed.file.read(lambda cursor: questions.hosts(cursor, "other")) == []

    @pytest.mark.parametrize("limit", [1, 2, 3, 8, 100])
    def test_requests_page_by_page(self, filed: Filed, limit: int) -> None:
        found: list[dict[str, Any]] = []
        after = (-1, -1)
        while True:
            rows = filed.file.read(
                lambda cursor, after=after: questions.host_requests(cursor, "j", "a.example", after=after, limit=limit)
            )
            if not rows:
                break
            found += rows
            after = rows[-1]["position"], rows[-1]["number"]
        assert [row["url"] for row in found] == [f"https://a.example/{n}" for n in range(9)]
        assert [(row["status"], row["error"]) for row in found[-3:]] == [
            (500, None), (None, "timeout"), (200, "too_large"),
        ]  # fmt: skip
        assert found[0] == {
            "position": 0, "number": 0, "at": "t00", "method": "GET", "url": "https://a.example/0", "purpose": "page",
            "status": 200, "error": None, "bytes": 100, "duration_ms": 0, "waited_ms": 10, "attempt": 1,
        }  # fmt: skip

    def test_it_joins_no_audit_trail(self, filed: Filed) -> None:
        rows = filed.file.read(lambda cursor: questions.trail(cursor, "j", after=None, limit=9, reports="all"))
        assert rows == []


def asked(n: int, status: int | None, **more: Any) -> Request:
    given = {"bytes": 100, "duration_ms": 10 * n, "waited_ms": 10} | more
    return Request(at=f"t{n:02}", url=f"https://a.example/{n}", purpose="page", status=status, **given)
