"""Plays one knowledge base's life: starts, pauses, resumes, cancels and refreshes, by HTTP like anyone else."""

import asyncio
import secrets
import time
from typing import Any

import aiohttp

from tests.fakes.site_behaviours import status as answers_status
from tests.fakes.site_pages import path_of
from tests.faults.model import Version
from tests.faults.played import COMPLETED, OVER, Job, Kb, Span, Timeline
from tests.faults.schedule import Deed, JobPlan, Life, Step
from tests.support.api import Api

Json = dict[str, Any]
CALL_S = 6.0
TRIGGER_S = 5.0
"""Longest wait for the moment of a deed: with a worker away it may not come, and the deed is done all the same."""
END_S = 150.0
"""Longest wait for a job's stable end, counted anew while faults go on."""
POLL_S = 0.05


class NoEnd(Exception):
    """A job reached no stable end in time."""


class Asking:
    """Control's API, however often control is away: a call is repeated until it is answered."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def once(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer; status 0 where nobody answers."""
        try:
            async with asyncio.timeout(CALL_S):
                return await self._api.call(method, path, body, **headers)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0, None

    async def answered(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The first answer that isn't about control's own troubles."""
        deadline = time.monotonic() + END_S
        while True:
            code, answer = await self.once(method, path, body, **headers)
            if code and code < 500:
                return code, answer
            if time.monotonic() > deadline:
                raise NoEnd(f"{method} {path}: no answer within {END_S:.0f} s; the last: {code} {answer}")
            await asyncio.sleep(POLL_S)

    async def status(self, kb_id: str) -> Json | None:
        code, answer = await self.once("GET", f"/kb/{kb_id}/status")
        return answer if code == 200 else None


class Player:
    """`play` once. `calm` is set once the last fault is over; only from then on is an end overdue."""

    def __init__(self, kb: Kb, life: Life, api: Api, timeline: Timeline, calm: asyncio.Event) -> None:
        self._kb, self._life, self._timeline, self._calm = kb, life, timeline, calm
        self._asking = Asking(api)

    async def play(self) -> None:
        """Raises NoEnd."""
        await asyncio.sleep(self._life.born_s)
        for plan in self._life.jobs:
            job = await self._start(plan)
            for step in plan.steps:
                if not await self._moment(step):
                    self._timeline.count(f"{step.deed} too late")
                    break
                await self._do(job, step.deed)
            if not self._next_is_hurried(plan):
                await self._stable(job, plan)
                if plan.then and self._kb.told.get(job.job_id) in COMPLETED:
                    await self._after(job, plan)

    def _next_is_hurried(self, plan: JobPlan) -> bool:
        later = self._life.jobs[self._life.jobs.index(plan) + 1 :]
        return bool(later) and later[0].hurried

    async def _start(self, plan: JobPlan) -> Job:
        kb, key = self._kb, secrets.token_hex(8)
        self._prepare_site(plan)
        version = Version(kb.site.url, kb.site.bodies(), frozenset(path_of(n) for n in plan.change.broken))
        asked_s, deadline = time.monotonic(), time.monotonic() + 2 * END_S
        reembeds, body = plan.reembeds, None if kb.jobs else kb.definition
        while True:
            deed, asked = ("reembed", {"embedding": kb.next_embedding}) if reembeds else ("start", body)
            code, answer = await self._asking.answered(
                "POST", f"/kb/{kb.kb_id}/{deed}", asked, **{"Idempotency-Key": f"{key}-{deed}"}
            )
            if code == 202:
                break
            if code == 409 and answer["type"].endswith("not-published"):
                reembeds = False
                continue
            if code != 409 or time.monotonic() > deadline:
                raise NoEnd(f"start of {kb.kb_id} is refused: {code} {answer}")
            await asyncio.sleep(POLL_S)  # the cancelled one before is still being undone
        job = Job(answer["generation"], answer["job_id"], version, asked_s)
        kb.jobs.append(job)
        self._timeline.comes("start")
        kb.reembedded += reembeds
        what = "start" if len(kb.jobs) == 1 else "refresh right after cancel" if plan.hurried else "refresh"
        what = "reembed" if reembeds else what
        self._timeline.count(what)
        self._timeline.say(f"{kb.kb_id}: {what}, generation {job.generation}, job {job.job_id}")
        return job

    def _prepare_site(self, plan: JobPlan) -> None:
        site, change = self._kb.site, plan.change
        for path in site.paths:
            site.heal(path)
        site.change(change)
        for number in change.broken:
            site.behave(path_of(number), answers_status(500))
        for name, number in (("edited", len(change.edited)), ("removed", len(change.removed)),
                             ("added", change.added), ("broken", len(change.broken))):  # fmt: skip
            self._timeline.counts[f"pages {name}"] += number

    async def _moment(self, step: Step) -> bool:
        """Waits for the step's moment; False where the job is over before."""
        if step.when == "after":
            await asyncio.sleep(step.amount)
        deadline = time.monotonic() + TRIGGER_S
        while time.monotonic() < deadline:
            now = await self._asking.status(self._kb.kb_id)
            if now is not None and now["status"] in OVER:
                return False
            if step.when == "after" or (now is not None and self._has_come(step, now)):
                break
            await asyncio.sleep(POLL_S)
        if step.when == "once_held":
            await asyncio.sleep(step.amount)
        return True

    def _has_come(self, step: Step, now: Json) -> bool:
        if step.when == "at_share":
            return bool(now["metrics"]["chunks_total"]) and now["progress"] >= 100 * step.amount
        if step.when == "at_crawl_end":
            return now["crawl"]["state"] in ("finished", "failed")
        return bool(now["status"] == "paused")

    async def _after(self, job: Job, plan: JobPlan) -> None:
        """Rolls the completed job back, or vacuums behind it."""
        assert plan.then is not None
        taken = await self._do(job, plan.then)
        if plan.then == "rollback" and taken:
            await self._stable(job, plan)
        self._kb.vacuumed |= plan.then == "vacuum" and taken

    async def _do(self, job: Job, deed: Deed) -> bool:
        """Whether it is taken."""
        job.asked, job.asked_s = deed, time.monotonic()
        if deed != "pause":
            self.end_spans(job.asked_s)
        body = (
            {"generation": job.generation} if deed == "rollback" else None
        )  # named, so a repeated one undoes no second
        code, answer = await self._asking.answered("POST", f"/kb/{self._kb.kb_id}/{deed}", body)
        taken = code < 300
        self._timeline.count(deed if taken else f"{deed} refused")
        self._timeline.say(f"{self._kb.kb_id}: {deed}: {code} {answer}")
        if taken and deed == "approve":
            job.approved = True
        elif taken and deed != "vacuum":
            job.last, job.last_s = deed, time.monotonic()
        if taken and deed in ("pause", "resume", "cancel"):
            self._timeline.comes(deed)
        return taken

    def end_spans(self, at_s: float) -> None:
        for span in self._kb.spans:
            if span.until_s is None:
                span.until_s = at_s

    async def _stable(self, job: Job, plan: JobPlan) -> None:
        began: float | None = None
        while True:
            now = await self._asking.status(self._kb.kb_id)
            if now is not None and now["job_id"] == job.job_id and _is_stable(now, job):
                self._timeline.say(f"{self._kb.kb_id}: generation {job.generation} is {now['status']}")
                self._timeline.count(f"ended {now['status']}")
                if now["status"] in OVER:
                    self._kb.tell(job, now["status"])
                return
            if now is not None and now["job_id"] == job.job_id and now["status"] == "needs_review":
                await self._do(job, plan.decision)
            if self._calm.is_set():
                began = began or time.monotonic()
                if time.monotonic() > began + END_S:
                    raise NoEnd(f"{self._kb.kb_id}, generation {job.generation}, last deed {job.last}: {_short(now)}")
            await asyncio.sleep(POLL_S)


def _is_stable(now: Json, job: Job) -> bool:
    if job.last == "rollback":
        return bool(now["status"] == "cancelled")
    return now["status"] in OVER or (job.last == "pause" and now["status"] == "paused")


def _short(status: Json | None) -> str:
    if status is None:
        return "no status"
    names = ("status", "phase", "revision", "reflected", "metrics", "crawl", "offsets", "stalls")
    return ", ".join(f"{name}: {status[name]}" for name in names)


def note_paused(kb: Kb, now: Json, asked_s: float) -> None:
    """Opens a span where a status that was asked for at `asked_s` says paused, and nothing else is wanted by now."""
    job = next((job for job in kb.jobs if job.job_id == now["job_id"]), None)
    if job is None or now["status"] != "paused" or job.asked != "pause" or job.asked_s > asked_s:
        return
    if not any(span.job is job and (span.until_s is None or span.until_s > asked_s) for span in kb.spans):
        kb.spans.append(Span(job, job.asked_s, time.monotonic()))
