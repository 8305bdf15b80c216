"""What no command asks for: late writes are taken back, and what no search can see any more is deleted.

A worker that slept through a rebalance may write objects of an undone generation, or an earlier state after a later
one. The owner of the job's partition deletes the former from time to time, and writes the latter again at once.

Vacuum, by the owner of the knowledge base's partition number:
1. `vacuumed_below` stands in the definition on `kbs`, by control: no search goes below, and no job builds below.
2. Objects that only generations below it showed are deleted, until a count finds none. Crash before or in between: the
   next owner begins again on assignment, and finds the rest.
3. `vacuumed` is told. Crash before: the next owner finds nothing to delete, and tells it.
"""

import asyncio
import datetime
import logging
from collections import defaultdict
from typing import Final

from consumer.generations import Generations
from consumer.reports import Reports
from consumer.stalls import Stalls
from consumer.tasks import Tasks
from headrace.errors import DependencyUnwell
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from headrace.vectors import Tenancy, VectorStore
from schemas.codec import instant
from schemas.identity import partition_for
from schemas.kb import GenerationState, KbDefined

log = logging.getLogger(__name__)

SWEEP_EVERY_S: Final = 20.0
SWEEP_FOR: Final = datetime.timedelta(hours=1)
"""How long after an undo a late write is looked for; every proof of the knowledge base looks for it too."""


class Upkeep:
    """`assigned`, and the changes on `kbs` as they come; its tasks end with the keeper's."""

    def __init__(
        self,
        *,
        commands: Commands,
        kbs: KnowledgeBases,
        generations: Generations,
        store: VectorStore,
        stalls: Stalls,
        reports: Reports,
        tasks: Tasks,
        partitions: int,
    ) -> None:
        self._commands, self._kbs, self._generations = commands, kbs, generations
        self._store, self._stalls, self._reports = store, stalls, reports
        self._tasks, self._partitions = tasks, partitions
        self._mine: frozenset[int] = frozenset()
        self._vacuumed: dict[str, int] = {}

    def assigned(self, partitions: frozenset[int]) -> None:
        self._mine = partitions
        for state in self._kbs.hidden():
            self.hidden(state)
        for kb in self._kbs.all():
            self.changed(kb)
        if partitions:
            self._tasks.start("sweep", self._sweeps())

    def release(self) -> None:
        self._mine = frozenset()

    def hidden(self, state: GenerationState) -> None:
        """A later record on `kbs` says less than the generation is."""
        if self._owner_of_job(state) in self._mine:
            log.warning("%s is %s, whatever came after: written again", state.key(), state.state)
            self._tasks.start(f"restate {state.key()}", self._generations.restate(state.kb_id, state.generation))

    def changed(self, event: KbDefined | GenerationState) -> None:
        if not isinstance(event, KbDefined) or event.deleted:
            return
        mine = partition_for(event.kb_id, self._partitions) in self._mine
        if mine and event.vacuumed_below > self._vacuumed.get(event.kb_id, 0):
            self._tasks.start(f"vacuum {event.kb_id}", self._vacuum(event.kb_id, event.vacuumed_below))

    def _owner_of_job(self, state: GenerationState) -> int:
        command = self._commands.get(state.job_id)
        return command.partition if command else partition_for(state.job_id, self._partitions)

    async def _sweeps(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await self._sweep()
            except DependencyUnwell as exc:
                log.info("sweeping waits: %s", exc)

    async def _sweep(self) -> None:
        undone: defaultdict[Tenancy, set[int]] = defaultdict(set)
        for state in self._kbs.undone_since(instant(datetime.datetime.now(datetime.UTC) - SWEEP_FOR)):
            if self._owner_of_job(state) in self._mine:
                undone[Tenancy(state.collection, state.kb_id)].add(state.generation)
        for place, generations in undone.items():
            if deleted := await self._store.erase(place, generations):
                log.warning("%s: deleted %d objects that came after their undo", place.tenant, deleted)

    async def _vacuum(self, kb_id: str, below: int) -> None:
        states = self._kbs.generations(kb_id)
        undone = frozenset(state.generation for state in states if state.state == "undone")
        shown = {state.collection for state in states if state.generation >= below and state.state != "undone"}
        deleted = 0
        for collection in sorted({state.collection for state in states}):
            place, all_of_it = Tenancy(collection, kb_id), collection not in shown
            deleted += await self._stalls.retry(
                lambda place=place, all_of_it=all_of_it: self._store.vacuum(  # type: ignore[misc]
                    place, below, undone, all_of_it=all_of_it
                ),
                [],
            )
        await self._reports.vacuumed(kb_id, below, deleted, partition_for(kb_id, self._partitions))
        self._vacuumed[kb_id] = max(below, self._vacuumed.get(kb_id, 0))
        log.info("%s: vacuumed below generation %d, %d objects", kb_id, below, deleted)
