"""Every verdict on a record, by command, generation and epoch."""

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from consumer.item import Item, item_of
from consumer.judge import Judge
from headrace.kafka.follower import Follower
from headrace.kafka.records import RawRecord
from schemas.events import Event, Place
from tests.unit.consumer.made import (
    JOB,
    Known,
    LateCommands,
    begin,
    chunk,
    command,
    crawl_end,
    generation,
    item,
    newer,
    page_end,
    repair_end,
)


def judge_of(known: Known, *late: Any) -> Judge:
    follower = cast(Follower, LateCommands(known, *late))
    return Judge(follower, known.commands, known.kbs)


async def judged(known: Known, *items: Item, stalled: bool = False) -> list[str | None]:
    judge = judge_of(known)
    if stalled:
        judge.stalled.add(JOB)
    for each in items:
        judge.note(each)
    for each in items:
        await judge.judge(each)
    return [each.result for each in items]


RUNNING, PAUSED, CANCELLED = command(), command("paused"), command("cancelled")
KINDS: list[Callable[[], Event]] = [begin, chunk, page_end, crawl_end]


@pytest.mark.parametrize(
    ("what", "known", "verdicts"),
    [
        ("running", [RUNNING], [None, None, None, None]),
        ("running and open", [RUNNING, generation("open")], [None, None, None, None]),
        ("paused", [PAUSED], [None, "parked", "parked", "parked"]),
        ("cancelled", [CANCELLED], ["superseded"] * 4),
        ("cancelled and undone", [CANCELLED, generation("undone")], ["superseded"] * 4),
        ("published", [RUNNING, generation("published")], ["superseded", "superseded", "superseded", None]),
        ("failed halfway", [RUNNING, generation("undone")], ["superseded", "superseded", "superseded", None]),
        (
            "another job's generation",
            [RUNNING, msgspec.structs.replace(generation("open"), job_id="other")],
            ["superseded"] * 4,
        ),
        ("paused after the end", [PAUSED, generation("published")], ["superseded", "superseded", "superseded", None]),
    ],
)
async def test_verdicts(what: str, known: list[Event], verdicts: list[str | None]) -> None:
    items = [item(kind(), offset) for offset, kind in enumerate(KINDS)]
    assert await judged(Known(*known), *items) == verdicts, what


async def test_a_job_that_stepped_aside_is_parked() -> None:
    items = [item(kind(), offset) for offset, kind in enumerate(KINDS)]
    assert await judged(Known(RUNNING), *items, stalled=True) == [None, "parked", "parked", "parked"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_record_in_a_newer_version_is_parked_and_what_follows_it_too(kind: Callable[[], Event]) -> None:
    """A newer consumer reads it, in its place; no old one overtakes it."""
    after = [item(chunk("b"), 6), item(crawl_end(), 7)]
    assert await judged(Known(RUNNING), item_of(newer(kind(), 5, x=1)), *after) == ["parked"] * 3


@pytest.mark.parametrize("known", [[CANCELLED], [RUNNING, generation("undone")]])
async def test_a_record_in_a_newer_version_of_what_is_over_is_dropped(known: list[Event]) -> None:
    assert await judged(Known(*known), item_of(newer(crawl_end(), 5))) == ["superseded"]


async def test_a_record_in_a_newer_version_that_does_not_say_whose_it_is_is_refused() -> None:
    for fields in ({"job_id": 7}, {"generation": "one"}):
        each = item_of(newer(chunk(), 5, **fields))
        assert (each.event, each.result, each.stage) == (None, "dead_lettered", "decode")
    assert await judged(Known(RUNNING), item_of(newer(chunk(kb_id="other"), 5))) == ["dead_lettered"]


async def test_a_slept_owners_records_are_dropped_and_what_it_wrote_before_is_not() -> None:
    """The newer owner counts on what stands in the log before its own `crawl_begin`."""
    log = [
        begin(),
        chunk("a"),
        begin(),
        chunk("b", epoch=0),
        chunk("c", epoch=2),
        crawl_end(epoch=0),
        crawl_end(epoch=2),
    ]
    items = [item(event, offset) for offset, event in enumerate(log)]
    assert await judged(Known(RUNNING), *items) == [None, None, None, "superseded", None, "superseded", None]


async def test_the_newest_epoch_is_known_after_a_restart() -> None:
    late, fresh = item(chunk("b", epoch=0), 9), item(chunk("c", epoch=5), 10)
    assert await judged(Known(RUNNING, generation("open", epoch=5)), late, fresh) == ["superseded", None]


async def test_a_requeued_copy_is_judged_by_its_original_place() -> None:
    known = Known(RUNNING, generation("open", epoch=5))
    before = item(chunk("a", epoch=0, origin=Place(2, 3)), 50)
    after = item(chunk("a", epoch=0, origin=Place(2, 6)), 51)
    copied_begin = item(begin(origin=Place(2, 5)), 52)
    assert await judged(known, before, after, copied_begin) == [None, "superseded", None]
    assert copied_begin.epoch == 5


async def test_a_begin_on_a_wrong_partition_makes_nothing_stale() -> None:
    stray = item(begin(), 1_000, partition=0)
    good = item(chunk("a", epoch=0), 2_000)
    assert await judged(Known(RUNNING), stray, good) == ["dead_lettered", None]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: item(chunk(), partition=1), "stands on partition 1"),
        (lambda: item(chunk(), key=b"other"), "key is not its job_id"),
        (lambda: item(chunk(), key=b""), "key is not its job_id"),
        (lambda: item(chunk(kb_id="other")), "is of other/1"),
        (lambda: item(msgspec.structs.replace(page_end(), generation=2)), "is of docs/2"),
        (lambda: item(chunk(chunk_id="no-uuid")), "chunk_id"),
        (lambda: item(chunk(doc_hash="0" * 64)), "chunk_id"),
        (lambda: item(chunk(text_hash="0" * 64)), "text_hash"),
        (lambda: item(chunk(ordinal=2**40)), "ordinal"),
    ],
)  # fmt: skip
async def test_a_record_that_contradicts_its_job_or_itself_is_refused(bad: Callable[[], Item], says: str) -> None:
    """Each of these would stall, be lost or do harm further on."""
    each = bad()
    assert await judged(Known(RUNNING), each) == ["dead_lettered"]
    assert each.stage == "judge" and each.reason and says in each.reason


async def test_commands_are_read_to_the_end_before_a_job_is_unknown() -> None:
    known = Known()
    judge = judge_of(known, RUNNING)
    late, never = item(chunk()), item(chunk(job_id="never"), key=b"never")
    await judge.judge(late)
    await judge.judge(never)
    assert late.result is None and late.command == RUNNING
    assert never.result == "dead_lettered"


RETRIED = chunk(retry_of=Place(2, 0), origin=Place(2, 1))
ROLLED_BACK = command("rolled_back")


@pytest.mark.parametrize(
    ("what", "known", "verdicts"),
    [
        ("open", [RUNNING, generation("open")], [None, None]),
        ("published", [RUNNING, generation("published")], [None, None]),
        ("paused too late", [PAUSED, generation("published")], [None, None]),
        ("cancelled too late", [CANCELLED, generation("published")], [None, None]),
        ("rolled back", [ROLLED_BACK, generation("published")], ["superseded", "superseded"]),
        ("undone", [RUNNING, generation("undone")], ["superseded", "superseded"]),
        (
            "a newer one is published",
            [RUNNING, generation("published"), msgspec.structs.replace(generation("published"), generation=2)],
            ["superseded", "superseded"],
        ),
    ],
)
async def test_a_retried_chunk_joins_the_generation_that_searches_see(
    what: str, known: list[Event], verdicts: list[str | None]
) -> None:
    assert await judged(Known(*known), item(RETRIED, 9), item(repair_end(), 10)) == verdicts, what


@pytest.mark.parametrize(
    ("end", "known", "verdict"),
    [
        ({"scope_revision": 1}, [command(scope_revision=2)], "superseded"),
        ({"scope_revision": 2}, [command(scope_revision=2)], None),
        ({"scope_revision": 1}, [command(scope_revision=2), generation("published")], None),
        ({"epoch": 5}, [RUNNING, generation("open", recrawl=5)], "superseded"),
        ({"epoch": 6}, [RUNNING, generation("open", recrawl=5)], None),
        ({"epoch": 5}, [RUNNING, generation("published", recrawl=5)], None),
        ({"epoch": 5}, [RUNNING, generation("open", epoch=10)], "superseded"),
        ({"epoch": 6}, [RUNNING, generation("open", epoch=6)], None),
        ({"epoch": 5}, [RUNNING, generation("published", epoch=10)], None),
    ],
)
async def test_an_end_that_another_is_to_follow(end: Any, known: list[Event], verdict: str | None) -> None:
    assert await judged(Known(*known), item(crawl_end(**end), 9)) == [verdict]


async def test_a_published_generation_may_embed_what_is_retried() -> None:
    assert judge_of(Known(PAUSED, generation("published"))).may_embed(JOB)
    assert not judge_of(Known(ROLLED_BACK, generation("published"))).may_embed(JOB)


class TestReconsidering:
    async def at_settling(self, known: Known, each: Item, change: Callable[[], Any]) -> str | None:
        judge = judge_of(known)
        await judge.judge(each)
        change()
        judge.reconsider(each)
        return each.result

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_cancel_meanwhile_drops_it(self, kind: Callable[[], Event]) -> None:
        known = Known(RUNNING)
        assert await self.at_settling(known, item(kind()), lambda: known.command("cancelled")) == "superseded"

    async def test_a_pause_meanwhile_parks_the_end_and_lets_a_vector_be_written(self) -> None:
        known = Known(RUNNING)
        assert await self.at_settling(known, item(crawl_end()), lambda: known.command("paused")) == "parked"
        known = Known(RUNNING)
        assert await self.at_settling(known, item(chunk()), lambda: known.command("paused")) is None

    async def test_a_cancel_meanwhile_leaves_nothing_to_park(self) -> None:
        known = Known(PAUSED)
        assert await self.at_settling(known, item(chunk()), lambda: known.command("cancelled")) == "superseded"

    async def test_a_refusal_stands(self) -> None:
        known = Known(RUNNING)
        each = item(chunk(ordinal=-1))
        assert await self.at_settling(known, each, lambda: known.command("cancelled")) == "dead_lettered"


async def test_a_job_may_embed_while_it_runs_and_does_not_stand_aside() -> None:
    known = Known(RUNNING)
    judge = judge_of(known)
    assert judge.may_embed(JOB) and not judge.may_embed("unknown")
    judge.stalled.add(JOB)
    assert not judge.may_embed(JOB)
    judge.stalled.discard(JOB)
    known.command("paused")
    assert not judge.may_embed(JOB)


@pytest.mark.parametrize("value", [b'{"x":' + b"[" * 100_000, b"\xff", b"{}", b"null", b'"\\ud800"'])
def test_what_can_not_be_decoded_is_refused(value: bytes) -> None:
    raw = RawRecord(
        topic="chunks", partition=0, offset=0, key=b"k", value=value, headers=(("ce_type", b"headrace.chunk.v1"),)
    )
    assert item_of(raw).result == "dead_lettered"
