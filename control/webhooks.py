"""Tells webhooks of each change of a job's status: at least once, in order for each knowledge base.

What was told is compared with what is so (`control/outbox.py` has the steps): when a status is made anew, and for all
knowledge bases once a webhook is taken up, so that what changed while no control ran is told then. What came and went
between two looks at a running job (0.1 to 1 s) is not told; how each job ended always is.
"""

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from control import answers
from control.answers.webhooks import WebhookAnswer
from control.courier import LONGEST_PAUSE_S, Answer, held_s, pause_s, send, wait
from control.metrics import WEBHOOK_MESSAGES
from control.outbox import SETTLED, Message, Outbox, Standing, Told
from control.status import OVER
from headrace.errors import DependencyUnwell
from headrace.private_file import Stamp, stamp_of
from headrace.webhooks import InvalidWebhooks, Webhook, read_webhooks
from schemas.codec import instant, now
from schemas.commands import JobCommand

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Between two looks at the file of webhooks."""
RETRY_S = 2.0
"""Until a disk is tried again that refused."""

T = TypeVar("T")


class Webhooks:
    """`start`; then `changed` with each new status, and `touch` with a knowledge base that has a new command, from the
    event loop; `stop`.

    `kbs()`: the ids of all knowledge bases, deleted ones too: they may come back. `jobs(kb_id)`: newest first.
    `status_of(command)`: as it is now; may raise DependencyUnwell.
    """

    def __init__(
        self,
        file: Path,
        outbox: Path,
        *,
        kbs: Callable[[], Iterable[str]],
        jobs: Callable[[str], list[JobCommand]],
        status_of: Callable[[JobCommand], Awaitable[answers.StatusAnswer]],
    ) -> None:
        self._file, self._path = file, outbox
        self._kbs, self._jobs, self._status_of = kbs, jobs, status_of
        self._seen: Stamp | None = None
        self._webhooks: dict[str, Webhook] = {}
        self._changed: dict[str, dict[str, answers.StatusAnswer]] = {}
        """By knowledge base and job, the newest statuses that are at hand."""
        self._wake = asyncio.Event()
        self._waiting: dict[str, asyncio.Event] = {}
        self._held_until_s: dict[str, float] = {}
        """On the monotonic clock: a receiver's Retry-After is for all that it is sent. Not kept over a restart."""
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="webhooks")
        self._outbox: Outbox | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="webhooks")

    async def failure(self) -> None:
        """Returns never; raises what ended the telling, or the sending to one of them."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        tasks = [*self._sending.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._outbox:
            await self._on_outbox(Outbox.close)
            self._outbox = None
        self._thread.shutdown()

    @property
    def any(self) -> bool:
        return bool(self._webhooks)

    def changed(self, answer: answers.StatusAnswer) -> None:
        self._changed.setdefault(answer.kb_id, {})[answer.job_id] = answer
        self._wake.set()

    def touch(self, kb_id: str) -> None:
        self._changed.setdefault(kb_id, {})
        self._wake.set()

    async def all(self) -> list[WebhookAnswer]:
        """As they are in the file now. Raises InvalidWebhooks."""
        webhooks = await asyncio.to_thread(read_webhooks, self._file)
        return [_answer(each, await self._standing(each)) for each in webhooks]

    async def test(self, name: str) -> Answer | None:
        """Sends it a message of type `webhook.test`, once; None where there is no such webhook."""
        webhooks = await asyncio.to_thread(read_webhooks, self._file)
        found = next((each for each in webhooks if each.name == name), None)
        if found is None:
            return None
        message_id, body = _message("webhook.test", {"webhook": name})
        return await send(found, message_id, body)

    async def _standing(self, webhook: Webhook) -> Standing | None:
        return await self._on_outbox(lambda outbox: outbox.standing(webhook.id)) if self._outbox else None

    async def _follow(self) -> None:
        while True:
            changed, self._changed = self._changed, {}
            self._wake.clear()
            for task in self._sending.values():
                if task.done():
                    task.result()
            hindrances = {await _hindrance(self._reconcile())}
            for kb_id, statuses in changed.items():
                hindrance = await _hindrance(self._compare(kb_id, statuses))
                if hindrance is not None:  # what is to be told stands where it stood, and holds no other
                    self._changed.setdefault(kb_id, {})
                hindrances.add(hindrance)
            if hindered := sorted(each for each in hindrances if each is not None):
                log.warning("webhooks wait: %s", "; ".join(hindered))
                await asyncio.sleep(RETRY_S)
            else:
                await wait(self._wake, LOOK_S)

    async def _reconcile(self) -> None:
        """Takes up what the file says, where it has changed."""
        stamp = stamp_of(self._file)
        if stamp is None or stamp == self._seen:  # one that vanishes ends nothing
            return
        try:
            webhooks = {each.id: each for each in await asyncio.to_thread(read_webhooks, self._file)}
        except InvalidWebhooks as exc:
            log.error("%s; those that were read before stay in force", exc)
            self._seen = stamp
            return
        if self._outbox is None:
            self._outbox = await asyncio.get_running_loop().run_in_executor(self._thread, Outbox, self._path)
        known = await self._on_outbox(Outbox.known)
        for webhook_id in known - webhooks.keys():
            await self._end(webhook_id)
        self._take_up({id: webhook for id, webhook in webhooks.items() if id in known})
        if new := webhooks.keys() - known:
            states = await self._states()
            for webhook_id in new:
                await self._on_outbox(lambda outbox, id=webhook_id: outbox.begin(id, states))  # type: ignore[misc]
            self._take_up(webhooks)
        self._seen = stamp
        log.info("%d webhooks read from %s", len(webhooks), self._file)

    def _take_up(self, webhooks: dict[str, Webhook]) -> None:
        if webhooks.keys() - self._webhooks.keys():  # for these nobody compared what changed until now
            for kb_id in self._kbs():
                self.touch(kb_id)
        self._webhooks = webhooks
        for webhook_id in webhooks.keys() - self._sending.keys():
            self._waiting[webhook_id] = asyncio.Event()
            self._sending[webhook_id] = asyncio.create_task(self._send(webhook_id), name=f"webhook {webhook_id}")

    async def _end(self, webhook_id: str) -> None:
        self._webhooks.pop(webhook_id, None)
        self._held_until_s.pop(webhook_id, None)
        if task := self._sending.pop(webhook_id, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._on_outbox(lambda outbox: outbox.forget(webhook_id))

    async def _states(self) -> list[Told]:
        known = [(each, jobs[0]) for kb_id in self._kbs() if (jobs := self._jobs(kb_id)) for each in jobs]
        wanted = [each for each, newest in known if each is newest or each.desired == "rolled_back"]
        return [_told(await self._status_of(command)) for command in wanted]

    async def _compare(self, kb_id: str, statuses: dict[str, answers.StatusAnswer]) -> None:
        """`statuses`: by job, those that are at hand."""
        if not self._webhooks:
            return
        jobs, told = self._jobs(kb_id), await self._on_outbox(lambda outbox: outbox.told(kb_id))
        for webhook in self._webhooks.values():
            known = told.get(webhook.id, {})
            for command in reversed(_behind(jobs, known)):
                if command.job_id not in statuses:
                    statuses[command.job_id] = await self._status_of(command)
                await self._tell(webhook, known, statuses[command.job_id])

    async def _tell(self, webhook: Webhook, known: Mapping[int, Told], answer: answers.StatusAnswer) -> None:
        state, before = _told(answer), known.get(answer.generation)
        settled = before is None and state.status in SETTLED and state.generation < max(known, default=0)
        if before == state or settled:
            return
        previous = before.status if before is not None and before.job_id == state.job_id else None
        message = _of_job(answer, previous) if webhook.wants(state.kb_id, state.status) else None
        dropped = await self._on_outbox(lambda outbox: outbox.tell(webhook.id, state, message))
        if dropped:
            self._given_up(webhook, dropped, "too many wait")
        self._waiting[webhook.id].set()

    async def _send(self, webhook_id: str) -> None:
        while True:
            self._waiting[webhook_id].clear()
            try:
                message = await self._on_outbox(lambda outbox: outbox.next(webhook_id))
                wait_s = self._wait_s(webhook_id, message) if message else None
                if message is None or wait_s:
                    await wait(self._waiting[webhook_id], wait_s)
                    continue
                webhook = self._webhooks[webhook_id]
                await self._settle(webhook, message, await send(webhook, message.id, message.body))
            except sqlite3.Error as exc:  # the message stands where it stood
                log.warning("webhooks wait: %s", exc)
                await asyncio.sleep(RETRY_S)

    def _wait_s(self, webhook_id: str, message: Message) -> float:
        """Until it may be sent; 0 is now."""
        held_s = self._held_until_s.get(webhook_id, 0.0) - time.monotonic()
        own_s = message.next_at - time.time()
        if own_s > LONGEST_PAUSE_S:  # put off by a clock that has been set back since
            own_s = 0.0
        return max(held_s, own_s, 0.0)

    async def _settle(self, webhook: Webhook, message: Message, answer: Answer) -> None:
        at = time.time()
        if answer.kind == "taken":
            WEBHOOK_MESSAGES.labels("delivered").inc()
            await self._noted(lambda outbox: outbox.delivered(webhook.id, message, at, answer.said))
            return
        if answer.kind == "gone":
            log.error("webhook %s at %s is disabled: %s", webhook.name, webhook.place, answer.said)
            await self._noted(lambda outbox: outbox.disable(webhook.id, at, answer.said))
            return
        self._held_until_s[webhook.id] = time.monotonic() + held_s(answer.retry_after_s)
        pause = pause_s(message.tries + 1, answer.retry_after_s)
        if pause is None:
            await self._noted(lambda outbox: outbox.delivered(webhook.id, message, at, answer.said))
            self._given_up(webhook, 1, answer.said)
            return
        WEBHOOK_MESSAGES.labels("failed").inc()
        log.warning("webhook %s at %s: %s; again in %.0f s", webhook.name, webhook.place, answer.said, pause)
        await self._noted(lambda outbox: outbox.postpone(webhook.id, message, at, answer.said, at + pause))

    async def _noted(self, work: Callable[[Outbox], None]) -> None:
        """Tried until the disk takes it: until then the message isn't sent again."""
        while True:
            try:
                return await self._on_outbox(work)
            except sqlite3.Error as exc:
                log.warning("webhooks wait: %s", exc)
                await asyncio.sleep(RETRY_S)

    def _given_up(self, webhook: Webhook, messages: int, why: str) -> None:
        WEBHOOK_MESSAGES.labels("given_up").inc(messages)
        log.error("webhook %s at %s: %d messages are given up: %s", webhook.name, webhook.place, messages, why)

    async def _on_outbox(self, work: Callable[[Outbox], T]) -> T:
        outbox = self._outbox
        assert outbox is not None
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, outbox)


async def _hindrance(work: Awaitable[None]) -> str | None:
    """Why it has to be tried again later."""
    try:
        await work
    except (DependencyUnwell, sqlite3.Error, OSError) as exc:
        return str(exc)
    return None


def _behind(jobs: list[JobCommand], known: Mapping[int, Told]) -> list[JobCommand]:
    """The jobs whose state a webhook may not know, newest first."""
    last = max(known, default=0)
    return [
        each
        for place, each in enumerate(jobs)
        if place == 0 or each.generation > last or _goes_on(each, known.get(each.generation))
    ]


def _goes_on(command: JobCommand, told: Told | None) -> bool:
    """An older job: it was not over, or is rolled back since."""
    if told is not None and told.status not in OVER:
        return True
    return command.desired == "rolled_back" and (told is None or told.status != "cancelled")


def _told(answer: answers.StatusAnswer) -> Told:
    return Told(answer.kb_id, answer.job_id, answer.generation, answer.status)


def _of_job(answer: answers.StatusAnswer, previous: str | None) -> tuple[str, bytes]:
    data = {
        "kb_id": answer.kb_id,
        "job_id": answer.job_id,
        "generation": answer.generation,
        "status": answer.status,
        "previous": previous,
        "phase": answer.phase,
        "progress": answer.progress,
        "reason": answer.reason,
        "stalls": answer.stalls,
        "published_generation": answer.published_generation,
        "metrics": answer.metrics,
        "cost": answer.cost,
        "started_at": answer.started_at,
        "finished_at": answer.finished_at,
    }
    return _message(f"job.{answer.status}", data)


def _message(kind: str, data: dict[str, object]) -> tuple[str, bytes]:
    """Its id and body."""
    body = msgspec.json.encode({"type": kind, "timestamp": now(), "data": data})
    return f"msg_{secrets.token_hex(12)}", body


def _answer(webhook: Webhook, standing: Standing | None) -> WebhookAnswer:
    return WebhookAnswer(
        name=webhook.name,
        url=webhook.place,
        kbs=list(webhook.kbs),
        on=list(webhook.on),
        created_at=webhook.created_at,
        state="new" if standing is None else "disabled" if standing.disabled_at else "active",
        waiting=standing.waiting if standing else 0,
        last_answer=standing.last_answer if standing else None,
        last_answer_at=_time(standing.last_at) if standing and standing.last_at else None,
    )


def _time(seconds: float) -> str:
    return instant(datetime.fromtimestamp(seconds, UTC))
