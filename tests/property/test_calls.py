"""Jobs that share an embedding API which is away, slow, at its limit, or refuses texts; pauses and budgets beside.

Whatever comes in which order: every text is embedded in the end, or refused for what it is; none is paid for twice; no
budget is passed, and the ledger never tells of less than was billed; and nobody waits for ever.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from consumer.account import Account
from consumer.calls import Calls, Profiles, Text
from consumer.ledger import Ledger
from consumer.reports import Reports
from consumer.stalls import GaveUp, Stalls
from headrace.embedding.base import HARMLESS, Embedded, RateLimited, TextsRefused
from headrace.embedding.limits import Rates
from headrace.errors import DependencyUnwell
from headrace.prices import Prices
from schemas.commands import JobCommand
from schemas.events import Event
from schemas.facts import CallReserved, CallSettled
from schemas.kb import Budget
from tests.support.clock import run_at_once
from tests.support.waiting import until
from tests.unit.consumer.made import DEFINITION, command

JOBS = ("a", "b", "c", "d")
MOODS = ("well", "well", "flaky", "away", "refuses the key", "at its limit", "slow")
LATENCY_S, TROUBLE_S, PATIENCE_S = 0.6, 3.0, 20_000.0
TOKENS = 12
"""Of a text as its record counts them; the provider counts as many at most."""


class Provider:
    """Bills what it embeds, by job, which each text names."""

    server, usual_texts, max_texts, max_tokens, max_text_tokens, parallel = "OpenAI", 8, 32, 2_000, 500, 16
    most_requests = 1

    def __init__(self, drawn: random.Random) -> None:
        self.shares: Hashable = self
        self.drawn, self.mood, self.most_texts = drawn, "well", 32
        self.paid: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        await asyncio.sleep(self.drawn.uniform(0, LATENCY_S) + (self.mood == "slow") * self.drawn.uniform(5, 20))
        self._fail()
        if len(texts) > self.most_texts:
            raise TextsRefused("too many", too_many=True)
        if any(text.endswith("bad") for text in texts):
            raise TextsRefused("bad")
        counts = [self.drawn.randint(1, TOKENS) for _ in texts]
        for text, count in zip(texts, counts, strict=True):
            self.paid[text] += 1
            self.billed[text.partition(" ")[0]] += count
        return Embedded(np.zeros((len(texts), 2), dtype=np.float32), sum(counts))

    def _fail(self) -> None:
        chance = self.drawn.random()
        if self.mood == "away" or (self.mood == "flaky" and chance < 0.3):
            raise DependencyUnwell("OpenAI", "answers 503", in_doubt=chance < 0.1)
        if self.mood == "refuses the key":
            raise DependencyUnwell("OpenAI", "the key is refused", lasting=True)
        if self.mood == "at its limit" and chance < 0.5:
            raise RateLimited("OpenAI", "429", Rates(retry_after_s=self.drawn.choice([None, 0.1, 2, 30])))

    async def stop(self) -> None: ...


class Play:
    """The jobs' owner; `stalled` and `paused` ones may not embed."""

    worker, group_generation = "w", 1

    def __init__(self, seed: int) -> None:
        random.seed(seed)
        self.drawn = drawn = random.Random(seed)
        self.provider, self.events = Provider(drawn), list[Event]()
        self.commands = {job: self._command(job, drawn.choice([None, 500, 4_000])) for job in JOBS}
        self.paused, self.stalled = set[str](), set[str]()
        judge: Any = SimpleNamespace(
            newest=lambda of: self.commands[of.job_id], ended=lambda of: False, stalled=self.stalled,
            command_known=self.commands.get,
        )  # fmt: skip
        reports = cast(Reports, self)
        self.calls = Calls(
            Profiles(lambda _: self.provider), Stalls(reports), self.may, Ledger(reports, judge, Prices(), self.history)
        )

    def _command(self, job: str, max_tokens: int | None, revision: int = 1) -> JobCommand:
        definition = msgspec.structs.replace(DEFINITION, budget=Budget(max_tokens=max_tokens))
        return command(job_id=job, revision=revision, definition=definition)

    def may(self, job: str) -> bool:
        return job not in self.paused and job not in self.stalled

    async def publish(self, event: Event, partition: int) -> None:
        await asyncio.sleep(self.drawn.uniform(0, 0.02))
        self.events.append(event)

    hand_over = publish

    async def stall(self, *_: Any, **__: Any) -> None:
        await asyncio.sleep(self.drawn.uniform(0, 0.02))

    async def history(self, of: JobCommand) -> Account:
        await asyncio.sleep(self.drawn.uniform(0, 0.5))
        return self.account(of.job_id)

    def account(self, job: str) -> Account:
        account = Account()
        for event in self.events:
            if isinstance(event, CallReserved | CallSettled) and event.job_id == job:
                account.apply(event)
        return account

    def goes_on(self, job: str) -> None:
        """A person's command, with a larger budget; what had stepped aside is tried again."""
        known = self.commands[job]
        most = known.definition.budget.max_tokens
        self.commands[job] = self._command(job, most and most + 2_000, known.revision + 1)
        self.stalled.discard(job)

    async def batch(self, job: str, number: int) -> list[Text]:
        count = self.drawn.randint(1, 60)
        endings = ["bad" if self.drawn.random() < 0.02 else "" for _ in range(count)]
        texts = [Text(f"{job} {number} {i} {end}", TOKENS, may_wait=i % 2 == 0) for i, end in enumerate(endings)]
        while left := [text for text in texts if text.vector is None and text.refused is None]:
            try:
                await self.calls.embed(self.commands[job], left)
            except GaveUp as exc:
                if exc.cause.dependency == "OpenAI" and self.may(job):
                    self.stalled.add(job)
            await asyncio.sleep(0.1)
            await until(lambda: self._is(job), within_s=PATIENCE_S, every_s=0.5)
        return texts

    async def _is(self, job: str) -> bool:
        return self.may(job)

    async def trouble(self) -> None:
        for _ in range(40):
            await asyncio.sleep(self.drawn.uniform(0, TROUBLE_S))
            self.drawn.choice([self._mood, self._pause, self.paused.clear, self._way])()
            self.calls.reconsider()
            self._check()
        self.provider.mood = "well"
        self.paused.clear()
        while True:
            for job in self.stalled & set(JOBS):
                self.goes_on(job)
            await asyncio.sleep(5)

    def _mood(self) -> None:
        self.provider.mood, self.provider.most_texts = self.drawn.choice(MOODS), self.drawn.choice([4, 16, 32])
        for job in self.drawn.sample(JOBS, 2):
            self.goes_on(job)

    def _pause(self) -> None:
        self.paused.add(self.drawn.choice(JOBS))

    def _way(self) -> None:
        job = self.drawn.choice(JOBS)
        self.calls.give_way(lambda each: each.job_id == job)

    def _check(self) -> None:
        for job in JOBS:
            most = self.commands[job].definition.budget.max_tokens
            assert most is None or self.provider.billed[job] <= most
            assert self.account(job).spent().tokens >= self.provider.billed[job]

    async def run(self) -> list[Text]:
        trouble = asyncio.ensure_future(self.trouble())
        async with asyncio.timeout(PATIENCE_S):
            batches = await asyncio.gather(*(self.batch(job, number) for job in JOBS for number in range(8)))
        assert trouble.cancel()
        await asyncio.sleep(60)
        self._check()
        return [text for batch in batches for text in batch]


@pytest.mark.parametrize("seed", range(16))
def test_whatever_comes_every_text_is_embedded_once_within_its_budget(seed: int) -> None:
    play = Play(seed)
    texts = run_at_once(play.run())
    assert {text.text for text in texts if text.refused} == {text.text for text in texts if text.text.endswith("bad")}
    asked = Counter({text: times for text, times in play.provider.paid.items() if text != HARMLESS})
    assert asked == Counter(text.text for text in texts if not text.refused)
    (line,) = play.calls._lines.values()
    assert (line._limiter.in_flight, line._jobs, line._under_way) == (0, {}, set())
