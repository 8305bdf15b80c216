"""The invariants, checked once every job has come to a stable end."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from headrace.vectors import Tenancy
from tests.faults.lane import EMBED_BATCH, EMBED_WINDOW, Lane
from tests.faults.ledger import Ledger
from tests.faults.life import Asking
from tests.faults.model import Content, crawl, with_text
from tests.faults.played import COMPLETED, LOSING, Job, Kb, Span, Timeline
from tests.faults.watch import HITS, rows_of, visible_at
from tests.support.offsets import group_offsets

Json = dict[str, Any]
SETTLE_S = 15.0
SWEPT_S = 30.0
"""Undone generations are swept every 20 s, and before each proof."""
LATE_S = 3.0
"""From an accepted command until every worker that hears of it has let go."""


class Verifier:
    def __init__(self, lane: Lane, ledger: Ledger, kbs: list[Kb], timeline: Timeline) -> None:
        self._lane, self._ledger, self._kbs, self._timeline = lane, ledger, kbs, timeline
        self._asking = Asking(lane.api)
        self._again = 0

    async def verify(self) -> None:
        """What doesn't hold is noted in the timeline."""
        await self._ledger.catch_up()
        await self._offsets()
        if self._ledger.dead_letters:
            self._breaks("no dead letters", f"{len(self._ledger.dead_letters)} records: {self._ledger.dead_letters[0]}")
        if self._ledger.lost:
            self._breaks("nothing lost", f"{self._ledger.lost[0]}")
        for kb in [kb for kb in self._kbs if kb.jobs]:
            await self._kb(kb)
            self._timeline.counts["spans parked"] += self._ledger.parked[kb.kb_id]
            self._timeline.counts["spans parked of jobs that ran"] += self._ledger.parked_running[kb.kb_id]
        self._paid_bound()
        self._timeline.counts["jobs at work on one partition at a time"] += self._neighbours()

    def _neighbours(self) -> int:
        """Jobs that ran while another had records on the same partition."""
        jobs = [(self._ledger.commands[kb.kb_id][job.job_id].partition, kb, job) for kb in self._kbs for job in kb.jobs]
        return sum(
            any(
                kb is not other_kb
                and where == there
                and one.started_s < other.ended_s
                and other.started_s < one.ended_s
                for there, other_kb, other in jobs
            )
            for where, kb, one in jobs
        )

    async def leave_nothing_paused(self) -> None:
        """Jobs that were left paused are cancelled, and must leave no trace either."""
        for kb in self._kbs:
            job = kb.jobs[-1] if kb.jobs else None
            if job is None or (await self._asking.status(kb.kb_id) or {}).get("status") != "paused":
                continue
            code, answer = await self._asking.answered("POST", f"/kb/{kb.kb_id}/cancel")
            self._timeline.count("cancel of a paused job")
            deadline, status = time.monotonic() + SETTLE_S, ""
            while status != "cancelled" and time.monotonic() < deadline:
                status = (await self._asking.status(kb.kb_id) or {}).get("status", "")
                await asyncio.sleep(0.05)
            if status != "cancelled":
                self._breaks("status truthful", f"{kb.kb_id}: cancelled while paused ({code} {answer}), is {status}")
            await self._no_trace(kb, {job.generation})

    def _breaks(self, invariant: str, detail: str) -> None:
        self._timeline.breaks(invariant, detail)

    async def _kb(self, kb: Kb) -> None:
        statuses = await self._statuses(kb)
        contents = await self._contents(kb)
        for job in kb.jobs:
            self._status(kb, job, statuses[job.job_id], contents[job.generation])
        published = max(
            (job.generation for job in kb.jobs if statuses[job.job_id]["status"] in COMPLETED), default=None
        )
        self._guarded(kb, statuses, contents)
        await self._index(kb, published, contents)
        if kb.vacuumed:
            await self._vacuumed(kb)
        cancelled = {job.generation for job in kb.jobs if statuses[job.job_id]["status"] in ("cancelled", "failed")}
        await self._no_trace(kb, cancelled)
        self._searches(kb, contents)
        self._listings(kb, contents)
        inputs = frozenset().union(*(content.embedded for content in contents.values()))
        self._paused(kb, inputs)
        self._paid(kb, inputs, [job for job in kb.jobs if job.generation in cancelled])

    async def _statuses(self, kb: Kb) -> dict[str, Json]:
        _, answer = await self._asking.answered("GET", f"/kb/{kb.kb_id}/jobs")
        return {job["job_id"]: job for job in answer["jobs"]}

    async def _contents(self, kb: Kb) -> dict[int, Content]:
        contents: dict[int, Content] = {}
        for job in kb.jobs:
            command = self._ledger.commands[kb.kb_id][job.job_id]
            base = contents.get(command.base, Content()) if command.base is not None else Content()
            if command.reembeds is not None:
                contents[job.generation] = replace(contents[command.reembeds], errors=0)
            else:
                contents[job.generation] = await crawl(job.version, base)
        return contents

    async def _offsets(self) -> None:
        """The group has committed all there is, and every status says so."""
        offsets = group_offsets(self._lane.settings)
        deadline = time.monotonic() + SETTLE_S
        try:
            while True:
                committed, ends = await asyncio.to_thread(lambda: (offsets.committed(), offsets.ends()))
                wrong = {p: (committed.get(p, 0), end) for p, end in ends.items() if committed.get(p, 0) != end}
                wrong |= await self._told_otherwise(committed)
                if not wrong:
                    await self._decided(committed)
                    return
                if time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.2)
        finally:
            offsets.close()
        self._breaks("progress is the committed offsets", f"(committed, told or end) {wrong}")

    async def _decided(self, committed: dict[int, int]) -> None:
        """What is committed has its outcome on the log."""
        await self._ledger.catch_up()
        for partition, end in committed.items():
            if without := set(range(end)) - self._ledger.decided[partition]:
                detail = f"{len(without)} committed records of partition {partition} have none, from {min(without)} on"
                self._breaks("every record has an outcome", detail)

    async def _told_otherwise(self, committed: dict[int, int]) -> dict[Any, Any]:
        wrong: dict[Any, Any] = {}
        for kb in [kb for kb in self._kbs if kb.jobs]:
            now = await self._asking.status(kb.kb_id)
            told = now["offsets"] if now else {"partition": None, "committed": None}
            if told["committed"] != committed.get(told["partition"]):
                wrong[kb.kb_id] = (committed.get(told["partition"]), told["committed"])
        return wrong

    def _status(self, kb: Kb, job: Job, now: Json, content: Content) -> None:
        status, where = now["status"], f"{kb.kb_id}/{job.generation}"
        completed = "completed_with_errors" if content.errors else "completed"
        allowed = {completed} | {"cancel": {"cancelled"}, "pause": {"paused"}}.get(job.last or "", set())
        if job.last == "rollback":
            allowed = {"cancelled"}
        if status not in allowed:
            self._breaks("status truthful", f"{where}: after {job.last} it is {status}, reason {now['reason']}")
        published_s = self._ledger.published_s.get((kb.kb_id, job.generation), 0.0)
        if (
            status in COMPLETED
            and job.last in ("cancel", "pause")
            and job.asked == job.last  # what was asked for since may have been done, and its answer lost
            and published_s > job.last_s + LATE_S
            and not self._timeline.excuses("consumer", job.last_s, published_s)
        ):
            late_s = published_s - job.last_s
            self._breaks("commands are obeyed", f"{where}: published {late_s:.1f} s after the {job.last} was accepted")
        if untrue := self._untrue(kb, job, status):
            self._breaks("status truthful", f"{where} is {status}, but {untrue}")
        state = self._ledger.kbs.generation(kb.kb_id, job.generation)
        if state is not None and state.recrawls:
            self._breaks("nothing lost", f"{where}: pages were fetched again because their chunks were gone")
        counts = now["metrics"]
        if status in COMPLETED and (counts["chunks_processed"] != counts["chunks_total"] or now["progress"] != 100):
            self._breaks("progress", f"{where} is {status} at {now['progress']} %: {counts}")

    def _untrue(self, kb: Kb, job: Job, status: str) -> str | None:
        """What on the log contradicts the status."""
        state = self._ledger.kbs.generation(kb.kb_id, job.generation)
        revision = self._ledger.commands[kb.kb_id][job.job_id].revision
        finished, crawled = self._ledger.finished.get(job.job_id), self._ledger.crawled.get(job.job_id)
        indexed = self._ledger.indexed.get(job.job_id)
        if status in COMPLETED:
            if state is None or state.state != "published":
                return f"its generation is {state and state.state}"
            return None if finished and finished.outcome == status else f"the log says {finished}"
        if status == "cancelled":
            if state is None or state.state != "undone":
                return f"its generation is {state and state.state}"
            undone = indexed is not None and (indexed.state, indexed.revision) == ("undone", revision)
            return None if undone else f"the consumer says {indexed}"
        if status == "paused":
            held = indexed is not None and (indexed.state, indexed.revision) == ("holding", revision)
            at_rest = crawled is not None and crawled.state != "crawling" and crawled.revision == revision
            return None if held and at_rest else f"the log says {crawled} and {indexed}"
        return None

    async def _index(self, kb: Kb, published: int | None, contents: dict[int, Content]) -> None:
        if published is None:
            return
        state = self._ledger.kbs.published(kb.kb_id)
        if state is None or state.generation != published:
            self._breaks("index equals model", f"{kb.kb_id}: {published} completed, the log has {state} published")
            return
        rows = await rows_of(self._lane.store, Tenancy(state.collection, kb.kb_id))
        visible = visible_at(rows, published, self._ledger.kbs.undone(kb.kb_id))
        if difference := _difference(visible, contents[published].hashes):
            self._breaks("index equals model", f"{kb.kb_id} at {published}: {difference}")

    async def _no_trace(self, kb: Kb, cancelled: set[int]) -> None:
        """What a worker wrote late is swept within `SWEPT_S`."""
        deadline = time.monotonic() + SWEPT_S
        while True:
            rows = await rows_of(self._lane.store, *self._ledger.places(kb.kb_id))
            born = Counter(row[1] for row in rows if row[1] in cancelled)
            retired = Counter(row[2] for row in rows if row[2] in cancelled)
            if not born and not retired:
                return
            if time.monotonic() > deadline:
                break
            self._timeline.say(f"{kb.kb_id}: late traces, born {dict(born)}, retired {dict(retired)}")
            self._timeline.count("looks at late traces of a cancelled generation")
            await asyncio.sleep(1.0)
        self._breaks("nothing of the cancelled", f"{kb.kb_id}: born {dict(born)}, retired {dict(retired)}")

    async def _vacuumed(self, kb: Kb) -> None:
        """Below the floor that control told, nothing is left that no search can see."""
        deadline = time.monotonic() + SWEPT_S
        known = self._ledger.kbs.get(kb.kb_id)
        floor, undone = known.vacuumed_below if known else 0, self._ledger.kbs.undone(kb.kb_id)
        shown = {state.collection for state in self._ledger.kbs.generations(kb.kb_id) if state.generation >= floor}
        while left := [
            row
            for place in self._ledger.places(kb.kb_id)
            for row in await rows_of(self._lane.store, place)
            if (row[2] <= floor and row[2] not in undone) or (place.collection not in shown and row[1] < floor)
        ]:
            if time.monotonic() > deadline:
                self._breaks("vacuum", f"{kb.kb_id}: {len(left)} chunks that only generations below {floor} showed")
                return
            await asyncio.sleep(0.3)

    def _guarded(self, kb: Kb, statuses: dict[str, Json], contents: dict[int, Content]) -> None:
        for job in kb.jobs:
            base = self._ledger.commands[kb.kb_id][job.job_id].base
            if base is None or job.approved or statuses[job.job_id]["status"] not in COMPLETED:
                continue
            before, after = with_text(contents[base]), with_text(contents[job.generation])
            share = len(before - after) / max(1, len(before))
            if share > kb.max_vanished_share:
                self._breaks("vanishing is guarded", f"{kb.kb_id}/{job.generation}: {share:.0%} of the pages are gone")

    def _searches(self, kb: Kb, contents: dict[int, Content]) -> None:
        for seen in kb.searched:
            content = contents.get(seen.generation)
            strange = seen.hits - content.texts if content else seen.hits
            least = 0 if seen.provisional or not content else _findable(content, seen.asked_for)
            if seen.found < least:
                when = seen.at_s - self._timeline.began_s
                detail = f"{kb.kb_id} at {when:.3f}: {seen.found} hits at {seen.generation}, there are {least}"
                self._breaks("no half refresh in a search", f"{detail} for {sorted(seen.asked_for)}")
                return
            if strange:
                when = seen.at_s - self._timeline.began_s
                url, text = next(iter(strange))
                detail = (
                    f"{kb.kb_id} at {when:.3f}: {len(strange)} of {len(seen.hits)} hits are not of {seen.generation}"
                )
                self._breaks("no half refresh in a search", f"{detail}: {url} {text[:60]!r}")
                return

    def _listings(self, kb: Kb, contents: dict[int, Content]) -> None:
        for seen in kb.listed:
            if difference := _difference(seen.visible, contents[seen.generation].hashes):
                when = seen.at_s - self._timeline.began_s
                self._breaks(
                    "no half refresh in the index", f"{kb.kb_id} at {when:.3f}, {seen.generation}: {difference}"
                )
                return

    def _paused(self, kb: Kb, inputs: frozenset[str]) -> None:
        for span in kb.spans:
            until_s = span.until_s or time.monotonic()
            for asked in self._lane.openai.asked:
                if span.from_s < asked.at_s < until_s and not inputs.isdisjoint(asked.texts):
                    if self._could_not_know(asked.worker, span, asked.at_s):
                        self._timeline.count("embeddings by a worker that slept through a pause")
                        continue
                    when = asked.at_s - self._timeline.began_s
                    told = span.from_s - self._timeline.began_s
                    detail = f"{kb.kb_id}: paused told at {told:.3f}, {asked.worker} embeds at {when:.3f}"
                    self._breaks("paused means paused", detail)
                    return

        for span in kb.spans:
            self._rests(kb, span)

    def _rests(self, kb: Kb, span: Span) -> None:
        """Nothing of a paused job is fetched or published."""
        until_s, began_s = span.until_s or time.monotonic(), self._timeline.began_s
        told = f"{kb.kb_id}: paused told at {span.from_s - began_s:.3f}"
        for visit in kb.site.visits:
            if span.from_s < visit.at_s < until_s and not self._timeline.excuses("producer", span.paused_s, visit.at_s):
                self._breaks("paused means paused", f"{told}, {visit.path} is asked for at {visit.at_s - began_s:.3f}")
                return
        published_s = self._ledger.published_s.get((kb.kb_id, span.job.generation), 0.0)
        if span.from_s < published_s < until_s and not self._timeline.excuses("consumer", span.paused_s, published_s):
            self._breaks("paused means paused", f"{told}, published at {published_s - began_s:.3f}")

    def _could_not_know(self, worker: str, span: Span, at_s: float) -> bool:
        """A worker that was frozen or cut off between the pause and the call is told nothing, and stops nothing."""
        return any(
            each.worker in (worker, "") and each.kind in LOSING and each.from_s < at_s and each.until_s > span.paused_s
            for each in self._timeline.disturbances
        )

    def _paid(self, kb: Kb, inputs: frozenset[str], cancelled: list[Job]) -> None:
        """A text of a cancelled generation went with it, and may be paid for again; else once, but for crashes."""
        times: Counter[tuple[str, str]] = Counter()
        for asked in self._lane.openai.asked:
            if asked.readable:
                times.update((asked.model, text) for text in inputs.intersection(asked.texts))
        self._told_of(kb, inputs)
        again = sum(max(0, count - 1 - self._wiped(kb, *paid, cancelled)) for paid, count in times.items())
        self._again += again
        self._timeline.counts["texts embedded"] += times.total()
        self._timeline.counts["texts embedded again"] += again

    def _told_of(self, kb: Kb, inputs: frozenset[str]) -> None:
        """What the API took stands in the ledger, whoever was killed over it."""
        billed = sum(len(inputs.intersection(asked.texts)) for asked in self._lane.openai.asked)
        bought = sum(self._ledger.bought[kb.kb_id].values())
        if billed > bought:
            self._breaks("money is counted before it is spent", f"{billed} texts were taken, {bought} are told")

    def _paid_bound(self) -> None:
        """One window for each fault of a consumer; an outage befalls each of them."""
        consumers = sum(name.startswith("consumer") for name in self._lane.workers)
        losing = [each for each in self._timeline.disturbances if each.of("consumer")]
        windows = sum(1 if each.worker else consumers for each in losing)
        bound = EMBED_BATCH * EMBED_WINDOW * windows
        if self._again > bound:
            detail = f"{self._again} texts again, {len(losing)} faults of consumers allow {bound}"
            self._breaks("no text paid for twice", detail)

    def _wiped(self, kb: Kb, model: str, text: str, cancelled: list[Job]) -> int:
        """In how many cancelled jobs' time the text was embedded by the model."""
        return sum(
            any(text in asked.texts and asked.model == model for asked in self._asked_during(kb, job))
            for job in cancelled
        )

    def _asked_during(self, kb: Kb, job: Job) -> Iterable[Any]:
        later = [other.started_s for other in kb.jobs if other.started_s > job.started_s]
        until_s = min(later, default=float("inf"))
        return (asked for asked in self._lane.openai.asked if job.started_s <= asked.at_s < until_s)


def _findable(content: Content, words: frozenset[str]) -> int:
    """How many hits a search by these words has at least; chunks that hold them in their title alone come on top."""
    return min(HITS, sum(not words.isdisjoint(_words(text)) for _, text in content.texts))


@lru_cache(20_000)
def _words(text: str) -> frozenset[str]:
    """As Weaviate takes them apart: runs of letters and digits, in lower case."""
    return frozenset(re.findall(r"[^\W_]+", text.lower()))


def _difference(found: Iterable[str], wanted: frozenset[str]) -> str:
    """Empty where they are the same."""
    counted = Counter(found)
    missing, extra = len(wanted - counted.keys()), len(counted.keys() - wanted)
    twice = sum(1 for count in counted.values() if count > 1)
    if not (missing or extra or twice):
        return ""
    return f"{missing} missing, {extra} too many, {twice} twice, of {len(wanted)}"
