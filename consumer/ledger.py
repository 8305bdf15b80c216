"""Money is counted before it is spent: every call of an embedding provider is reserved, made and settled.

What is durable before what, for one call:

1. Where the job has a budget, its owner knows what was spent: the calls on `events` of its partition, from the job's
   beginning to the end as it stands now, read once for each assignment. What another owner reserved and nobody
   settled counts as spent, at its upper bound: it may still be under way there. It is read once more for each command
   under which that is too much: the other may have ended its calls since.
2. The call fits the budget, beside all calls of this owner that are under way. Where it will only once some of those
   are settled below their bounds, they are waited for. Where it won't: `budget_reached` is told, the job's records
   are parked, and control pauses it. Crash after: the next owner reads the same sum, and tells it again; control
   passes over what is said of another revision than the current one.
3. `call_reserved` has its delivery report. Crash before: nothing was asked of anybody. Crash after: it counts as
   spent although nothing was.
4. The job is looked at once more: a pause or a rebalance that came by now forbids the call, which is settled at
   nothing.
5. The call is made. Crash during it, or after: it counts at its bound, whatever the provider bills. So does a call
   that may have been answered although no good answer came.
6. `call_settled` is handed over, in front of the batch's outcomes on the same partition. Crash before it is there: as
   in 5, and what was embedded is embedded again unless it was written.

So the sum over the log is never less than what was billed, unless a provider counts more than the bound; and it is
exactly that where nobody died and every call was answered. An owner that was stopped past its session between 4 and 5
makes one call that the next owner doesn't know of, for each that was there, and no more: 3 waits for Kafka, and by
then the group generation is another.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from consumer.account import Account, Sum, most_tokens, passes
from consumer.call_result import observed
from consumer.judge import Judge
from consumer.metrics import EMBEDDED_TOKENS, EMBEDDING_USD
from consumer.reports import Reports
from consumer.stalls import GaveUp
from headrace.embedding.base import Embedded, TextsRefused
from headrace.errors import DependencyUnwell
from headrace.prices import Prices, usd
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.facts import BudgetReached, CallReserved, CallSettled
from schemas.kb import Budget

log = logging.getLogger(__name__)

Text = tuple[str, int]
"""What is embedded, and how many tokens its record counts."""
History = Callable[[JobCommand], Awaitable[Account]]


@dataclass
class _Job:
    """What is known of a job with a budget, in one term.

    mine: ids of this owner's calls under way. told: the command revision under which the budget was reached last.
    read_again: the one under which it was last read once more.
    """

    term: int
    account: asyncio.Future[Account]
    read_again: int = 0
    mine: set[str] = field(default_factory=set)
    told: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Ledger:
    """`call` makes one call of a provider; nothing else in the consumer makes any."""

    def __init__(
        self, reports: Reports, judge: Judge, prices: Prices, history: History, term: Callable[[], int] = lambda: 0
    ) -> None:
        """`history(command)` reads what a job has spent. `term()` changes when another may own it (`Window.term`)."""
        self._reports, self._judge, self._prices, self._history = reports, judge, prices, history
        self._term = term
        self._jobs: dict[str, _Job] = {}

    async def call(
        self,
        command: JobCommand,
        texts: Sequence[Text],
        make: Callable[[], Awaitable[Embedded]],
        *,
        may: Callable[[], bool] = lambda: True,
        requests: int = 1,
        traceparents: Iterable[str] = (),
    ) -> Embedded:
        """What `make` answers, which makes so many requests at most. Raises GaveUp where the budget forbids it, or the
        job may not go on (`may`), and what `make` raises. `traceparents` as `observed` takes them."""
        term, reserved = self._term(), self._reservation(command, texts, requests)
        job = await self._admitted(command, reserved)
        settled = _settlement(reserved, self._reports.worker)
        try:
            await self._reports.publish(reserved, command.partition)
            if self._term() != term or not may():
                raise GaveUp(DependencyUnwell("job", "not running"), 0)
            embedded = await observed(reserved, make, traceparents)
        except (GaveUp, TextsRefused, DependencyUnwell) as exc:
            if not (isinstance(exc, DependencyUnwell) and exc.in_doubt):
                await self._settle(command, job, settled)
            raise
        else:
            settled = self._paid(command, settled, texts, embedded)
            EMBEDDED_TOKENS.labels(settled.provider).inc(settled.tokens)
            EMBEDDING_USD.labels(settled.provider).inc(usd(settled.pico_usd) or 0)
            await self._settle(command, job, settled)
            return embedded
        finally:
            if job:
                job.mine.discard(reserved.call_id)
                _wake(job)

    def _reservation(self, command: JobCommand, texts: Sequence[Text], requests: int) -> CallReserved:
        embedding = command.definition.embedding
        assert embedding.provider and embedding.model
        tokens = requests * most_tokens(embedding, texts)
        return CallReserved(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            call_id=str(uuid.uuid4()),
            provider=embedding.provider,
            model=embedding.model,
            texts=len(texts),
            max_tokens=tokens,
            max_pico_usd=self._prices.pico_usd(embedding, tokens),
            group_generation=self._reports.group_generation,
            worker=self._reports.worker,
            reserved_at=now(),
        )

    def _paid(
        self, command: JobCommand, settled: CallSettled, texts: Sequence[Text], embedded: Embedded
    ) -> CallSettled:
        """What the provider counted, or the records where it doesn't say: else a budget would never be reached."""
        tokens = embedded.tokens or embedded.requests * sum(tokens for _, tokens in texts)
        pico_usd = self._prices.pico_usd(command.definition.embedding, tokens)
        return msgspec.structs.replace(
            settled, texts=len(texts), requests=embedded.requests, tokens=tokens, pico_usd=pico_usd
        )

    async def _settle(self, command: JobCommand, job: _Job | None, settled: CallSettled) -> None:
        if job:
            job.account.result().apply(settled)
        await self._reports.hand_over(msgspec.structs.replace(settled, settled_at=now()), command.partition)

    async def _admitted(self, command: JobCommand, reserved: CallReserved) -> _Job | None:
        """The job's account with the reservation on it, once it fits the budget; None where no account is kept.

        What is over (a repair's chunks) can't be paused any more, and goes on.
        """
        following = Sum(reserved.max_tokens, reserved.max_pico_usd)
        while True:
            newest = self._judge.newest(command)
            budget = Budget() if self._judge.ended(newest) else newest.definition.budget
            if budget == Budget() and self._known(command.job_id) is None:
                return None
            job = await self._job(command)
            account = job.account.result()
            if passes(budget, account, following) is None:
                account.apply(reserved)
                job.mine.add(reserved.call_id)
                return job
            if reason := passes(budget, account, following, without=job.mine):
                others = account.open.keys() - job.mine
                if not others or job.read_again == newest.revision:
                    await self._reached(newest, job, following, reason)
                if not job.mine:
                    self._read_again(newest, job)
                    continue
            await job.changed.wait()

    def _known(self, job_id: str) -> _Job | None:
        """What was known in another term is out of date: another owner may have spent more."""
        job = self._jobs.get(job_id)
        return job if job and job.term == self._term() else None

    def _wanted(self, job_id: str) -> bool:
        command = self._judge.command_known(job_id)
        return self._known(job_id) is not None and command is not None and not self._judge.ended(command)

    async def _job(self, command: JobCommand) -> _Job:
        job = self._known(command.job_id)
        if job is None:
            self._jobs = {job_id: each for job_id, each in self._jobs.items() if self._wanted(job_id)}
            job = self._jobs[command.job_id] = _Job(self._term(), asyncio.ensure_future(self._history(command)))
        await asyncio.shield(job.account)
        return job

    def _read_again(self, newest: JobCommand, job: _Job) -> None:
        """While none of this owner's calls is under way; who wants to make one waits for it."""
        account = asyncio.ensure_future(self._history(newest))
        self._jobs[newest.job_id] = _Job(job.term, account, told=job.told, read_again=newest.revision)
        _wake(job)

    async def _reached(self, newest: JobCommand, job: _Job, following: Sum, reason: str) -> None:
        """Raises GaveUp."""
        self._judge.stalled.add(newest.job_id)
        if job.told != newest.revision:
            job.told = newest.revision
            log.warning("job %s asks for a pause: %s", newest.job_id, reason)
            spent = job.account.result().spent()
            event = BudgetReached(
                job_id=newest.job_id,
                kb_id=newest.kb_id,
                generation=newest.generation,
                revision=newest.revision,
                spent_tokens=spent.tokens,
                spent_pico_usd=spent.pico_usd,
                next_tokens=following.tokens,
                next_pico_usd=following.pico_usd,
                budget=newest.definition.budget,
                reason=reason,
                worker=self._reports.worker,
                reported_at=now(),
            )
            await self._reports.publish(event, newest.partition)
        raise GaveUp(DependencyUnwell("job", reason), 0)


def _settlement(reserved: CallReserved, worker: str) -> CallSettled:
    """Of a call that cost nothing."""
    return CallSettled(
        job_id=reserved.job_id,
        kb_id=reserved.kb_id,
        generation=reserved.generation,
        call_id=reserved.call_id,
        provider=reserved.provider,
        model=reserved.model,
        texts=0,
        requests=0,
        tokens=0,
        pico_usd=0,
        worker=worker,
        settled_at=reserved.reserved_at,
    )


def _wake(job: _Job) -> None:
    job.changed.set()
    job.changed = asyncio.Event()
