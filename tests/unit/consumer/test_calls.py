"""Calls of the embedding API: what goes together, who goes next, and what a refusal costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from consumer import calls as module
from consumer import stalls as stalls_module
from consumer.calls import Calls, Profiles, Text
from consumer.ledger import Ledger
from consumer.reports import Reports
from consumer.stalls import GaveUp, Stalls
from headrace.embedding.base import Embedded, RateLimited
from headrace.embedding.limits import Rates
from headrace.embedding.openai import OpenAIEmbedder
from headrace.errors import DependencyUnwell
from headrace.prices import Prices
from headrace.settings import Secret, Settings
from schemas.commands import JobCommand
from schemas.kb import Embedding
from tests.fakes import openai_errors as errors
from tests.fakes.openai_limits import Allowance
from tests.fakes.openai_server import OpenAIServer, vector_of
from tests.support.waiting import until
from tests.unit.consumer.made import Told as Facts
from tests.unit.consumer.made import command

BIG, SMALL = command(job_id="big"), command(job_id="small")


class Told(Facts):
    """And what a status would say."""

    def __init__(self) -> None:
        super().__init__()
        self.stalls: list[tuple[str, str, bool]] = []

    async def stall(self, command: JobCommand, *, dependency: str, reason: str, since: str, ended: bool) -> None:
        self.stalls.append((command.job_id, reason, ended))


class Embedder:
    """Notes each call by the number of its texts, and answers when it is let."""

    server, usual_texts, max_texts, max_tokens, max_text_tokens, parallel = "OpenAI", 4, 8, 100, 50, 64
    most_requests = 1

    def __init__(self) -> None:
        self.shares: Hashable = "account"
        self.calls: list[list[str]] = []
        self.rates = Rates()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.calls.append(list(texts))
        await self.go_on.wait()
        return Embedded(np.zeros((len(texts), 2), dtype=np.float32), 10 * len(texts), self.rates)

    async def stop(self) -> None: ...


class Rig:
    def __init__(self, embedder: Any) -> None:
        self.embedder, self.told, self.paused = embedder, Told(), set[str]()
        stalls = Stalls(cast(Reports, self.told))
        judge: Any = SimpleNamespace(newest=lambda command: command, ended=lambda command: False, stalled=set())
        ledger = Ledger(cast(Reports, self.told), judge, Prices(), cast(Any, None))
        self.calls = Calls(Profiles(lambda _: embedder), stalls, lambda job_id: job_id not in self.paused, ledger)

    async def embed(self, *texts: str, of: JobCommand = BIG, tokens: int = 1) -> list[Text]:
        asked = [Text(text, tokens) for text in texts]
        await self.calls.embed(of, asked)
        return asked

    def start(self, *texts: str, of: JobCommand = BIG, tokens: int = 1) -> "asyncio.Task[list[Text]]":
        return asyncio.create_task(self.embed(*texts, of=of, tokens=tokens))


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def rig() -> Rig:
    return Rig(Embedder())


async def test_a_call_has_texts_of_several_batches_of_one_job_and_of_no_other(rig: Rig) -> None:
    embedder = rig.embedder
    embedder.go_on.clear()
    asking = [rig.start("first")]
    await turns()
    asking += [rig.start("a"), rig.start("b", "c"), rig.start("x", of=SMALL)]
    await turns()
    embedder.go_on.set()
    await asyncio.gather(*asking)
    assert embedder.calls == [["first"], ["x"], ["a", "b", "c"]]


async def test_calls_keep_within_texts_and_tokens_and_what_is_too_long_goes_alone(rig: Rig) -> None:
    sizes = [1, 1, 1, 1, 1, 60, 1, 45, 45, 45]
    await rig.calls.embed(BIG, [Text(str(size), size) for size in sizes])
    called = [[int(text) for text in call] for call in rig.embedder.calls]
    assert called == [[1, 1, 1, 1], [1], [60], [1, 45, 45], [45]]
    assert rig.told.paid() == (10, 100, 5)


async def test_where_requests_are_scarce_calls_are_as_large_as_they_can_be(rig: Rig) -> None:
    rig.embedder.rates = Rates(requests=100, requests_left=49)
    await rig.embed("first")
    await rig.embed(*"abcdefghij")
    assert [len(call) for call in rig.embedder.calls] == [1, 8, 2]


async def test_where_tokens_are_limited_a_call_has_a_second_of_them(rig: Rig) -> None:
    rig.embedder.rates = Rates(tokens=1_200, tokens_left=1_200)
    await rig.embed("first")
    await rig.embed("a", "b", "c", "d", tokens=10)
    assert [len(call) for call in rig.embedder.calls] == [1, 2, 2]


async def test_a_small_job_behind_a_large_one_goes_next(rig: Rig) -> None:
    """One call at a time: nothing but whose turn it is decides."""
    embedder = rig.embedder
    embedder.go_on.clear()
    embedder.parallel = 1
    large = [rig.start(*(f"{batch}-{i}" for i in range(4))) for batch in range(20)]
    await turns()
    small = rig.start("x", "y", of=SMALL)
    await turns()
    embedder.go_on.set()
    await small
    assert embedder.calls[1] == ["x", "y"] and len(embedder.calls) <= 3
    await asyncio.gather(*large)
    assert len(embedder.calls) == 21


async def test_jobs_that_always_wait_are_served_alike_by_tokens(rig: Rig) -> None:
    """One has texts of three times as many tokens, so it goes once while the other goes three times."""
    rig.embedder.go_on.clear()
    rig.embedder.parallel = 1
    asking = [rig.start(*["small"] * 40, of=SMALL, tokens=4), rig.start(*["large"] * 40, tokens=12)]
    await turns()
    rig.embedder.go_on.set()
    await asyncio.gather(*asking)
    order = [call[0] for call in rig.embedder.calls[:13]]
    assert all(order[at : at + 4].count("large") == 1 for at in range(1, 9)), order


async def test_a_turn_that_ended_in_a_refusal_is_counted_once(rig: Rig) -> None:
    """Else a job waits for two calls of each other one, for each that is refused for the rate."""
    embedder = rig.embedder
    embedder.parallel, refusals, embed = 1, [RateLimited("OpenAI", "429", Rates(retry_after_s=0))], embedder.embed

    async def refused_once(texts: Sequence[str]) -> Embedded:
        answer = await embed(texts)
        if refusals:
            raise refusals.pop()
        return cast(Embedded, answer)

    embedder.embed = refused_once
    embedder.go_on.clear()
    asking = [rig.start(*"abcdefgh"), rig.start(*"stuvwxyz", of=SMALL)]
    await turns()
    embedder.go_on.set()
    await asyncio.gather(*asking)
    assert ["".join(call) for call in embedder.calls] == ["abcd", "stuv", "abcd", "efgh", "wxyz"]


async def test_a_call_that_waits_for_its_turn_is_no_answer_that_is_owed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalls_module, "SLOW_S", 0.01)
    embedder, embed = rig.embedder, rig.embedder.embed
    refusals = [RateLimited("OpenAI", "429", Rates(retry_after_s=0.1))]

    async def refused_once(texts: Sequence[str]) -> Embedded:
        if refusals:
            raise refusals.pop()
        return cast(Embedded, await embed(texts))

    embedder.embed = refused_once
    await rig.embed("a")
    assert not rig.told.stalls


async def test_who_waits_for_nothing_is_not_told_that_the_server_is_away(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its only call is answered a moment later, and nobody would end what was told of it."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    embedder, down = rig.embedder, asyncio.Event()
    embed = embedder.embed

    async def down_for_some(texts: Sequence[str]) -> Embedded:
        if texts[0] == "a":
            await down.wait()
            raise DependencyUnwell("OpenAI", "answers 503")
        return cast(Embedded, await embed(texts))

    embedder.embed = down_for_some
    embedder.rates = Rates(requests=1_000, requests_left=1_000)
    await rig.embed("first")  # from now on several go at once
    embedder.go_on.clear()
    failing, under_way = rig.start("a"), rig.start("x", of=SMALL)
    await turns()
    down.set()
    with pytest.raises(GaveUp):
        await failing
    embedder.go_on.set()
    assert (await under_way)[0].vector is not None
    assert {job for job, _, _ in rig.told.stalls} <= {"big"}


async def test_a_pause_gives_up_what_waits_and_no_call_is_made(rig: Rig) -> None:
    embedder = rig.embedder
    embedder.go_on.clear()
    under_way = rig.start("a")
    await turns()
    waiting, other = rig.start("b"), rig.start("x", of=SMALL)
    await turns()
    rig.paused.add("big")
    rig.calls.reconsider()
    with pytest.raises(GaveUp):
        await waiting
    embedder.go_on.set()
    assert (await under_way)[0].vector is not None and (await other)[0].vector is not None
    assert embedder.calls == [["a"], ["x"]]


async def test_a_job_that_gives_way_keeps_calls_under_way_and_texts_that_came_in_their_turn(rig: Rig) -> None:
    embedder = rig.embedder
    embedder.go_on.clear()
    embedder.parallel = 1
    under_way = rig.start("a")
    await turns()
    originals, copy = [Text("b", 1, may_wait=True), Text("c", 1, may_wait=True)], Text("d", 1)
    waiting = asyncio.create_task(rig.calls.embed(BIG, originals[:1]))
    mixed = asyncio.create_task(rig.calls.embed(BIG, [originals[1], copy]))
    other = rig.start("x", of=SMALL)
    await turns()
    rig.calls.give_way(lambda command: command == BIG)
    await waiting
    embedder.go_on.set()
    await asyncio.gather(under_way, mixed, other)
    assert copy.vector is not None and [text.vector for text in originals] == [None, None]
    assert sorted(embedder.calls) == [["a"], ["d"], ["x"]]


async def test_who_is_cancelled_leaves_the_line(rig: Rig) -> None:
    embedder = rig.embedder
    embedder.go_on.clear()
    asking = [rig.start("a"), rig.start("b"), rig.start("c")]
    await turns()
    asking[1].cancel()
    await turns()
    embedder.go_on.set()
    await asyncio.gather(asking[0], asking[2])
    assert embedder.calls == [["a"], ["c"]]


async def test_a_fault_of_the_program_is_raised_to_who_asked(rig: Rig) -> None:
    async def embed(texts: Sequence[str]) -> Embedded:
        raise ZeroDivisionError

    rig.embedder.embed = embed
    with pytest.raises(ZeroDivisionError):
        await rig.embed("a")


# From here on over the wire.


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(latency_s=0.0) as running:
        yield running


@pytest.fixture
async def wired(server: OpenAIServer) -> AsyncIterator[Rig]:
    settings = Settings(openai_api_key=Secret("sk-test"), openai_base_url=server.url)
    profile = Embedding(provider="openai", model="text-embedding-3-small", dimensions=1536)
    rig = Rig(OpenAIEmbedder(profile, settings))
    yield rig
    await rig.calls.stop()
    await rig.embedder.stop()


@pytest.mark.parametrize("bad", [{0}, {6}, {2, 3}])
async def test_a_refused_text_is_found_and_the_others_are_paid_for_once(
    wired: Rig, server: OpenAIServer, bad: set[int]
) -> None:
    server.refused_marker = "unfit"
    texts = await wired.embed(*(f"unfit {i}" if i in bad else f"good {i}" for i in range(7)))
    assert {i for i, text in enumerate(texts) if text.refused} == bad
    assert all("refuses this text" in (text.refused or "") for text in texts if text.refused)
    good = [text for text in texts if not text.refused]
    for text in good:
        assert text.vector is not None
        np.testing.assert_array_equal(text.vector, vector_of(text.text, 1536))
    asked = {text: times for text, times in server.texts.items() if text != "headrace"}
    assert asked == dict.fromkeys((text.text for text in good), 1)
    _, tokens, requests = wired.told.paid()
    assert tokens == server.tokens.total(), "the harmless text too"
    assert requests == sum(call.status == 200 for call in server.log)


async def test_all_texts_refused_and_a_harmless_one_taken_are_bad_texts(wired: Rig, server: OpenAIServer) -> None:
    server.refused_marker = "unfit"
    assert all(text.refused for text in await wired.embed("unfit 1", "unfit 2"))


async def test_a_server_that_takes_no_text_at_all_is_no_fault_of_the_texts(wired: Rig, server: OpenAIServer) -> None:
    """Nothing may be dead-lettered for a parameter that doesn't fit."""
    server.fail(errors.Failure(errors.ApiError.invalid("unknown parameter")))
    with pytest.raises(GaveUp, match="refuses every text") as caught:
        await wired.embed("a", "b", "c")
    assert caught.value.cause.lasting
    assert wired.told.stalls[0][1:] == ("refuses every text: unknown parameter", False)


async def test_the_most_texts_that_a_server_takes_are_learnt(wired: Rig, server: OpenAIServer) -> None:
    server.max_inputs = 32
    await wired.embed(*(f"text {i}" for i in range(128)))
    assert max(server.texts.values()) == 1 and len(server.texts) == 128
    refused = sum(call.status == 422 for call in server.log)
    await wired.embed(*(f"more {i}" for i in range(128)))
    assert sum(call.status == 422 for call in server.log) == refused, "it is asked for no more than it takes"


async def test_a_429_that_passes_is_waited_for_and_is_no_stall(wired: Rig, server: OpenAIServer) -> None:
    server.fail_next(errors.rate_limited(0.2), 2)
    assert (await wired.embed("a"))[0].vector is not None
    assert [call.status for call in server.log] == [429, 429, 200]
    assert not wired.told.stalls


async def test_a_429_that_lasts_is_told(wired: Rig, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABSORBED_S", 0.3)
    monkeypatch.setattr(module, "PATIENCE_S", 2.0)
    server.fail(errors.rate_limited(1.0))
    with pytest.raises(GaveUp, match="rate limited"):
        await wired.embed("a")
    assert wired.told.stalls == [("big", "rate limited (429)", False)]
    assert len(server.log) <= 4


async def test_who_waits_behind_a_server_that_asks_for_an_hour_is_told_too(wired: Rig, server: OpenAIServer) -> None:
    """Its texts would hold up what stands behind them, and nobody would say why."""
    server.fail(errors.rate_limited(3_600))
    asking = [wired.start("a"), wired.start("b"), wired.start("x", of=SMALL)]
    async with asyncio.timeout(30):
        gave_up = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in gave_up] == [GaveUp] * 3
    assert {job for job, _, _ in wired.told.stalls} == {"big", "small"}
    assert len(server.log) == 1


async def test_a_pause_of_one_job_gives_up_no_other(wired: Rig, server: OpenAIServer) -> None:
    server.fail(errors.server_error(503))
    one = wired.start("a")
    await until_called(server)
    server.heal()
    wired.paused.add("big")
    other = wired.start("x", of=SMALL)
    with pytest.raises(GaveUp):
        await one
    assert (await other)[0].vector is not None
    assert "small" not in {job for job, _, _ in wired.told.stalls}


async def until_called(server: OpenAIServer) -> None:
    async def called() -> bool:
        return bool(server.log)

    await until(called)


async def test_a_limit_is_kept_to(wired: Rig, server: OpenAIServer) -> None:
    """30,000 tokens are there at once, 500 flow in each second."""
    server.allowance = Allowance(tokens=30_000, requests=500)
    began = time.monotonic()
    await wired.embed(*(f"{i} " + "word " * 100 for i in range(300)), tokens=103)
    assert not any(call.status == 429 for call in server.log)
    assert time.monotonic() - began > (server.tokens.total() - 30_000) / 500


async def test_texts_beyond_what_a_minute_allows_are_asked_for_in_smaller_calls(
    wired: Rig, server: OpenAIServer
) -> None:
    server.allowance = Allowance(tokens=9_600)
    await wired.embed(*(f"{i} " + "word " * 100 for i in range(96)), tokens=102)
    assert [call.status for call in server.log if call.status != 200] == [429]
    assert len(server.texts) == 96


async def test_an_unwell_server_is_asked_again_and_keeps_no_place_meanwhile(wired: Rig, server: OpenAIServer) -> None:
    server.fail_next(errors.server_error(503), 1)
    assert (await wired.embed("a"))[0].vector is not None
    assert [call.status for call in server.log] == [503, 200]
