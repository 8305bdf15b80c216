"""What embedding the questions of searches costs, told on `events`: in sums, so that a search writes nothing.

1. A question is embedded: its requests and tokens join the sum of its knowledge base and profile.
2. Sums are told every `TELL_EVERY_S`, and at a stop. Crash before: the last seconds are billed by the provider, and in
   nobody's account. Crash after: nothing is left to do.
A sum that Kafka didn't take joins the next one. A job's budget is for its own calls: questions are not held up by it.
"""

import asyncio
import logging
from dataclasses import dataclass

from confluent_kafka import KafkaException

from headrace.kafka.publisher import Publisher
from headrace.prices import Prices
from schemas.codec import now
from schemas.facts import QuestionsEmbedded
from schemas.identity import partition_for
from schemas.kb import Embedding

log = logging.getLogger(__name__)

TELL_EVERY_S = 5.0
LAST_S = 2.0
"""At a stop, what is left is told within this time, or not at all."""


@dataclass
class _Sum:
    since: str
    requests: int = 0
    tokens: int = 0


class Bill:
    """`start`, `add` at any time, `stop`; all from one event loop."""

    def __init__(self, publisher: Publisher, prices: Prices, worker: str) -> None:
        self._publisher, self._prices, self._worker = publisher, prices, worker
        self._sums: dict[tuple[str, Embedding], _Sum] = {}
        self._partitions = 0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, partitions: int) -> "asyncio.Task[None]":
        """What tells; it ends with `stop`, or raises."""
        self._partitions = partitions
        self._task = asyncio.create_task(self._run(), name="bill")
        return self._task

    def add(self, kb_id: str, embedding: Embedding, tokens: int, requests: int = 1) -> None:
        """What was answered under a resolved profile."""
        found = self._sums.setdefault((kb_id, embedding), _Sum(now()))
        found.requests, found.tokens = found.requests + requests, found.tokens + tokens

    async def stop(self) -> None:
        if self._task is None:
            return
        self._stopping.set()
        await asyncio.wait({self._task}, timeout=LAST_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if tokens := sum(each.tokens for each in self._sums.values()):
            log.warning("what the last searches cost was not told: Kafka is away (%d tokens)", tokens)

    async def _run(self) -> None:
        ends = False
        while not ends:
            try:
                async with asyncio.timeout(TELL_EVERY_S):
                    ends = await self._stopping.wait()
            except TimeoutError:
                pass
            await self.tell()

    async def tell(self) -> None:
        """Returns once Kafka has what was added until now, or has refused it."""
        for key in list(self._sums):
            event = self._event(*key, self._sums[key])
            try:
                await self._publisher.send(event, partition=partition_for(event.kb_id, self._partitions))
            except KafkaException as exc:
                log.warning("what searches of %s cost is told later: %s", event.kb_id, exc)
                return
            self._take_off(key, event)

    def _take_off(self, key: tuple[str, Embedding], told: QuestionsEmbedded) -> None:
        """What was added while it was told stays."""
        left = self._sums[key]
        left.since, left.requests, left.tokens = told.told_at, left.requests - told.requests, left.tokens - told.tokens
        if not left.requests:
            del self._sums[key]

    def _event(self, kb_id: str, embedding: Embedding, of: _Sum) -> QuestionsEmbedded:
        assert embedding.provider and embedding.model
        return QuestionsEmbedded(
            kb_id=kb_id,
            provider=embedding.provider,
            model=embedding.model,
            requests=of.requests,
            tokens=of.tokens,
            pico_usd=self._prices.pico_usd(embedding, of.tokens),
            worker=self._worker,
            since=of.since,
            told_at=now(),
        )
