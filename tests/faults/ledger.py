"""What the log says, kept in memory by knowledge base: the facts that everything else is held against."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime

from headrace.kafka.follower import Follower
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from headrace.state.kbs import KnowledgeBases
from headrace.vectors import Tenancy
from schemas.codec import UndecodableRecord, decode
from schemas.commands import JobCommand, collection_of
from schemas.facts import CallReserved, CallSettled, CrawlReport, IndexReport, JobFinished, Outcomes, RecordsLost
from schemas.kb import GenerationState, KbDefined
from schemas.parked import ParkedSpan


class Ledger:
    """Follows one lane's topics past every wire: `start`, `catch_up`, `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.kbs = KnowledgeBases(self._kb_changed)
        self.published_s: dict[tuple[str, int], float] = {}
        """When a generation was published, by its own word, on `time.monotonic`'s clock."""
        self.commands: dict[str, dict[str, JobCommand]] = defaultdict(dict)
        self.finished: dict[str, JobFinished] = {}
        self.crawled: dict[str, CrawlReport] = {}
        self.indexed: dict[str, IndexReport] = {}
        self.dead_letters: list[RawRecord] = []
        self.lost: list[RecordsLost] = []
        self.decided: dict[int, set[int]] = defaultdict(set)
        """Offsets of `chunks` that have an outcome, by partition."""
        self.on_crawl_end: Callable[[], None] = lambda: None
        self.parked: Counter[str] = Counter()
        """Spans by knowledge base."""
        self.parked_running: Counter[str] = Counter()
        """Those of jobs that ran: they gave way, were stalled, or waited for a person."""
        self._running: set[tuple[str, int]] = set()
        self.bought: dict[str, dict[str, int]] = defaultdict(dict)
        """Texts by call, of each knowledge base: as it was settled, else as it was reserved."""
        self._follower = Follower(
            settings.bootstrap_servers,
            {
                "kbs": self.kbs.apply,
                "commands": self._fact,
                "events": self._fact,
                "parked": self._fact,
                "dead-letters": self.dead_letters.append,
            },
            prefix=settings.topic_prefix,
        )

    async def start(self) -> None:
        self._follower.start()
        await self._follower.catch_up()

    async def catch_up(self) -> None:
        await self._follower.catch_up()

    async def stop(self) -> None:
        await self._follower.stop()

    def places(self, kb_id: str) -> list[Tenancy]:
        """Where its jobs write, or wrote."""
        return [Tenancy(each, kb_id) for each in sorted({collection_of(c) for c in self.commands[kb_id].values()})]

    def _kb_changed(self, event: KbDefined | GenerationState) -> None:
        if isinstance(event, GenerationState) and event.state == "published":
            ago_s = time.time() - datetime.fromisoformat(event.changed_at).timestamp()
            self.published_s.setdefault((event.kb_id, event.generation), time.monotonic() - ago_s)

    def _fact(self, raw: RawRecord) -> None:
        if raw.value is None:
            return
        try:
            event = decode(raw.topic, raw.headers, raw.value)
        except UndecodableRecord:  # an event type of a newer version: not one of those looked at here
            return
        match event:
            case JobCommand():
                self.commands[event.kb_id][event.job_id] = event
                self._running |= {(event.job_id, event.revision)} if event.desired == "running" else set()
            case JobFinished():
                self.finished[event.job_id] = event
            case CrawlReport():
                self.crawled[event.job_id] = event
                if event.state == "finished":
                    self.on_crawl_end()
            case IndexReport():
                self.indexed[event.job_id] = event
            case RecordsLost():
                self.lost.append(event)
            case Outcomes():
                self.decided[event.partition].update(entry.offset for entry in event.entries)
            case CallReserved():
                self.bought[event.kb_id].setdefault(event.call_id, event.texts)
            case CallSettled():
                self.bought[event.kb_id][event.call_id] = event.texts
            case ParkedSpan():
                self.parked[event.kb_id] += 1
                self.parked_running[event.kb_id] += (event.job_id, event.revision) in self._running
