"""The consumer cut off before and after each step that its protocols number; the next one does the rest."""
# ruff: noqa: F401 - fixtures are shared by importing them

from typing import Any

import pytest

from consumer.completion import Completion
from consumer.generations import Generations
from consumer.missing import Missing
from consumer.parking import Parking
from consumer.proof import Prover
from consumer.reports import Reports
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import VectorStore
from schemas.chunks import RepairEnd
from schemas.codec import now
from schemas.facts import ChunksMissing, DeadLettered, JobFinished, ReviewNeeded, Vacuumed
from schemas.kb import NEVER
from tests.fakes.openai_server import OpenAIServer
from tests.integration.consumer.play import everything, finished, ids, reported
from tests.integration.consumer.test_consumer_faults import tell_state
from tests.integration.consumer.test_proof import keep, place_of, refresh, results, reviews, rows, states
from tests.integration.consumer.test_proof_faults import forget_log, last_chunk, retry, tombstones, vacuum_below
from tests.support.inside import CutOff
from tests.support.log import PlayedJob, read_all
from tests.support.offsets import caught_up
from tests.support.waiting import until


@pytest.fixture
def cut(settings: Settings, topics: None, monkeypatch: pytest.MonkeyPatch) -> CutOff:
    return CutOff(settings, monkeypatch)


async def first_generation(settings: Settings, publisher: Publisher, kb: str, cut: CutOff) -> PlayedJob:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    for page in range(4):
        await job.page(f"http://site/{page}", [f"text {page}"])
    await job.end()
    async with cut.running():
        await finished(settings, job)
    return job


def fact(kind: type) -> Any:
    return lambda event, *rest: isinstance(event, kind)


@pytest.mark.parametrize(
    ("owner", "method", "when", "of"),
    [
        (VectorStore, "undo", "after", None),
        (VectorStore, "delete_ids", "before", None),
        (VectorStore, "delete_ids", "after", None),
        (VectorStore, "retire", "after", None),
        (Generations, "publish", "before", None),
        (Generations, "publish", "after", None),
        (Reports, "publish", "after", fact(JobFinished)),
    ],
)
async def test_publication(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, kb: str, cut: CutOff,
    owner: type, method: str, when: Any, of: Any,
) -> None:  # fmt: skip
    first = await first_generation(settings, publisher, kb, cut)
    second = await refresh(settings, publisher, first)
    await keep(second, first, 0, 1, 2)
    await second.page("http://site/3", ["another"])
    extra = await second.page("http://site/3", ["fetched twice"], recorded=False)
    await second.end()
    cut.at(owner, method, when, of or (lambda *args: True))
    await cut.run()
    async with cut.running():
        told = await finished(settings, second)
        assert (told.outcome, told.chunks_visible) == ("completed", 4)
        await caught_up(settings)
    found = await rows(store, second)
    assert {each for each, (_, retired) in found.items() if retired == NEVER} == everything(second)
    assert not {chunk.chunk_id for chunk in extra} & set(found)
    assert [state.state for state in await states(settings, second)][-1] == "published"


@pytest.mark.parametrize(
    ("owner", "method", "of"),
    [(Parking, "park_one", None), (Reports, "publish", fact(ReviewNeeded))],
)
async def test_review(
    settings: Settings, publisher: Publisher, store: VectorStore, kb: str, cut: CutOff, owner: type, method: str,
    of: Any,
) -> None:  # fmt: skip
    first = await first_generation(settings, publisher, kb, cut)
    second = await refresh(settings, publisher, first)
    await keep(second, first, 0)
    await second.end()
    cut.at(owner, method, "after", of or (lambda *args: True))
    await cut.run()
    async with cut.running():
        (told, *_) = await reviews(settings, second)
        await second.command("running", approved=told.digest)
        assert (await finished(settings, second)).chunks_retired == 3
        await caught_up(settings)


@pytest.mark.parametrize(
    ("owner", "method"),
    [(Generations, "undo"), (VectorStore, "erase"), (VectorStore, "undo"), (Parking, "forget")],
)
async def test_rollback(
    settings: Settings, publisher: Publisher, store: VectorStore, kb: str, cut: CutOff, owner: type, method: str
) -> None:
    first = await first_generation(settings, publisher, kb, cut)
    second = await refresh(settings, publisher, first)
    await keep(second, first, 0, 1, 2)
    await second.page("http://site/3", ["another"])
    await second.end()
    async with cut.running():
        await finished(settings, second)
    revision = await second.command("rolled_back")
    cut.at(owner, method, "after")
    await cut.run()
    async with cut.running():
        await reported(settings, second, "undone", revision)
    assert await rows(store, first) == {chunk_id: (1, NEVER) for chunk_id in everything(first)}


@pytest.mark.parametrize("desired", ["paused", "cancelled", "another scope"])
async def test_a_command_that_comes_during_the_proof(
    settings: Settings, publisher: Publisher, store: VectorStore, kb: str, cut: CutOff, desired: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It stands on the log before the generation is published, and is heeded."""
    first = await first_generation(settings, publisher, kb, cut)
    second = await refresh(settings, publisher, first)
    await keep(second, first, 0, 1, 2)
    await second.page("http://site/3", ["another"])
    await second.end()
    retire = VectorStore.retire

    async def interrupted(it: VectorStore, *args: Any) -> None:
        await retire(it, *args)
        monkeypatch.setattr(VectorStore, "retire", retire)
        if desired == "another scope":
            await second.command("running", scope_revision=2)
        else:
            await second.command(desired)

    monkeypatch.setattr(VectorStore, "retire", interrupted)
    async with cut.running():
        state = {"paused": "holding", "cancelled": "undone"}.get(desired, "running")
        await reported(settings, second, state, 2)
        await caught_up(settings)
        assert not [told for told in await read_all(settings, JobFinished) if told.job_id == second.job_id]
        assert "published" not in [state.state for state in await states(settings, second)]
        if desired == "paused":
            await second.command("running")
            assert (await finished(settings, second)).outcome == "completed"
        if desired == "another scope":
            await second.end(scope_revision=2)
            assert (await finished(settings, second)).outcome == "completed"


@pytest.mark.parametrize(
    ("owner", "method", "of"),
    [(Generations, "undo", None), (VectorStore, "undo", None), (Reports, "publish", fact(JobFinished))],
)
async def test_failure(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, kb: str, cut: CutOff,
    owner: type, method: str, of: Any,
) -> None:  # fmt: skip
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/0", ["text"])
    await job.end(failure="no page could be fetched")
    cut.at(owner, method, "after", of or (lambda *args: True))
    await cut.run()
    async with cut.running():
        told = await finished(settings, job)
        assert (told.outcome, told.reason) == ("failed", "no page could be fetched")
        await caught_up(settings)
    assert not await rows(store, job)


@pytest.mark.parametrize("desired", ["paused", "another scope"])
@pytest.mark.parametrize(
    ("flaw", "owner", "method"),
    [({"failure": "no page could be fetched"}, Completion, "_behind"), ({"digest": "0" * 64}, Prover, "difference")],
)
async def test_a_command_that_comes_before_a_failure(
    settings: Settings, publisher: Publisher, openai: OpenAIServer, kb: str, cut: CutOff, desired: Any, flaw: Any,
    owner: type, method: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It stands on the log before the generation is undone, and is heeded: undone is final."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/0", ["text"])
    await job.end(**flaw)
    original = getattr(owner, method)

    async def interrupted(it: Any, *args: Any) -> Any:
        found = await original(it, *args)
        if job.revision == 1:
            revision = {"scope_revision": 2} if desired == "another scope" else {}
            await job.command("paused" if desired == "paused" else "running", **revision)
        return found

    monkeypatch.setattr(owner, method, interrupted)
    async with cut.running():
        assert await until(lambda: results(settings, job, "crawl_end")) == [
            "parked" if desired == "paused" else "superseded"
        ]
        await caught_up(settings)
        assert [state.state for state in await states(settings, job)] == ["open"]
        if desired == "paused":
            await job.command("running")
            assert (await finished(settings, job)).outcome == "failed"
        else:
            await job.end(scope_revision=2)
            assert (await finished(settings, job)).outcome == "completed"


@pytest.mark.parametrize("parked", [True, False])
async def test_an_end_of_an_earlier_epoch(
    settings: Settings, publisher: Publisher, openai: OpenAIServer, kb: str, cut: CutOff, parked: bool
) -> None:
    """What is published is the newest epoch's manifest: its records are what the next refresh goes by."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/0", ["one", "two"])
    if parked:
        await job.command("paused")
        await job.end()
        async with cut.running():
            assert await until(lambda: results(settings, job, "crawl_end")) == ["parked"]
    else:
        await job.end()
    await job.begin()
    await job.page("http://site/0", ["one", "another"])
    if parked:
        async with cut.running():
            await caught_up(settings)
        await job.command("running")
    await job.end()
    async with cut.running():
        assert (await finished(settings, job)).outcome == "completed"
        await caught_up(settings)
    told = await results(settings, job, "crawl_end")
    assert [result for result in told if result not in ("parked", "requeued")] == ["superseded", "done"]
    assert len([fact for fact in await read_all(settings, JobFinished) if fact.job_id == job.job_id]) == 1


@pytest.mark.parametrize(
    ("owner", "method", "when"),
    [
        (Reports, "missing", "after"), (Publisher, "tombstone", "after"), (Generations, "recrawl", "before"),
        (Generations, "recrawl", "after"),
    ],
)  # fmt: skip
async def test_sending_back(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, kb: str, cut: CutOff,
    owner: type, method: str, when: Any,
) -> None:  # fmt: skip
    """One of two lost pages may have its tombstone; both are sent back, and asked for once."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    lost = [*await job.page("http://site/0", ["one"]), *await job.page("http://site/1", ["two"])]
    await job.page("http://site/2", ["three"])
    async with cut.running():
        await caught_up(settings)
    await store.delete_ids(place_of(job), [chunk.chunk_id for chunk in lost])
    await forget_log(settings, job, job.epoch + 5)  # crawl_begin, and a chunk and a page_end of two pages
    await job.end()
    cut.at(owner, method, when)
    await cut.run()
    async with cut.running():
        assert await until(lambda: results(settings, job, "crawl_end")) == ["superseded"]
        state = (await states(settings, job))[-1]
        assert (state.recrawl, state.recrawls) == (await last_chunk(settings, job), 1)
        assert len(set(await tombstones(settings, job))) == 2
        assert {(told.epoch, told.chunks, told.pages) for told in await read_all(settings, ChunksMissing)} == {
            (job.epoch, 2, 2)
        }
        await job.begin()
        for page, text in enumerate(["one", "two"]):
            await job.page(f"http://site/{page}", [text])
        await job.end()
        assert (await finished(settings, job)).chunks_visible == 3
    assert set(await rows(store, job)) == everything(job)


async def test_sending_back_what_another_epoch_has_recorded_by_then(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, kb: str, cut: CutOff
) -> None:
    """The second tombstone deletes the newer epoch's record: the manifest that its end names is no longer the log's."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    lost = await job.page("http://site/0", ["one"])
    await job.page("http://site/1", ["two"])
    async with cut.running():
        await caught_up(settings)
    await store.delete_ids(place_of(job), [chunk.chunk_id for chunk in lost])
    await forget_log(settings, job, job.epoch + 3)  # crawl_begin, a chunk and its page_end
    await job.end()
    cut.at(Publisher, "tombstone", "after")
    await cut.run()
    await job.begin()
    await job.page("http://site/0", ["one, fetched again"])
    await job.end()
    async with cut.running():
        assert await until(lambda: results(settings, job, "crawl_end")) == ["superseded"] * 2
        await job.begin()
        await job.page("http://site/0", ["one, fetched again"])
        await job.end()
        assert (await finished(settings, job)).chunks_visible == 2
        repair = RepairEnd(job_id=job.job_id, kb_id=kb, generation=job.generation, requested_at=now())
        await publisher.send(repair, partition=job.partition)
        await caught_up(settings)
    told = await read_all(settings, JobFinished)
    assert [(fact.pages, fact.extras_deleted) for fact in told] == [(2, 0), (2, 0)]
    assert set(await rows(store, job)) == everything(job)


@pytest.mark.parametrize("state", ["published", "recrawled"])
async def test_a_page_is_not_sent_back_by_a_worker_that_slept(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, kb: str, cut: CutOff,
    monkeypatch: pytest.MonkeyPatch, state: str,
) -> None:  # fmt: skip
    """Its tombstones would delete what a newer epoch has recorded, perhaps of a published generation by now."""
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    lost = await job.page("http://site/0", ["one"])
    async with cut.running():
        await caught_up(settings)
    await store.delete_ids(place_of(job), [chunk.chunk_id for chunk in lost])
    await forget_log(settings, job, job.epoch + 3)
    await job.end()
    copy = Missing._copy

    async def sleeps(it: Missing, *args: Any) -> frozenset[str]:
        copied = await copy(it, *args)
        changes = {} if state == "published" else {"recrawl": job.epoch + 9, "recrawls": 1}
        await tell_state(settings, publisher, job, "published" if not changes else "open", None, **changes)
        return copied

    monkeypatch.setattr(Missing, "_copy", sleeps)
    async with cut.running():
        assert await until(lambda: results(settings, job, "crawl_end")) == ["superseded"]
        await caught_up(settings)
    assert not await tombstones(settings, job)
    assert [each.state for each in await states(settings, job)] == [
        "open",
        "published" if state == "published" else "open",
    ]


@pytest.mark.parametrize(
    ("owner", "method", "of"),
    [
        (VectorStore, "insert", None),
        (VectorStore, "delete_ids", None),
        (Generations, "prove_again", None),
        (Reports, "publish", fact(JobFinished)),
    ],
)
async def test_repair(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, kb: str, cut: CutOff,
    owner: type, method: str, of: Any,
) -> None:  # fmt: skip
    job = PlayedJob(settings, publisher, kb)
    openai.refused_marker = "unembeddable"
    await job.command("running")
    await job.begin()
    _, bad = await job.page("http://site/0", ["good", "unembeddable text"])
    await job.end()
    async with cut.running():
        assert (await finished(settings, job)).outcome == "completed_with_errors"
        await caught_up(settings)
    openai.refused_marker = ""
    (letter,) = await read_all(settings, DeadLettered)
    await retry(job, publisher, bad, letter)
    cut.at(owner, method, "after", of or (lambda *args: True))
    await cut.run()
    async with cut.running():
        await caught_up(settings)
    told = await read_all(settings, JobFinished)
    assert (told[-1].outcome, told[-1].chunks_visible) == ("completed", 2)
    assert (await states(settings, job))[-1].not_indexed == ()
    assert set(await rows(store, job)) == everything(job)


@pytest.mark.parametrize(("owner", "method"), [(VectorStore, "vacuum"), (Reports, "vacuumed")])
async def test_vacuum(
    settings: Settings, publisher: Publisher, store: VectorStore, openai: OpenAIServer, kb: str, cut: CutOff,
    owner: type, method: str,
) -> None:  # fmt: skip
    first = await first_generation(settings, publisher, kb, cut)
    second = await refresh(settings, publisher, first)
    await keep(second, first, 0, 1, 2)
    await second.page("http://site/3", ["another"])
    await second.end()
    async with cut.running():
        await finished(settings, second)
        await caught_up(settings)
    await vacuum_below(settings, publisher, second, 2)
    cut.at(owner, method, "after")
    await cut.run()

    async def told() -> bool:
        return bool(await read_all(settings, Vacuumed))

    async with cut.running():
        await until(told)
    assert set(await rows(store, second)) == everything(second)
