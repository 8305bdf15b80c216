"""Who gives way: a job that has had its free share of a partition, while another is at work there.

What was read of it and is not under way yet is parked, so that what stands behind is reached at reading speed, and is
taken up again in bites (consumer/parking.py). A job that is alone on its partition pays nothing.
"""

import logging
from collections import Counter

from consumer.item import Item
from consumer.judge import Judge
from schemas.chunks import Chunk, CrawlEnd, PageEnd
from schemas.commands import JobCommand

log = logging.getLogger(__name__)

FREE_BATCHES = 2
"""So much of each job is read by an owner before it gives way: a smaller job is never set aside."""


class Shares:
    """`note` each item once, in log order; in memory alone: the next owner counts anew."""

    def __init__(self, judge: Judge, batch: int) -> None:
        """`batch`: most records in one."""
        self._judge, self._free = judge, FREE_BATCHES * batch
        self._had: Counter[str] = Counter()
        self._giving: set[str] = set()

    def note(self, item: Item) -> None:
        if isinstance(item.event, Chunk) and item.event.origin is None:
            self._had[item.event.job_id] += 1

    def gives_way(self, command: JobCommand) -> bool:
        job_id = command.job_id
        gives = self._had[job_id] > self._free and self._comes_between(job_id, command.partition)
        if gives != (job_id in self._giving):
            log.info("job %s %s way to others on partition %d", job_id, "gives" if gives else "no longer gives",
                     command.partition)  # fmt: skip
            self._giving ^= {job_id}
        return gives

    def waits(self, item: Item, command: JobCommand) -> bool:
        """The record is read only to be set aside, whatever comes meanwhile."""
        if not isinstance(item.event, Chunk | PageEnd):
            return False
        return not self._judge.may_embed(command.job_id) or (_may_wait(item) and self.gives_way(command))

    def set_aside(self, items: list[Item]) -> None:
        """Parks what is still to be indexed or to take effect of items of one job, where it waits or that gives way.

        A copy was set aside before, and comes in its turn.
        """
        command = next((item.command for item in items if item.command is not None), None)
        gives_way = command is not None and self.gives_way(command)
        for item in items:
            if item.result is None and item.vector is None and (item.waits or (gives_way and _may_wait(item))):
                item.result = "parked"

    def _comes_between(self, job_id: str, partition: int) -> bool:
        at_work = self._judge.at_work(partition)
        return job_id in at_work and len(at_work) > 1


def _may_wait(item: Item) -> bool:
    return isinstance(item.event, Chunk | PageEnd | CrawlEnd) and item.event.origin is None
