"""What one run does, drawn from its seed alone: the lives of some knowledge bases, and faults meanwhile."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tests.faults.fakes import Change

Deed = Literal["pause", "resume", "cancel", "approve", "rollback", "vacuum"]
When = Literal["after", "at_share", "at_crawl_end", "once_held"]
"""after: seconds since the last deed. at_share: once so much of the job's chunks is processed. at_crawl_end: once the
producer has told the end. once_held: once the last pause is told, or a while after it."""

FaultKind = Literal[
    "kill", "freeze", "restart", "join", "leave", "cut", "mute", "slow", "outage",
    "openai_429", "openai_500", "openai_malformed", "openai_slow", "site_slow",
]  # fmt: skip
Server = Literal["kafka", "weaviate", "openai"]
Moment = Literal["start", "pause", "resume", "cancel", "crawl_end"]

FAULTS_WITHIN_S = 7.0
"""Faults begin within this time of a run's start: a job takes about two seconds where nothing is in its way."""


@dataclass(frozen=True)
class Step:
    when: When
    amount: float
    deed: Deed


@dataclass(frozen=True)
class JobPlan:
    """`change` comes before the start; `hurried`: the start comes right behind the last job's cancel.

    `decision`: on a review, if there is one. `then`: what is asked for once the job is completed. `reembeds`: by
    another model in place of a crawl, where anything is published by then.
    """

    change: Change
    steps: tuple[Step, ...]
    hurried: bool = False
    decision: Deed = "approve"
    then: Deed | None = None
    reembeds: bool = False


@dataclass(frozen=True)
class Life:
    """One knowledge base: its site's size at first, and its jobs, one after the other.

    `max_vanished_share`: more than this needs a review; 1.0 never does.
    """

    pages: int
    born_s: float
    jobs: tuple[JobPlan, ...]
    max_vanished_share: float = 1.0


@dataclass(frozen=True)
class Fault:
    """`worker`: whom it befalls, e.g. consumer-2; empty for the fakes, and for an outage, which befalls all. `wire`:
    which of its wires.

    With `upon`, it waits from `at_s` on for the next such moment of any job, and `lag_s` more. A kill with a wire: the
    wire is slow for the last moments, which holds the gaps between two writes open.
    """

    at_s: float
    kind: FaultKind
    lasts_s: float
    worker: str = ""
    wire: Server | None = None
    delay_s: float = 0.0
    upon: Moment | None = None
    lag_s: float = 0.0


@dataclass(frozen=True)
class Schedule:
    seed: int
    producers: int
    consumers: int
    partitions: int
    openai_latency_s: float
    lives: tuple[Life, ...]
    faults: tuple[Fault, ...]


def draw(seed: int) -> Schedule:
    """The same for the same seed, on every machine."""
    die = random.Random(f"faults/{seed}")
    producers, consumers = _crew(die), _crew(die)
    lives = tuple(_life(die) for _ in range(die.choice((2, 2, 3))))
    other = random.Random(f"faults/{seed}/models")  # its own, so that all else stays as it was drawn
    lives = tuple(replace(life, jobs=tuple(_by_another_model(other, life))) for life in lives)
    faults = tuple(sorted(_faults(die, producers, consumers), key=lambda fault: fault.at_s))
    return Schedule(seed, producers, consumers, 1 + seed % 3, die.choice((0.05, 0.15, 0.3)), lives, faults)


def _crew(die: random.Random) -> int:
    return die.choices((1, 2, 3), (5, 4, 1))[0]


def _life(die: random.Random) -> Life:
    size = pages = die.randint(8, 20)
    guarded = die.random() < 0.25
    jobs: list[JobPlan] = []
    for number in range(die.choices((1, 2, 3), (1, 5, 3))[0]):
        cancelled = bool(jobs) and any(step.deed == "cancel" for step in jobs[-1].steps)
        hurried = cancelled and die.random() < 0.6  # over the same pages: the cancelled job may still be reading them
        change = _change(die, size, size // 2 if guarded else 2) if number and not hurried else Change()
        size += change.added
        then: Deed | None = die.choices((None, "rollback", "vacuum"), (7, 2, 1))[0]
        decision: Deed = die.choice(("approve", "approve", "cancel"))
        jobs.append(JobPlan(change, _steps(die), hurried, decision, then))
    if die.random() < 0.12:  # left paused for good
        jobs[-1] = JobPlan(jobs[-1].change, (Step(*_moment(die), "pause"),), jobs[-1].hurried)
    return Life(pages, round(die.uniform(0, 1.5), 2), tuple(jobs), 0.2 if guarded else 1.0)


def _by_another_model(die: random.Random, life: Life) -> Iterator[JobPlan]:
    """Some of the jobs behind the first embed what is stored by another model; the site may change all the same."""
    for number, job in enumerate(life.jobs):
        yield replace(job, reembeds=number > 0 and not job.hurried and die.random() < 0.25)


def _change(die: random.Random, pages: int, most_removed: int) -> Change:
    others = list(range(1, pages))
    die.shuffle(others)
    edited, removed, broken = die.randint(0, 3), die.choice((0, 0, 1, most_removed)), int(die.random() < 0.12)
    picked = iter(others)
    of_pages = [tuple(itertools.islice(picked, count)) for count in (edited, removed, broken)]
    return Change(of_pages[0], of_pages[1], die.choice((0, 0, 1, 3)), of_pages[2])


def _moment(die: random.Random) -> tuple[When, float]:
    when: When = die.choices(("after", "at_share", "at_crawl_end"), (3, 5, 2))[0]
    return when, round(die.uniform(0.0, 2.0) if when == "after" else die.random(), 2)


def _steps(die: random.Random) -> tuple[Step, ...]:
    """Some jobs are left alone; most are paused, in the middle, and some of those more than once; some cancelled."""
    steps: list[Step] = []
    for _ in range(die.choices((0, 1, 2, 3), (4, 5, 2, 1))[0]):
        steps.append(Step(*_moment(die), "pause"))
        held = die.random() < 0.6
        steps.append(Step("once_held" if held else "after", round(die.uniform(0, 1.2), 2), "resume"))
    if die.random() < 0.25:
        at = die.randint(0, len(steps))
        cancel = Step("after", 0.0, "cancel") if die.random() < 0.3 else Step(*_moment(die), "cancel")
        steps = [*steps[:at], cancel, *([cancel] if die.random() < 0.2 else [])]
    return tuple(steps)


def _faults(die: random.Random, producers: int, consumers: int) -> Iterator[Fault]:
    crews = {"producer": producers, "consumer": consumers, "control": 1}
    for _ in range(die.randint(2, 5)):
        at_s = round(die.uniform(0.3, FAULTS_WITHIN_S), 2)
        kind: FaultKind = die.choices(
            ("kill", "freeze", "restart", "cut", "mute", "slow", "join", "leave", "outage",
             "openai_429", "openai_500", "openai_malformed", "openai_slow", "site_slow"),
            (6, 4, 3, 3, 3, 4, 2, 1, 2, 1, 1, 1, 1, 2),
        )[0]  # fmt: skip
        if kind.startswith(("openai", "site")):
            yield Fault(at_s, kind, round(die.uniform(0.5, 3.0), 2))
            continue
        if kind == "outage":
            yield Fault(at_s, kind, round(die.uniform(0.5, 5.0), 2), wire=die.choice(("kafka", "weaviate", "openai")))
            continue
        service = die.choices(("consumer", "producer", "control"), (5, 4, 2))[0]
        if kind in ("join", "leave") and service == "control":  # there is one control
            service = "consumer"
        yield _of_service(die, at_s, kind, service, crews[service])


def _of_service(die: random.Random, at_s: float, kind: FaultKind, service: str, crew: int) -> Fault:
    number = min(3, crew + 1) if kind == "join" else die.randint(1, crew)
    wires: dict[str, tuple[Server, ...]] = {
        "producer": ("kafka",),
        "consumer": ("kafka", "weaviate", "weaviate", "openai"),
        "control": ("kafka", "weaviate"),
    }
    slowed = kind == "kill" and die.random() < 0.5
    wire = die.choice(wires[service]) if slowed or kind in ("cut", "mute", "slow") else None
    longest = {"kill": 3.0, "freeze": 6.0, "restart": 0.5, "join": 6.0, "leave": 6.0}.get(kind, 5.0)
    upon: Moment | None = die.choice(("start", "pause", "resume", "cancel", "crawl_end", "crawl_end"))
    return Fault(
        at_s,
        kind,
        round(die.uniform(0.1, longest), 2),
        f"{service}-{number}",
        wire,
        delay_s=round(die.uniform(0.05, 0.4), 2) if slowed or kind == "slow" else 0.0,
        upon=upon if die.random() < 0.5 else None,
        lag_s=round(die.uniform(0, 0.8), 2),
    )
