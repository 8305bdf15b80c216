"""The end of a crawl: done means proven.

1. The manifest is read up to the offset that `crawl_end` names and held against its count and digest. What undone
   generations left behind is swept.
2. Named chunks that are missing (and not dead-lettered) are indexed again, or their pages fetched again
   (consumer/missing.py).
3. The guard: where much would be lost against the published generation, a person decides (see below).
4. Objects that the generation wrote but the manifest doesn't name are deleted. What was visible before and is not in
   the manifest is retired. The rows are compared again where either changed anything.
5. The newest command is looked at once more, as it was before 1 and 3: a pause parks the `crawl_end`, a cancel, another
   scope or a newer epoch supersedes it.
6. The generation's state becomes `published`, with what could not be indexed: one record, and a search sees all of it
   or nothing.
7. `job_finished` stands on `events`.
A crash between any two: `crawl_end` is not acked, so it comes again, and each step finds its work done. A `crawl_end`
whose generation is published already changes nothing of it any more, and tells 7 again while searches see it.

Waiting, for a person (review) or for a resume:
1. `reviewing` holds the job, so that nothing takes the `crawl_end` up again but a new command or a new owner.
2. The `crawl_end` is parked like any record. Crash after: the next owner takes the span up, and proves again.
3. `review_needed` is told under the newest command's revision. Crash after: the proof runs again, and tells it again.

A crawl that failed, or whose manifest is not the one it names: the generation is undone, its objects are deleted, 7 is
told. A crash in between: the state is undone and the job was not cancelled, so the `crawl_end` does the rest. Where a
newer epoch has begun, it has written records of its own, and compaction may have removed those that an end which
waited long names: that end is superseded, since the newer one sends its own.

A repair, when `repair_end` comes behind retried dead letters of the published generation: 1 (all that stands there
now), the deletion of 4, the state with what is still not indexed, and 7 anew. A crash in between: it comes again.
"""

import logging

from consumer.embed import place_of
from consumer.generations import Generations
from consumer.guard import loss
from consumer.item import Item
from consumer.judge import Judge
from consumer.manifest import Manifest
from consumer.missing import Missing
from consumer.parking import Parking
from consumer.proof import Difference, Prover
from consumer.reports import Reports
from consumer.stalls import Stalls
from headrace.counted import counted
from headrace.errors import Outgrown
from headrace.state.parked import Parked
from headrace.vectors import VectorStore
from schemas.chunks import CrawlEnd, RepairEnd
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.facts import JobFinished, Result

log = logging.getLogger(__name__)

COMPARISONS = 3
"""Times that rows are compared again after a repair: what a worker wrote that slept shows in the first."""


class Completion:
    def __init__(
        self,
        *,
        store: VectorStore,
        stalls: Stalls,
        generations: Generations,
        prover: Prover,
        missing: Missing,
        parking: Parking,
        parked: Parked,
        reports: Reports,
        judge: Judge,
    ) -> None:
        self._store, self._stalls, self._judge = store, stalls, judge
        self._generations, self._prover, self._missing = generations, prover, missing
        self._parking, self._parked, self._reports = parking, parked, reports

    async def begin(self, command: JobCommand, epoch: int) -> None:
        await self._generations.open(command, epoch)

    async def end(self, command: JobCommand, item: Item) -> Result:
        """Publishes the generation, or says what is in the way: parked when it must wait, requeued when it moved."""
        try:
            return await self._end(command, item)
        except Outgrown as exc:
            return await self._outgrown(command, item, exc)

    async def repair(self, command: JobCommand, item: Item) -> Result:
        """Proves the published generation again. One that is still open is proven at its `crawl_end`."""
        try:
            return await self._repair(command, item)
        except Outgrown as exc:
            return await self._outgrown(command, item, exc)

    async def _outgrown(self, command: JobCommand, item: Item, exc: Outgrown) -> Result:
        """The job waits for a newer consumer; of one that is published only the repair does, and no status says so."""
        log.warning("job %s: %s", command.job_id, exc)
        self._judge.stalled.add(command.job_id)
        await self._park(command, item)
        if not self._judge.ended(command):
            await self._stalls.tell([command], exc)
        return "parked"

    async def _end(self, command: JobCommand, item: Item) -> Result:
        assert isinstance(item.event, CrawlEnd)
        state = self._generations.state(command)
        if state is not None and state.state == "undone":
            return await self._fail(command, state.reason or "its generation is undone")
        if state is not None and state.state == "published":
            if self._generations.published(command.kb_id) != state:
                return "done"  # read again: what it published was told, and is history
            manifest, _ = await self._prover.manifests(command, item.event.pages_end_offset)
            return await self._publish(command, manifest, await self._prover.difference(command, manifest))
        if waits := await self._behind(command, item):
            return waits
        if result := await self._held_up(command, item):
            return result
        await self._generations.open(command, item.epoch)
        if item.event.failure:
            return await self._fail(command, item.event.failure)
        return await self._complete(command, item, item.event)

    async def _repair(self, command: JobCommand, item: Item) -> Result:
        assert isinstance(item.event, RepairEnd)
        state = self._generations.state(command)
        if state is None or state.state == "open":
            return "done"
        if waits := await self._behind(command, item):
            return waits
        manifest, _ = await self._prover.manifests(command)
        difference = await self._prover.difference(command, manifest)
        await self._delete(command, difference)
        if not await self._generations.prove_again(command, difference.not_indexed):
            return "superseded"
        await self._finished(command, manifest, difference)
        return "done"

    async def _behind(self, command: JobCommand, item: Item) -> Result | None:
        """It must not overtake what is parked, which is taken up first, nor the copies of what was.

        A bite that is being taken up is waited for: its copies may be read before its spans are known to be gone, and
        who parked the record then would take it up, and read it, and park it again.
        """
        assert isinstance(item.event, CrawlEnd | RepairEnd)
        await self._parking.bitten(command)
        if command.job_id in self._judge.reviewing or self._parked.of(command.job_id):
            return await self._park(command, item)
        if item.raw.offset < self._parked.requeued_through(command.job_id):
            await self._parking.copy(item.raw, item.event)
            return "requeued"
        return None

    async def _complete(self, command: JobCommand, item: Item, end: CrawlEnd) -> Result:
        manifest, before = await self._prover.manifests(command, end.pages_end_offset)
        await self._sweep(command)
        difference = await self._prover.difference(command, manifest)
        if (end.pages_partition, end.pages, end.digest) != (
            self._generations.partition(command.kb_id), len(manifest.pages), difference.digest,
        ):  # fmt: skip
            if await self._prover.begun_anew(command, item.epoch, item.raw.offset):
                return "superseded"
            if result := await self._held_up(command, item):
                return result
            return await self._fail(command, _mismatch(len(manifest.pages), end))
        if result := await self._missing.again(command, item, manifest, difference.missing):
            return result
        if result := await self._held_up(command, item):
            return result
        if await self._prover.rewritten(command, item.epoch, end.pages_end_offset):
            return "superseded"
        if before is not None and (result := await self._reviewed(command, item, before, manifest)):
            return result
        difference = await self._settle(command, manifest, difference)
        if result := await self._held_up(command, item):
            return result
        return await self._publish(command, manifest, difference)

    async def _held_up(self, command: JobCommand, item: Item) -> Result | None:
        """What the newest command has against publishing. A worker that slept reads what it missed."""
        await self._judge.refresh()
        if self._judge.cancelled(command.job_id) or self._judge.outdated(item):
            return "superseded"
        newest = self._judge.newest(command)
        return await self._park(newest, item) if newest.desired == "paused" else None

    async def _reviewed(self, command: JobCommand, item: Item, before: Manifest, manifest: Manifest) -> Result | None:
        """Parked where a person must decide and has not approved this manifest."""
        assert isinstance(item.event, CrawlEnd)
        newest = self._judge.newest(command)
        lost, share = loss(before, manifest), newest.definition.publish.max_vanished_share
        reason = lost.reason(share)
        if reason is None or newest.approved == item.event.digest:
            return None
        log.warning("job %s waits for a review: %s", command.job_id, reason)
        self._judge.reviewing.add(command.job_id)
        await self._park(newest, item)
        await self._reports.review(newest, lost, digest=item.event.digest, max_share=share, reason=reason)
        return "parked"

    async def _park(self, command: JobCommand, item: Item) -> Result:
        await self._parking.park_one(item, command)
        return "parked"

    async def _settle(self, command: JobCommand, manifest: Manifest, difference: Difference) -> Difference:
        """Deletes and retires until the rows show nothing that the manifest leaves out; what was done in all."""
        done, left = difference, difference
        for _ in range(COMPARISONS):
            if not left.extra and not left.retired:
                break
            await self._delete(command, left)
            await self._retire(command, left)
            left = await self._prover.difference(command, manifest)
            done = done.and_then(left)
        return done

    async def _delete(self, command: JobCommand, difference: Difference) -> None:
        place = place_of(command)
        await self._stalls.retry(lambda: self._store.delete_ids(place, sorted(difference.extra)), [command])

    async def _retire(self, command: JobCommand, difference: Difference) -> None:
        place, ids = place_of(command), sorted(difference.retired)
        await self._stalls.retry(lambda: self._store.retire(place, ids, command.generation), [command])

    async def _sweep(self, command: JobCommand) -> None:
        place, undone = place_of(command), self._generations.undone(command.kb_id)
        await self._stalls.retry(lambda: self._store.undo(place, undone), [command])

    async def _publish(self, command: JobCommand, manifest: Manifest, difference: Difference) -> Result:
        if not await self._generations.publish(command, difference.not_indexed):
            return "superseded"  # cancelled meanwhile: the keeper waits to delete what was written
        await self._finished(command, manifest, difference)
        return "done"

    async def _fail(self, command: JobCommand, reason: str) -> Result:
        """Nothing of the generation can be published: it is undone, and the job failed."""
        if self._judge.cancelled(command.job_id):
            return "superseded"  # the keeper undoes it, and tells so
        log.warning("job %s failed: %s", command.job_id, reason)
        if not await self._generations.undo(command, reason):
            return "superseded"  # published, or opened by a newer owner meanwhile: its objects stay
        place = place_of(command)
        await self._stalls.retry(lambda: self._store.undo(place, [command.generation]), [command])
        event = JobFinished(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            outcome="failed",
            reason=reason,
            finished_at=now(),
        )
        await self._reports.publish(event, command.partition)
        return "done"

    async def _finished(self, command: JobCommand, manifest: Manifest, difference: Difference) -> None:
        flaws = _flaws(manifest, difference)
        event = JobFinished(
            job_id=command.job_id,
            kb_id=command.kb_id,
            generation=command.generation,
            outcome="completed_with_errors" if flaws else "completed",
            pages=len(manifest.pages),
            chunks_named=len(difference.named),
            chunks_visible=len(difference.visible),
            chunks_missing=len(difference.not_indexed),
            extras_deleted=len(difference.extra),
            chunks_retired=len(difference.retired),
            digest=difference.digest,
            reason=flaws or None,
            finished_at=now(),
        )
        await self._reports.publish(event, command.partition)
        log.info("job %s %s: %d chunks of %d pages", command.job_id, event.outcome, event.chunks_visible, event.pages)


def _mismatch(pages: int, end: CrawlEnd) -> str:
    named = f"{counted(end.pages, 'page')}, {end.digest[:12]}…"
    return f"the manifest ({counted(pages, 'page')}) is not the one that crawl_end names ({named})"


def _flaws(manifest: Manifest, difference: Difference) -> str:
    flaws = {
        ("page", "with errors"): manifest.errors,
        ("chunk", "missing"): len(difference.missing),
        ("chunk", "dead-lettered"): len(difference.dead),
    }
    return ", ".join(f"{counted(count, one)} {what}" for (one, what), count in flaws.items() if count)
