"""What happened in a run, as the harness saw it: what it asked for, what it was told, and when."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.fakes import FaultSite
from tests.faults.model import Version
from tests.faults.schedule import Deed, Moment

COMPLETED = frozenset({"completed", "completed_with_errors"})
OVER = COMPLETED | frozenset({"cancelled", "failed"})
LOSING = frozenset({"kill", "freeze", "cut", "mute", "slow", "outage"})
"""Faults of a worker after which it may go on with what it knew before; of a consumer, they may cost one window: what
was embedded, or asked for, and not yet written."""


@dataclass
class Job:
    """`last`: the last deed that was accepted, at `last_s`. `asked`: the last asked for at `asked_s`, whether taken
    or not."""

    generation: int
    job_id: str
    version: Version
    started_s: float
    last: Deed | None = None
    last_s: float = 0.0
    asked: Deed | None = None
    asked_s: float = 0.0
    ended_s: float = float("inf")
    approved: bool = False


@dataclass
class Span:
    """The job was told to be paused from `from_s` until the harness asked for something else."""

    job: Job
    paused_s: float
    from_s: float
    until_s: float | None = None


@dataclass(frozen=True)
class Searched:
    """`asked_for`: the query's words. `found`: how many hits."""

    at_s: float
    generation: int
    provisional: bool
    asked_for: frozenset[str]
    found: int
    hits: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Listed:
    """doc_hash of everything visible at the published generation, which was the same before and after."""

    at_s: float
    generation: int
    visible: tuple[str, ...]


@dataclass
class Kb:
    kb_id: str
    site: FaultSite
    max_vanished_share: float = 1.0
    vacuumed: bool = False
    reembedded: int = 0
    """How often texts were to be embedded by another model."""
    jobs: list[Job] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    searched: list[Searched] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    """Job id to the terminal status that was told of it, at `told_s`."""
    told_s: dict[str, float] = field(default_factory=dict)
    status: str = "none"
    """The newest that was told."""

    def tell(self, job: Job, status: str) -> None:
        self.told[job.job_id] = status
        self.told_s[job.job_id] = time.monotonic()

    @property
    def next_embedding(self) -> dict[str, Any]:
        """One that no job had, so that nothing is paid for already."""
        return {"provider": "openai", "model": "text-embedding-3-large", "dimensions": 4 + self.reembedded}

    @property
    def definition(self) -> dict[str, Any]:
        from tests.faults.model import MAX_TOKENS, OVERLAP_TOKENS

        return {
            "source": {"urls": [self.site.url], "allow_addresses": ["127.0.0.0/8"]},
            "embedding": {"provider": "openai", "dimensions": 8},
            "chunking": {"max_tokens": MAX_TOKENS, "overlap_tokens": OVERLAP_TOKENS},
            "publish": {"max_vanished_share": self.max_vanished_share},
        }


@dataclass
class Disturbance:
    """A fault; `worker` is empty where it befell all of them, or a fake."""

    worker: str
    kind: str
    from_s: float
    until_s: float = float("inf")

    def of(self, service: str) -> bool:
        """Whether it befell a worker of that service, so that it may have missed what the others were told."""
        return self.kind in LOSING and self.worker.partition("-")[0] in (service, "")


@dataclass(frozen=True)
class Broken:
    """An invariant that did not hold."""

    invariant: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


class Timeline:
    """Everything in order, on `time.monotonic`'s clock; and how often each thing was done."""

    def __init__(self) -> None:
        self.began_s = time.monotonic()
        self.lines: list[str] = []
        self.counts: Counter[str] = Counter()
        self.met: Counter[tuple[str, str]] = Counter()
        """How often a fault began while a job had a status."""
        self.disturbances: list[Disturbance] = []
        self.broken: list[Broken] = []
        self._moments: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def comes(self, moment: Moment) -> None:
        self._moments.pop(moment, asyncio.Event()).set()

    async def until(self, moment: Moment, within_s: float) -> None:
        """The next such moment, or the end of the time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._moments[moment].wait()

    def say(self, text: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        self.lines.append(f"{time.monotonic() - self.began_s:8.3f} {stamp} {text}")

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def excuses(self, service: str, from_s: float, until_s: float) -> bool:
        """Whether a worker of `service` was disturbed in that time."""
        return any(each.of(service) and each.from_s < until_s and each.until_s > from_s for each in self.disturbances)

    def breaks(self, invariant: str, detail: str) -> None:
        self.broken.append(Broken(invariant, detail))
        self.say(f"BROKEN {invariant}: {detail}")

    def write(self, path: Path) -> None:
        path.write_text("\n".join(self.lines) + "\n")
