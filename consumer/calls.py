"""Calls of the embedding API: packed from the waiting texts of one job, as many as the API takes, fair among jobs."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from consumer.ledger import Ledger
from consumer.stalls import GaveUp, Stalls
from headrace.embedding import Embedded, Embedder
from headrace.embedding.base import HARMLESS, RateLimited, TextsRefused, Vectors, refuses_all
from headrace.embedding.limits import Limiter, Rates, Ticket
from headrace.errors import DependencyUnwell
from schemas.commands import JobCommand
from schemas.kb import Embedding

log = logging.getLogger(__name__)

PATIENCE_S = 20.0
"""A job whose embedding fails for longer steps aside (its records are parked), so that others on its worker go on."""
ABSORBED_S = 5.0
"""For so long a 429 is how an API says what it takes, and no stall: it may be answered to any client at its limit."""


class Profiles:
    """One embedder per embedding profile."""

    def __init__(self, make: Callable[[Embedding], Embedder]) -> None:
        self._make = make
        self._known: dict[Embedding, Embedder] = {}

    def of(self, embedding: Embedding) -> Embedder:
        if embedding not in self._known:
            self._known[embedding] = self._make(embedding)
        return self._known[embedding]

    async def stop(self) -> None:
        for embedder in self._known.values():
            await embedder.stop()


@dataclass(slots=True, eq=False)
class Text:
    """One text that waits for its `vector`, or for the reason why it is `refused`.

    `tokens`: as they are counted before the call, at least. `may_wait`: until its job need not give way to others.
    `traceparent`: of its page, where traces are on.
    """

    text: str
    tokens: int
    may_wait: bool = False
    traceparent: str | None = None
    vector: Vectors | None = None
    refused: str | None = None


@dataclass(slots=True, eq=False)
class Call:
    """One request: texts of one job, of one batch or of several. `ticket`: it may go, until it is used up.

    `half_of`: the call that was refused as a whole; `halves` of this one that were taken. `asked_s`: since when the
    server has owed an answer; None while the call waits for its turn, or for Kafka.
    """

    command: JobCommand
    embedder: Embedder
    waiting: list["_Waiting"]
    ticket: Ticket | None = None
    half_of: "Call | None" = None
    halves: int = 0
    began_s: float = field(default_factory=time.monotonic)
    asked_s: float | None = None

    @property
    def texts(self) -> list[str]:
        return [each.text.text for each in self.waiting]

    @property
    def tokens(self) -> int:
        return sum(each.text.tokens for each in self.waiting)


class Calls:
    """`embed` the texts of a job; the allowance of one account and model is shared by all jobs that use it."""

    def __init__(self, profiles: Profiles, stalls: Stalls, may_embed: Callable[[str], bool], ledger: Ledger) -> None:
        self._profiles, self._stalls, self._may_embed, self._ledger = profiles, stalls, may_embed, ledger
        self._lines: dict[Hashable, _Line] = {}

    async def embed(self, command: JobCommand, texts: Sequence[Text]) -> None:
        """Returns once each text has its vector, is refused, or gave way. Raises GaveUp; some have vectors then."""
        embedder = self._profiles.of(command.definition.embedding)
        if texts:
            await self._line(embedder).embed(command, embedder, texts)

    async def probe(self, command: JobCommand) -> None:
        """Raises DependencyUnwell where not even a harmless text is embedded; for a job that stepped aside."""
        embedder = self._profiles.of(command.definition.embedding)
        try:
            await self._ledger.call(
                command, [(HARMLESS, 1)], lambda: embedder.embed([HARMLESS]), requests=embedder.most_requests
            )
        except TextsRefused as exc:
            raise refuses_all(embedder.server, exc) from exc

    def reconsider(self) -> None:
        """A command has changed: what waits for a job that is paused waits no longer."""
        for line in self._lines.values():
            line.let_go()

    def give_way(self, gives_way: Callable[[JobCommand], bool]) -> None:
        """Texts that may wait are waited for no longer, of jobs that give way and where no call has them yet."""
        for line in self._lines.values():
            line.give_way(gives_way)

    async def stop(self) -> None:
        for line in self._lines.values():
            await line.stop()

    def _line(self, embedder: Embedder) -> "_Line":
        if embedder.shares not in self._lines:
            limiter = Limiter(most=embedder.parallel)
            self._lines[embedder.shares] = _Line(limiter, self._stalls, self._may_embed, self._ledger)
        return self._lines[embedder.shares]


@dataclass(slots=True, eq=False)
class _Asked:
    """What one `embed` waits for."""

    left: int
    done: "asyncio.Future[None]"
    gave_up: BaseException | None = None

    def ended(self) -> None:
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True, eq=False)
class _Waiting:
    text: Text
    asked: _Asked


@dataclass(slots=True, eq=False)
class _Job:
    """A job's place in the line. `served`: tokens, and when last; who comes anew begins with the least of others."""

    command: JobCommand
    embedder: Embedder
    served: float
    served_at: float = -math.inf
    texts: deque[_Waiting] = field(default_factory=deque)
    again: "deque[tuple[Call, asyncio.Future[None]]]" = field(default_factory=deque)
    under_way: int = 0

    @property
    def waits(self) -> bool:
        return bool(self.texts or self.again)


class _Line:
    """The jobs that wait for one allowance. The one that was served least goes next, with one call.

    A call that was refused for the rate goes again before others of its job.
    """

    def __init__(self, limiter: Limiter, stalls: Stalls, may_embed: Callable[[str], bool], ledger: Ledger) -> None:
        self._limiter, self._stalls, self._may_embed, self._ledger = limiter, stalls, may_embed, ledger
        self._jobs: dict[str, _Job] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._most_texts = math.inf
        self._taken_at: dict[Embedder, float] = {}

    async def embed(self, command: JobCommand, embedder: Embedder, texts: Sequence[Text]) -> None:
        asked = _Asked(len(texts), asyncio.get_running_loop().create_future())
        job = self._job(command, embedder)
        job.texts.extend(_Waiting(text, asked) for text in texts)
        self.let_go()
        try:
            await asked.done
        except asyncio.CancelledError:
            job.texts = deque(waiting for waiting in job.texts if waiting.asked is not asked)
            raise
        if asked.gave_up is not None:
            raise asked.gave_up

    async def stop(self) -> None:
        """Calls under way are cut off, and none starts."""
        for job in self._jobs.values():
            _give_up_all(job, _not_running())
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def give_way(self, gives_way: Callable[[JobCommand], bool]) -> None:
        for job in self._jobs.values():
            if job.texts and gives_way(job.command):
                gave_way = [waiting for waiting in job.texts if waiting.text.may_wait]
                job.texts = deque(waiting for waiting in job.texts if not waiting.text.may_wait)
                for waiting in gave_way:
                    waiting.asked.ended()

    def _job(self, command: JobCommand, embedder: Embedder) -> _Job:
        if command.job_id not in self._jobs:
            least = min((job.served for job in self._jobs.values()), default=0.0)
            self._jobs[command.job_id] = _Job(command, embedder, least)
        return self._jobs[command.job_id]

    def let_go(self) -> None:
        """Starts whatever may start now; what is of a job that may not embed any more is given up."""
        for job in list(self._jobs.values()):
            if not self._may_embed(job.command.job_id):
                _give_up_all(job, _not_running())
            if not job.waits and not job.under_way:
                del self._jobs[job.command.job_id]
        while waiting := [job for job in self._jobs.values() if job.waits]:
            now = time.monotonic()
            job = min(waiting, key=lambda each: (each.served, each.served_at))
            count, tokens = self._next(job, now)
            wait_s = self._limiter.wait_s(now, tokens)
            if wait_s > 0:
                self._come_back(wait_s)
                return
            job.served_at = now
            if count:  # what goes again, whole or by halves, was counted when it went first
                job.served += tokens
            self._start(job, count, self._limiter.start(now, tokens))

    def _next(self, job: _Job, now: float) -> tuple[int, int]:
        """Texts and tokens of its next call; no text where one goes again."""
        if job.again:
            return 0, job.again[0][0].tokens
        embedder, limiter = job.embedder, self._limiter
        large = limiter.scarce_requests(now)
        most_texts = min(embedder.max_texts if large else embedder.usual_texts, self._most_texts)
        most_tokens = embedder.max_tokens if large else min(embedder.max_tokens, limiter.second_of_tokens())
        count = tokens = 0
        for waiting in job.texts:
            alone = waiting.text.tokens > embedder.max_text_tokens
            if count and (alone or count >= most_texts or tokens + waiting.text.tokens > most_tokens):
                break
            count, tokens = count + 1, tokens + waiting.text.tokens
            if alone:
                break
        return count, tokens

    def _start(self, job: _Job, count: int, ticket: Ticket) -> None:
        if count:
            call = Call(job.command, job.embedder, [job.texts.popleft() for _ in range(count)], ticket)
            self._spawn(call)
            return
        call, turn = job.again.popleft()
        if turn.done():  # it was cancelled
            self._limiter.dropped(ticket)
        else:
            call.ticket = ticket
            turn.set_result(None)

    def _come_back(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait_s, self.let_go) if wait_s < math.inf else None

    def _spawn(self, call: Call) -> None:
        job = self._job(call.command, call.embedder)
        job.under_way += 1

        def ended(task: "asyncio.Task[None]") -> None:
            self._under_way.discard(task)
            job.under_way -= 1
            self.let_go()

        task = asyncio.ensure_future(self._run(call))
        self._under_way.add(task)
        task.add_done_callback(ended)

    async def _run(self, call: Call) -> None:
        """Until each of its texts has a vector, is refused, or is given up. Never raises."""
        try:
            embedded = await self._retried(call, lambda: self._attempt(call))
        except TextsRefused as exc:
            await self._refused(call, exc)
        except GaveUp as exc:
            await self._out_of_patience(call, exc)
        except BaseException as exc:  # anything else is a fault of the program, for who asked to raise
            _give_up(call.waiting, exc)
        else:
            self._hand_out(call, embedded)

    async def _out_of_patience(self, call: Call, gave_up: GaveUp) -> None:
        """What one job has waited for in vain, without an answer to any, the others need not wait for in turn."""
        _give_up(call.waiting, gave_up)
        cause, answered = gave_up.cause, max(self._taken_at.values(), default=-math.inf) > call.began_s
        if cause.dependency != call.embedder.server or cause.lasting or answered:
            return
        if not self._may_embed(call.command.job_id):
            return  # it was paused, and its patience not at an end
        jobs = [job for job in self._jobs.values() if job.waits]
        for job in jobs:
            _give_up_all(job, gave_up)
        await self._stalls.tell([job.command for job in jobs], cause)

    async def _retried(self, call: Call, attempt: Callable[[], Awaitable[Embedded]]) -> Embedded:
        def patient(cause: DependencyUnwell, waited_s: float) -> bool:
            return self._may_embed(call.command.job_id) and not cause.lasting and waited_s < PATIENCE_S

        return await self._stalls.retry(
            attempt, [call.command], patient, server=call.embedder.server, asked_s=lambda: call.asked_s
        )

    async def _attempt(self, call: Call) -> Embedded:
        """The call's answer. What a 429 asks for is waited for in the line, unless it is long."""
        limited_at = math.inf
        while True:
            await self._turn(call)
            try:
                return await self._made(call)
            except RateLimited as exc:
                now = time.monotonic()
                limited_at = min(limited_at, now)
                if self._limiter.much_for_a_minute(call.tokens) and len(call.waiting) > 1:
                    raise TextsRefused("it may have more tokens than a minute allows", too_many=True) from None
                if now + max(self._limiter.pause_s(now), exc.retry_after_s or 0) - limited_at > ABSORBED_S:
                    raise

    async def _turn(self, call: Call) -> None:
        """Returns once the call may go."""
        if call.ticket is None:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._job(call.command, call.embedder).again.append((call, turn))
            self.let_go()
            await turn

    async def _made(self, call: Call) -> Embedded:
        """One request; what it tells of the limits is noted, however it ends."""
        ticket, call.ticket = call.ticket, None
        assert ticket is not None
        limiter = self._limiter
        try:
            embedded = await self._paid_for(call)
        except RateLimited as exc:
            limiter.refused(ticket, time.monotonic(), exc.rates)
            raise
        except TextsRefused:
            limiter.answered(ticket, time.monotonic(), Rates())
            raise
        except DependencyUnwell as exc:
            limiter.dropped(ticket) if exc.lasting else limiter.failed(ticket, time.monotonic())
            raise
        except BaseException:
            limiter.dropped(ticket)
            raise
        else:
            limiter.answered(ticket, time.monotonic(), embedded.rates)
            self._taken_at[call.embedder] = time.monotonic()
            return embedded
        finally:
            asyncio.get_running_loop().call_soon(self.let_go)

    async def _paid_for(self, call: Call) -> Embedded:
        """The one place where an embedding is bought, beside `Calls.probe`."""
        job_id = call.command.job_id
        if not self._may_embed(job_id):
            raise _not_running()
        texts = [(each.text.text, each.text.tokens) for each in call.waiting]

        async def make() -> Embedded:
            call.asked_s = time.monotonic()
            try:
                return await call.embedder.embed(call.texts)
            finally:
                call.asked_s = None

        return await self._ledger.call(
            call.command,
            texts,
            make,
            may=lambda: self._may_embed(job_id),
            requests=call.embedder.most_requests,
            traceparents=[each.text.traceparent for each in call.waiting if each.text.traceparent],
        )

    async def _refused(self, call: Call, refusal: TextsRefused) -> None:
        """What is refused is tried again by halves, down to the text that fails by itself."""
        if len(call.waiting) > 1:
            for waiting in _halves(call.waiting):
                self._spawn(Call(call.command, call.embedder, waiting, half_of=call))
            return
        try:
            await self._check_that_any_is_taken(call)
        except BaseException as exc:
            _give_up(call.waiting, exc)
            return
        log.info("a text is refused: %s", refusal)
        who = "the embedding API" if call.embedder.server else "the local model"
        call.waiting[0].text.refused = f"{who} refuses this text: {refusal}"
        call.waiting[0].asked.ended()

    async def _check_that_any_is_taken(self, call: Call) -> None:
        """A text is bad only where others are taken."""
        if self._taken_at.get(call.embedder, -math.inf) > call.began_s:
            return
        harmless = _Waiting(Text(HARMLESS, 1), call.waiting[0].asked)
        probe = Call(call.command, call.embedder, [harmless])

        async def attempt() -> Embedded:
            try:
                return await self._attempt(probe)
            except TextsRefused as exc:
                raise refuses_all(call.embedder.server, exc) from exc

        await self._retried(probe, attempt)

    def _hand_out(self, call: Call, embedded: Embedded) -> None:
        for waiting, vector in zip(call.waiting, embedded.vectors, strict=True):
            waiting.text.vector = vector
            waiting.asked.ended()
        if call.half_of is not None:
            call.half_of.halves += 1
            if call.half_of.halves == 2:  # it was the size that was refused, and no text
                self._most_texts = min(self._most_texts, len(call.waiting))
                log.info("%s takes %d texts a call, not more", call.embedder.server, self._most_texts)


def _not_running() -> GaveUp:
    return GaveUp(DependencyUnwell("job", "not running"), 0)


def _give_up_all(job: _Job, gave_up: GaveUp) -> None:
    _give_up(job.texts, gave_up)
    job.texts.clear()
    for _, turn in job.again:
        if not turn.done():
            turn.set_exception(GaveUp(gave_up.cause, gave_up.waited_s))
    job.again.clear()


def _give_up(texts: "Iterable[_Waiting]", exc: BaseException) -> None:
    for waiting in texts:
        waiting.asked.gave_up = waiting.asked.gave_up or exc
        waiting.asked.ended()


def _halves(waiting: "list[_Waiting]") -> "Iterator[list[_Waiting]]":
    middle = len(waiting) // 2
    yield waiting[:middle]
    yield waiting[middle:]
