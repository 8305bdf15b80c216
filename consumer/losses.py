"""Records that the log no longer holds though they were still needed: told, and their job crawled anew.

1. `records_lost` stands on `events`. Crash after: whoever needs them finds them gone again, and tells it again.
2. The generation's state asks for a crawl above the last lost offset: a `crawl_begin` or `crawl_end` may have been
   among them, and without one nobody would end the job. Crash after: as after 1; the same request changes nothing.
3. The caller forgets that they were needed: the span is tombstoned, or the log's start committed.
The new crawl fetches no page that has a record; the proof at its end finds the chunks that are missing, and sends their
pages back.
"""

import logging
from typing import Literal

from consumer.generations import Generations
from consumer.reports import Reports
from schemas.commands import JobCommand

log = logging.getLogger(__name__)


class Losses:
    def __init__(self, reports: Reports, generations: Generations) -> None:
        self._reports, self._generations = reports, generations

    async def tell(self, command: JobCommand, needed: Literal["unread", "parked"], first: int, end: int) -> None:
        """Offsets `first` to before `end` of the job's partition are gone. Returns once 1 and 2 are durable."""
        log.error(
            "job %s: chunks %d/%d to %d are gone, and were %s: its pages are crawled anew",
            command.job_id, command.partition, first, end - 1, needed,
        )  # fmt: skip
        await self._reports.lost(command, needed, first, end)
        await self._generations.recrawl(command, end - 1)
