"""One run: a schedule played on a lane, and what it broke."""

import asyncio
import contextlib
import shutil
from pathlib import Path

from headrace.errors import DependencyUnwell
from tests.faults.chaos import Chaos
from tests.faults.fakes import FaultSite
from tests.faults.lane import Lane
from tests.faults.ledger import Ledger
from tests.faults.life import Asking, NoEnd, Player
from tests.faults.played import Kb, Timeline
from tests.faults.schedule import Schedule
from tests.faults.verify import Verifier
from tests.faults.watch import Watcher

PAGE_KB = (1, 4)


class Run:
    """`play` once.

    1. The crew is there, and each knowledge base has a site of its own.
    2. Lives and faults go on side by side, under the eyes of a searcher and a lister.
    3. Faults are over: every wire is whole, every worker of the crew runs.
    4. Every job comes to its stable end, in bounded time.
    5. The invariants are checked.
    """

    def __init__(self, lane: Lane, ledger: Ledger, schedule: Schedule) -> None:
        self._lane, self._ledger, self.schedule = lane, ledger, schedule
        self.timeline = Timeline()
        self._kbs: list[Kb] = []
        self._log_starts: dict[Path, int] = {}

    async def play(self) -> None:
        lane, schedule = self._lane, self.schedule
        self.timeline.say(f"{schedule}")
        lane.openai.asked.clear()
        lane.openai.latency_s = schedule.openai_latency_s
        self._log_starts = {w.log: w.log.stat().st_size if w.log.exists() else 0 for w in lane.workers.values()}
        await lane.man(schedule.producers, schedule.consumers)
        await self._build_sites()
        try:
            await self._live()
            verifier = Verifier(lane, self._ledger, self._kbs, self.timeline)
            if not self.timeline.broken:
                await verifier.verify()
                await verifier.leave_nothing_paused()
        except NoEnd as exc:
            self.timeline.breaks("every job ends", str(exc))
        finally:
            await self._tidy()

    def write(self, directory: Path) -> None:
        """The timeline, and of each worker's log what this run added."""
        directory.mkdir(parents=True, exist_ok=True)
        self.timeline.write(directory / "timeline.txt")
        for log, start in self._log_starts.items():
            if log.exists():
                with log.open("rb") as source, (directory / f"{log.parent.name}.log").open("wb") as target:
                    source.seek(start)
                    shutil.copyfileobj(source, target)

    async def _build_sites(self) -> None:
        for number, life in enumerate(self.schedule.lives):
            seed = 1_000 * self.schedule.seed + number
            site = FaultSite(life.pages, min_kb=PAGE_KB[0], max_kb=PAGE_KB[1], seed=seed)
            await site.start()
            kb_id = f"s{self.schedule.seed}-{number}-{self._lane.topics.rstrip('.')}-{len(self._ledger.commands)}"
            self._kbs.append(Kb(kb_id, site, life.max_vanished_share))

    async def _live(self) -> None:
        """Steps 2 to 4. Raises NoEnd."""
        lane, timeline, calm = self._lane, self.timeline, asyncio.Event()
        self._ledger.on_crawl_end = lambda: timeline.comes("crawl_end")
        chaos = Chaos(lane, self._kbs, timeline, self.schedule.openai_latency_s)
        watcher = Watcher(self._kbs, Asking(lane.api), lane.store, self._ledger, timeline)
        eyes = [asyncio.create_task(each) for each in (chaos.watch(), watcher.search(), watcher.list())]
        players = [
            asyncio.create_task(Player(kb, life, lane.api, timeline, calm).play())
            for kb, life in zip(self._kbs, self.schedule.lives, strict=True)
        ]
        try:
            await chaos.reign(self.schedule.faults)
            lane.heal()
            await lane.man(self.schedule.producers, self.schedule.consumers)
            timeline.say("all is mended")
            calm.set()
            await asyncio.gather(*players)
        finally:
            await _cancelled(*eyes, *players)

    async def _tidy(self) -> None:
        for kb in self._kbs:
            await kb.site.stop()
            with contextlib.suppress(DependencyUnwell):  # what is left there is nobody's concern any more
                for place in self._ledger.places(kb.kb_id):
                    await self._lane.store.drop_tenant(place)


async def _cancelled(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception) and not isinstance(ended, NoEnd):
            raise ended
