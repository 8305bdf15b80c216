"""Eyes that look on all the while: one that searches and asks for the status, and one that lists the whole index."""

import asyncio
import contextlib
import random
import time

from headrace.errors import DependencyUnwell
from headrace.vectors import Tenancy, VectorStore, live_ids
from tests.fakes.site_pages import WORDS
from tests.faults.ledger import Ledger
from tests.faults.life import Asking, note_paused
from tests.faults.played import OVER, Job, Kb, Listed, Searched, Timeline

SEARCH_EVERY_S = 0.12
LIST_EVERY_S = 0.15
HITS = 40


class Watcher:
    def __init__(self, kbs: list[Kb], asking: Asking, store: VectorStore, ledger: Ledger, timeline: Timeline) -> None:
        self._kbs, self._asking, self._store = kbs, asking, store
        self._ledger, self._timeline = ledger, timeline
        self._die = random.Random(1)
        self._cancelled: set[str] = set()

    async def search(self) -> None:
        """For ever: each answer is noted, to be judged at the end of the run."""
        while True:
            for kb in [kb for kb in self._kbs if kb.jobs]:
                await self._look(kb)
                await self._search(kb)
            await asyncio.sleep(SEARCH_EVERY_S)

    async def list(self) -> None:
        """For ever: the whole of what is visible at the published generation."""
        while True:
            for kb in [kb for kb in self._kbs if kb.jobs]:
                await self._list(kb)
            await asyncio.sleep(LIST_EVERY_S)

    async def _look(self, kb: Kb) -> None:
        asked_s = time.monotonic()
        now = await self._asking.status(kb.kb_id)
        if now is None:
            return
        kb.status = now["status"]
        note_paused(kb, now, asked_s)
        job = next((job for job in kb.jobs if job.job_id == now["job_id"]), None)
        if job is not None and job.asked != "rollback":  # which takes an end back
            self._hold_to_its_end(kb, job, now["status"], asked_s)
            if now["status"] == "cancelled" and job.job_id not in self._cancelled:
                self._cancelled.add(job.job_id)
                await self._hold_to_cancelled(kb, job)

    def _hold_to_its_end(self, kb: Kb, job: Job, status: str, asked_s: float) -> None:
        told, told_s = kb.told.get(job.job_id), kb.told_s.get(job.job_id, 0.0)
        if told and told != status and told_s < asked_s:  # an answer may have waited longer than a newer one
            self._timeline.breaks("status truthful", f"{kb.kb_id}: a job that was {told} is {status}")
        if status in OVER:
            job.ended_s = min(job.ended_s, time.monotonic())
            kb.tell(job, status)

    async def _hold_to_cancelled(self, kb: Kb, job: Job) -> None:
        """Nothing of it is there once `cancelled` is told; a worker that slept meanwhile may write late."""
        with contextlib.suppress(DependencyUnwell):
            rows = await rows_of(self._store, *self._ledger.places(kb.kb_id))
            left = sum(job.generation in (born, retired) for _, born, retired, _ in rows)
            if left and not self._timeline.excuses("consumer", job.started_s, time.monotonic()):
                detail = f"{kb.kb_id}/{job.generation}: {left} objects when it is told to be cancelled"
                self._timeline.breaks("nothing of the cancelled", detail)

    async def _search(self, kb: Kb) -> None:
        words = self._die.sample(WORDS, 6)
        body = {"query": " ".join(words), "k": HITS, "mode": "keyword", "fold": False}
        code, answer = await self._asking.once("POST", f"/kb/{kb.kb_id}/search", body)
        if code != 200 or answer["generation"] is None:
            return
        hits = [(hit["url"], hit["text"]) for hit in answer["hits"]]
        kb.searched.append(
            Searched(
                time.monotonic(),
                answer["generation"],
                answer["provisional"],
                frozenset(words),
                len(hits),
                frozenset(hits),
            )
        )
        self._timeline.count("searches")

    async def _list(self, kb: Kb) -> None:
        published = self._ledger.kbs.published(kb.kb_id)
        if published is None:
            return
        try:
            rows = await rows_of(self._store, Tenancy(published.collection, kb.kb_id))
        except DependencyUnwell:
            return
        if self._ledger.kbs.published(kb.kb_id) == published:
            visible = visible_at(rows, published.generation, self._ledger.kbs.undone(kb.kb_id))
            kb.listed.append(Listed(time.monotonic(), published.generation, tuple(sorted(visible))))
            self._timeline.count("listings")


Row = tuple[str, int, int, str]
"""chunk id, born, retired, doc_hash."""


async def rows_of(store: VectorStore, *places: Tenancy) -> list[Row]:
    """Everything that Weaviate holds there. Raises DependencyUnwell."""
    rows: list[Row] = []
    for place in places:
        tenant = await store.tenant(place)
        if tenant is not None:
            rows += [
                (str(o.uuid), int(o.properties["born"]), int(o.properties["retired"]), str(o.properties["doc_hash"]))
                async for o in tenant.iterator(return_properties=["born", "retired", "doc_hash"], cache_size=5_000)
            ]
    return rows


def visible_at(rows: list[Row], generation: int, undone: frozenset[int]) -> list[str]:
    """doc_hash of each visible object; one that is twice there shows twice."""
    live = live_ids([row[:3] for row in rows], generation, undone)
    return [row[3] for row in rows if row[0] in live]
