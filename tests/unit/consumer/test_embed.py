"""Each text is paid for once, over all batches under way, whatever fails."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from consumer import calls as module
from consumer.account import Account
from consumer.calls import Calls, Profiles
from consumer.embed import EmbedStage
from consumer.item import Batch, Item
from consumer.judge import Judge
from consumer.ledger import Ledger
from consumer.reports import Reports
from consumer.shares import Shares
from consumer.stalls import Stalls
from consumer.vector_cache import WINDOWS, VectorCache
from headrace.embedding.base import HARMLESS, Embedded, TextsRefused
from headrace.errors import DependencyUnwell
from headrace.kafka.follower import Follower
from headrace.prices import Prices
from headrace.vectors import Found, Tenancy, VectorStore
from schemas.events import Place
from schemas.facts import BudgetReached
from schemas.kb import Budget
from tests.unit.consumer.made import JOB, Known, LateCommands, Told, chunk, command, item

PLACE = Tenancy("C", "docs")


class TestVectorCache:
    async def test_a_text_is_claimed_by_one(self) -> None:
        cache = VectorCache(64)
        assert cache.claim(PLACE, ["a", "b", "a"]) == ({"a", "b"}, [])
        mine, theirs = cache.claim(PLACE, ["b", "c"])
        assert mine == {"c"} and len(theirs) == 1
        assert cache.claim(Tenancy("C", "other"), ["a"])[0] == {"a"}

    async def test_who_waits_wakes_on_release_with_a_vector_or_without(self) -> None:
        cache = VectorCache(64)
        mine, _ = cache.claim(PLACE, ["a", "b"])
        _, theirs = cache.claim(PLACE, ["a", "b"])
        cache.put(PLACE, "a", np.zeros(1, dtype=np.float32))
        cache.release(PLACE, mine)
        async with asyncio.timeout(30):
            await asyncio.gather(*theirs)
        assert cache.get(PLACE, "a") is not None and cache.get(PLACE, "b") is None
        assert cache.claim(PLACE, ["a", "b"]) == ({"b"}, [])

    async def test_a_waiter_that_is_cancelled_disturbs_nobody(self) -> None:
        cache = VectorCache(64)
        mine, _ = cache.claim(PLACE, ["a"])
        _, (future,) = cache.claim(PLACE, ["a"])
        future.cancel()
        cache.release(PLACE, mine)
        assert cache.claim(PLACE, ["a"]) == ({"a"}, [])

    async def test_it_is_bounded_and_drops_the_oldest(self) -> None:
        cache, capacity = VectorCache(4), 4 * WINDOWS
        for number in range(capacity + 1):
            cache.put(PLACE, str(number), np.zeros(1, dtype=np.float32))
        assert cache.get(PLACE, "0") is None
        assert all(cache.get(PLACE, str(number)) is not None for number in range(1, capacity + 1))


class Embedder:
    """Counts what is paid for; fails and waits as a test says."""

    server, usual_texts, max_texts, max_tokens, max_text_tokens, parallel = "OpenAI", 4, 4, 10_000, 8_192, 8
    most_requests = 1

    def __init__(self) -> None:
        self.shares: Hashable = self
        self.texts: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self.refused: set[str] = set()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        await self.go_on.wait()
        if self.errors:
            raise self.errors.pop(0)
        if any(text.rpartition("\n\n")[2] in self.refused for text in texts):
            raise TextsRefused("bad")
        self.texts.update(texts)
        return Embedded(np.array([[len(text), hash(text) % 97] for text in texts], dtype=np.float32), len(texts))

    async def stop(self) -> None: ...


class Store:
    def __init__(self) -> None:
        self.found = Found(frozenset(), {})

    async def lookup(self, place: Tenancy, ids: Sequence[str], text_hashes: Sequence[str]) -> Found:
        return self.found


class Stage:
    def __init__(self) -> None:
        self.embedder, self.store, self.known = Embedder(), Store(), Known(command())
        self.aside: list[str] = []
        judge = Judge(cast(Follower, LateCommands(self.known)), self.known.commands, self.known.kbs)
        self.judge = judge
        self.told = Told()
        stalls = Stalls(cast(Reports, self.told))
        ledger = Ledger(cast(Reports, self.told), judge, Prices(), self._history)
        self.calls = Calls(Profiles(lambda _: self.embedder), stalls, judge.may_embed, ledger)
        self.shares = Shares(judge, 64)
        self.stage = EmbedStage(
            judge,
            self.shares,
            stalls,
            cast(VectorStore, self.store),
            self.calls,
            VectorCache(64),
            self._step_aside,
        )

    async def _history(self, command: Any) -> Account:
        account = Account()
        for event in self.told.events:
            account.apply(event)
        return account

    def _step_aside(self, command: Any, dependency: str) -> None:
        self.aside.append(dependency)
        self.judge.stalled.add(command.job_id)

    def batch(self, *texts: str) -> Batch:
        return Batch([item(chunk(text), i) for i, text in enumerate(texts)], [], 1)

    async def prepare(self, *texts: str) -> Batch:
        batch = self.batch(*texts)
        await self.stage.prepare(batch)
        return batch


def results(batch: Batch) -> list[Any]:
    return [each.result if each.vector is None else "vector" for each in batch.items]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", -1.0)


def vector_of(item: Item) -> list[float]:
    assert item.vector is not None
    return list(item.vector.tolist())


async def test_texts_are_embedded_once_and_each_item_gets_its_own(stage: Stage) -> None:
    batch = await stage.prepare("a", "bb", "a", "ccc", "dddd", "eeeee")
    assert results(batch) == ["vector"] * 6
    assert max(stage.embedder.texts.values()) == 1 and len(stage.embedder.texts) == 5
    assert vector_of(batch.items[0]) == vector_of(batch.items[2]) != vector_of(batch.items[1])
    assert sorted(each.reused for each in batch.items) == [False] * 5 + [True]
    assert stage.told.paid() == (5, 5, 2)


async def test_a_job_that_gives_way_while_its_texts_wait_for_a_call_parks_those(stage: Stage) -> None:
    """Another job starts: what a call has is paid for, and written; what has none yet is set aside."""
    other = command(job_id="small", kb_id="other")
    for offset in range(1_000):
        stage.shares.note(item(chunk(f"before {offset}"), offset))
    stage.embedder.go_on.clear()
    stage.embedder.parallel = 1
    preparing = asyncio.create_task(stage.prepare(*(f"text {i}" for i in range(12))))
    await _turns()
    stage.known.tell(other)
    stage.calls.give_way(stage.shares.gives_way)
    stage.embedder.go_on.set()
    given = results(await preparing)
    called = len(stage.embedder.texts)
    assert 0 < called < 12 and given == ["vector"] * called + ["parked"] * (12 - called)
    assert results(await stage.prepare("x", "y")) == ["parked", "parked"]
    assert stage.aside == []


async def test_a_copy_whose_text_an_original_had_to_embed_does_not_give_way(stage: Stage) -> None:
    for offset in range(1_000):
        stage.shares.note(item(chunk(f"before {offset}"), offset))
    stage.embedder.go_on.clear()
    stage.embedder.parallel = 1
    before = asyncio.create_task(stage.prepare("under way"))
    await _turns()
    batch = Batch([item(chunk("same", origin=Place(2, 0)), 1), item(chunk("same"), 2)], [], 1)
    both = asyncio.create_task(stage.stage.prepare(batch))
    await _turns()
    stage.known.tell(command(job_id="small", kb_id="other"))
    stage.calls.give_way(stage.shares.gives_way)
    await _turns()
    stage.embedder.go_on.set()
    await asyncio.gather(before, both)
    assert results(batch) == ["vector", "parked"]
    assert max(stage.embedder.texts.values()) == 1


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_two_batches_under_way_pay_for_a_text_once(stage: Stage) -> None:
    stage.embedder.go_on.clear()
    preparing = [asyncio.create_task(stage.prepare("a", "b")) for _ in range(3)]
    await asyncio.sleep(0)
    stage.embedder.go_on.set()
    batches = await asyncio.gather(*preparing)
    assert all(results(batch) == ["vector"] * 2 for batch in batches)
    assert stage.embedder.texts.total() == 2
    assert stage.told.paid()[0] == 2


async def test_when_the_one_that_embeds_is_cancelled_another_does(stage: Stage) -> None:
    stage.embedder.go_on.clear()
    first = asyncio.create_task(stage.prepare("a"))
    for _ in range(10):
        await asyncio.sleep(0)
    second = asyncio.create_task(stage.prepare("a"))
    for _ in range(10):
        await asyncio.sleep(0)
    first.cancel()
    stage.embedder.go_on.set()
    async with asyncio.timeout(30):
        assert results(await second) == ["vector"]


async def test_a_refused_text_goes_alone_and_no_other_is_paid_for_again(stage: Stage) -> None:
    stage.embedder.refused = {"bad"}
    batch = await stage.prepare("a", "bad", "b")
    assert results(batch) == ["vector", "dead_lettered", "vector"]
    assert batch.items[1].stage == "embed" and batch.items[1].reason == "the embedding API refuses this text: bad"
    assert stage.embedder.texts.total() == stage.told.paid()[0]
    del stage.embedder.texts[HARMLESS]  # asked where no other text was taken since
    assert stage.embedder.texts == {"T\n\na": 1, "T\n\nb": 1}


async def test_what_the_budget_leaves_no_room_for_is_parked_and_what_was_paid_for_is_written(stage: Stage) -> None:
    """Calls of four texts at most, each text of at most 5 tokens by its record and in truth of one."""
    current = stage.known.commands.get(JOB)
    assert current is not None
    definition = msgspec.structs.replace(current.definition, budget=Budget(max_tokens=21))
    stage.known.tell(msgspec.structs.replace(current, revision=2, definition=definition))
    stage.embedder.parallel = 1
    batch = await stage.prepare("a", "b", "c", "d", "e", "f")
    assert results(batch) == ["vector"] * 6, "four at 20, then two at 10 on top of the 4 that those came to"
    assert stage.told.paid() == (6, 6, 2)
    later = await stage.prepare("g", "h", "i", "j")
    assert results(later) == ["parked"] * 4 and stage.embedder.texts.total() == 6
    (reached,) = [event for event in stage.told.events if isinstance(event, BudgetReached)]
    assert (reached.revision, reached.spent_tokens, reached.next_tokens) == (2, 6, 20)
    assert results(await stage.prepare("k")) == ["parked"], "what comes later is not tried"
    assert stage.aside == []


async def test_what_is_stored_is_not_embedded(stage: Stage) -> None:
    one, two = chunk("a"), chunk("b")
    stage.store.found = Found(frozenset({one.chunk_id}), {two.text_hash: np.ones(2, dtype=np.float32)})
    batch = await stage.prepare("a", "b")
    assert results(batch) == ["duplicate", "vector"]
    assert not stage.embedder.texts and batch.items[1].reused


async def test_a_long_outage_makes_the_job_step_aside(stage: Stage, no_patience: None) -> None:
    stage.embedder.errors = [DependencyUnwell("OpenAI", "down")]
    assert results(await stage.prepare("a", "b")) == ["parked", "parked"]
    assert stage.aside == ["OpenAI"]
    assert results(await stage.prepare("c")) == ["parked"], "and what comes later is not tried"
    assert not stage.embedder.texts


async def test_what_waiting_will_not_mend_makes_it_step_aside_at_once(stage: Stage) -> None:
    stage.embedder.errors = [DependencyUnwell("OpenAI", "key refused", lasting=True)]
    assert results(await stage.prepare("a")) == ["parked"]
    assert stage.aside == ["OpenAI"]


async def test_a_pause_before_the_call_parks_without_a_call(stage: Stage) -> None:
    stage.embedder.go_on.clear()
    stage.embedder.parallel = 1
    preparing = [asyncio.create_task(stage.prepare(text)) for text in ("a", "b")]
    for _ in range(20):
        await asyncio.sleep(0)
    stage.known.command("paused")
    stage.embedder.go_on.set()
    first, second = await asyncio.gather(*preparing)
    assert (results(first), results(second)) == (["vector"], ["parked"])
    assert stage.aside == [] and stage.embedder.texts.total() == 1


async def test_one_call_never_throws_away_what_another_paid_for(stage: Stage) -> None:
    """The second call fails: the first one's vectors stay."""
    stage.embedder.usual_texts = 1
    original = stage.embedder.embed

    async def embed(texts: Sequence[str]) -> Embedded:
        if stage.embedder.texts.total() == 1 and not failed:
            failed.append(True)
            raise DependencyUnwell("OpenAI", "down", retry_after_s=0.0)
        return await original(texts)

    failed: list[bool] = []
    stage.embedder.embed = embed  # type: ignore[method-assign]
    assert results(await stage.prepare("a", "b")) == ["vector", "vector"]
    assert failed and max(stage.embedder.texts.values()) == 1


async def test_what_was_paid_for_before_a_pause_is_written_and_the_rest_parked(stage: Stage) -> None:
    """A batch of several calls; the copy of an embedded text has its vector too."""
    stage.embedder.usual_texts = 2
    original = stage.embedder.embed

    async def embed(texts: Sequence[str]) -> Embedded:
        embedded = await original(texts)
        stage.known.command("paused")
        return embedded

    stage.embedder.embed = embed  # type: ignore[method-assign]
    assert results(await stage.prepare("a", "b", "c", "a")) == ["vector", "vector", "parked", "vector"]
    assert stage.embedder.texts.total() == 2


async def test_a_provider_that_asks_for_a_longer_wait_than_others_can_bear_is_not_waited_for(stage: Stage) -> None:
    stage.embedder.errors = [DependencyUnwell("OpenAI", "rate limited", retry_after_s=module.PATIENCE_S)]
    assert results(await stage.prepare("a")) == ["parked"]
    assert stage.aside == ["OpenAI"]


async def test_two_batches_that_wait_for_each_others_texts_both_end(stage: Stage) -> None:
    stage.embedder.go_on.clear()
    first = asyncio.create_task(stage.prepare("a"))
    for _ in range(10):
        await asyncio.sleep(0)
    others = [asyncio.create_task(stage.prepare(*texts)) for texts in (("b", "a", "c"), ("c", "d", "b"))]
    for _ in range(10):
        await asyncio.sleep(0)
    stage.embedder.go_on.set()
    async with asyncio.timeout(30):
        batches = await asyncio.gather(first, *others)
    assert all(result == "vector" for batch in batches for result in results(batch))
    assert max(stage.embedder.texts.values()) == 1
