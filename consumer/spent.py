"""What a job has spent so far, read off the log."""

import asyncio
import logging
from collections.abc import AsyncIterator

from consumer.account import Account
from headrace.kafka.follower import end_offset, offset_since, stream_span
from headrace.kafka.publisher import Publisher
from headrace.kafka.records import RawRecord
from headrace.prices import Prices
from headrace.settings import Settings
from schemas.codec import UndecodableRecord, decode
from schemas.commands import JobCommand
from schemas.facts import CallReserved, CallSettled
from schemas.identity import begun_ms

log = logging.getLogger(__name__)

CLOCKS_MS = 3_600_000
"""No writer's clock is so far behind control's: a job's records are looked for from so long before it began."""
BREATH = 1_000
"""Records between two turns of the event loop."""
TRANSACTION_S = 0.1
"""Control's transactions take milliseconds, and hold back what stands behind them until they end."""

_OF_CALLS = frozenset({CallReserved.ce_type().encode(), CallSettled.ce_type().encode()})


class Spent:
    """Called with a job's command: its account, of all that stands on the log now."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._prices = Prices(settings.prices)
        self._servers, self._prefix, self._publisher = settings.bootstrap_servers, settings.topic_prefix, publisher

    async def __call__(self, command: JobCommand) -> Account:
        await self._publisher.drain()  # what this worker settled itself, before the job had a budget
        account, read = Account(pico_usd_per_token=self._prices.pico_usd(command.definition.embedding, 1)), 0
        async for raw in self._records(command):
            read += 1
            if read % BREATH == 0:
                await asyncio.sleep(0)
            if raw.key == command.job_id.encode() and _is_of_call(raw):
                _apply(account, raw)
        log.info("job %s has spent %d tokens (%d records read)", command.job_id, account.spent().tokens, read)
        return account

    async def _records(self, command: JobCommand) -> AsyncIterator[RawRecord]:
        """From the job's beginning on; of a job that doesn't tell when that was, from the log's."""
        end, begun = await self._end(command.partition), begun_ms(command.job_id)
        first: int | None = 0
        if begun is not None:
            first = await offset_since(
                self._servers, "events", command.partition, begun - CLOCKS_MS, prefix=self._prefix
            )
        if first is not None:
            span = stream_span(self._servers, "events", command.partition, first, end, prefix=self._prefix)
            async for raw in span:
                yield raw

    async def _end(self, partition: int) -> int:
        """Once all that stands there now can be read."""
        end = await end_offset(self._servers, "events", partition, prefix=self._prefix, committed=False)
        while True:
            if await end_offset(self._servers, "events", partition, prefix=self._prefix) >= end:
                return end
            await asyncio.sleep(TRANSACTION_S)


def _is_of_call(raw: RawRecord) -> bool:
    return any(name == "ce_type" and value in _OF_CALLS for name, value in raw.headers)


def _apply(account: Account, raw: RawRecord) -> None:
    try:
        account.apply(decode("events", raw.headers, raw.value))
    except UndecodableRecord as exc:
        log.warning("events %d/%d is passed over: %s", raw.partition, raw.offset, exc)
