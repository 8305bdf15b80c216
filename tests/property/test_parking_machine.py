"""Pause, resume, stall, give way, cancel, crash at any step: of a running job nothing is lost, its end comes last."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer import parking as parking_module
from consumer.item import Item, item_of
from schemas import identity
from schemas.chunks import Chunk, CrawlEnd
from schemas.commands import ALLOWED, Desired, JobCommand
from schemas.events import Event
from tests.property.worker import PARTITION, Durable, Worker, reads
from tests.unit.consumer import made

DOOMED = "job-c"
JOBS = ("job-a", "job-b", DOOMED)
EVERYTHING = 10_000


class Parking(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stream_span = parking_module.stream_span
        self.durable = Durable()
        reads(self.durable)
        self.commands: dict[str, JobCommand] = {}
        self.written: dict[str, list[Chunk]] = {job: [] for job in JOBS}
        self.ended: set[str] = set()
        self.proofs: list[str] = []
        self.worker: Worker

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    @initialize(
        written=st.lists(st.sampled_from(JOBS), min_size=4, max_size=12),
        ended=st.sets(st.sampled_from(JOBS)),
        paused=st.sets(st.sampled_from(JOBS), min_size=1),
        taken=st.integers(0, 15),
    )
    def begin(self, written: list[str], ended: set[str], paused: set[str], taken: int) -> None:
        """Records of several jobs stand on the log, some jobs are paused, and some of it is taken in already."""
        for job in JOBS:
            self._command(made.command(job_id=job, kb_id=job, partition=PARTITION))
            self._append(msgspec.structs.replace(made.begin(), job_id=job, kb_id=job))
        for job in written:
            self.crawl(job, 1)
        for job in sorted(ended):
            self.end_crawl(job)
        for job in sorted(paused):
            self._change(job, "paused")
        self.run(self._start())
        self.read(taken)
        self.go_far()

    async def _start(self) -> None:
        self.worker = Worker(self.durable, self._proven)

    @rule(job=st.sampled_from(JOBS), count=st.integers(1, 4))
    def crawl(self, job: str, count: int) -> None:
        if job in self.ended:
            return
        for _ in range(count):
            self.written[job].append(self._chunk(job, f"text {len(self.written[job])}"))
            self._append(self.written[job][-1])

    @rule(job=st.sampled_from(JOBS))
    def end_crawl(self, job: str) -> None:
        if job not in self.ended:
            self.ended.add(job)
            self._append(made.crawl_end(epoch=JOBS.index(job), job_id=job, kb_id=job))

    @rule(job=st.sampled_from(JOBS))
    def pause_or_resume(self, job: str) -> None:
        self._change(job, "paused" if self.commands[job].desired == "running" else "running")

    @rule()
    def cancel(self) -> None:
        self._change(DOOMED, "cancelled")

    def _change(self, job: str, desired: Desired) -> None:
        current = self.commands[job]
        if desired in ALLOWED[current.desired] and desired != current.desired:
            self._command(msgspec.structs.replace(current, desired=desired, revision=current.revision + 1))

    @rule(job=st.sampled_from(JOBS))
    def stall(self, job: str) -> None:
        async def aside() -> None:
            if self.worker.judge.may_embed(job):  # as the stage that embeds does
                self.worker.keeper.step_aside(self.commands[job], "OpenAI")

        self.run(aside())

    @precondition(lambda self: len(self.worker.batches) < 2)
    @rule(count=st.sampled_from([1, 1, 2, 5, 9]))
    def read(self, count: int) -> None:
        self.run(self._work(count))

    async def _work(self, count: int) -> None:
        await self.worker.read(count)
        self.worker.settle()
        await self.worker.spin()

    @rule(steps=st.lists(st.integers(0, 9), min_size=1, max_size=16))
    def go(self, steps: list[int]) -> None:
        """Some of the steps that wait, in some order."""
        left = iter(steps)
        self.run(self.worker.go(len(steps), lambda choices: next(left) % choices))

    @rule()
    def go_far(self) -> None:
        self.run(self.worker.go(EVERYTHING, lambda choices: 0))

    @rule()
    def crash(self) -> None:
        async def again() -> None:
            await self.worker.crash()
            await self._start()

        self.run(again())

    @invariant()
    def every_record_passed_is_decided_or_set_aside(self) -> None:
        """Of jobs not cancelled: what the committed offset has passed is stored, parked, or copied behind it."""
        behind = {place for raw in self.durable.records("chunks")[self.durable.committed :] for place in self._of(raw)}
        for raw in self.durable.records("chunks")[: self.durable.committed]:
            event = item_of(raw).event
            if isinstance(event, Chunk) and self.commands[event.job_id].desired != "cancelled":
                place = event.origin.offset if event.origin else raw.offset
                stored = event.chunk_id in self.durable.objects[event.kb_id]
                assert stored or place in behind or self._parked(event.job_id, place), f"{event.text} is lost"

    @invariant()
    def a_copy_names_its_original(self) -> None:
        records = self.durable.records("chunks")
        for event in (item_of(raw).event for raw in records):
            if event and event.origin:
                original = item_of(records[event.origin.offset]).event
                assert original == msgspec.structs.replace(event, origin=None)

    def teardown(self) -> None:
        try:
            if hasattr(self, "worker"):
                self._come_to_rest()
                self._all_is_well()
        finally:
            if hasattr(self, "worker"):
                self.run(self.worker.crash())
            self.runner.close()
            parking_module.stream_span = self.stream_span

    def _come_to_rest(self) -> None:
        for job in JOBS:
            self.end_crawl(job)
            self._change(job, "running")

        async def rest() -> None:
            for _ in range(EVERYTHING):
                await self.worker.go(EVERYTHING, lambda choices: 0)
                if not self.worker.batches:
                    await self._work(50)
                self.worker.settle()
                await self.worker.spin()
                idle = not self.worker.waiting and not self.worker.unread and not self.worker.batches
                settling = self.worker.settling is not None and not self.worker.settling.done()
                if idle and not settling and self.durable.committed == len(self.durable.records("chunks")):
                    return
            raise AssertionError("it never comes to rest")

        self.run(rest())

    def _all_is_well(self) -> None:
        for job in JOBS:
            ids = {chunk.chunk_id for chunk in self.written[job]}
            assert self.worker.parked.of(job) == [], "what is parked is taken up"
            if self.commands[job].desired == "cancelled" and job not in self.proofs:
                assert self.durable.objects[job] == set(), "a cancelled job leaves nothing"
            if self.commands[job].desired != "cancelled":
                assert self.durable.objects[job] == ids
                assert job in self.proofs, "its end has taken effect"

    def _proven(self, command: JobCommand, item: Item) -> None:
        assert isinstance(item.event, CrawlEnd)
        missing = {each.chunk_id for each in self.written[command.job_id]} - self.durable.objects[command.kb_id]
        assert not missing, "an end overtook records of its job"
        self.proofs.append(command.job_id)

    def _command(self, command: JobCommand) -> None:
        self.commands[command.job_id] = command
        raw = self.durable.topics["commands"].append(command, PARTITION)
        if hasattr(self, "worker"):
            self.worker.unread.append(raw)

    def _append(self, event: Event) -> None:
        self.durable.topics["chunks"].append(event, PARTITION)

    def _chunk(self, job: str, text: str) -> Chunk:
        doc_hash = identity.doc_hash(text, url="https://docs.example.org/", heading_path=(), occurrence=0)
        return made.chunk(
            text, epoch=JOBS.index(job), job_id=job, kb_id=job, chunk_id=identity.chunk_id(job, 1, doc_hash)
        )

    def _of(self, raw: Any) -> list[int]:
        event = item_of(raw).event
        return [event.origin.offset if event and event.origin else raw.offset]

    def _parked(self, job: str, place: int) -> bool:
        """In a span, or a copy of it is."""
        standing = {raw.key: raw for raw in self.durable.records("parked")}
        offsets = set()
        for raw in standing.values():
            if raw.value and b"first_offset" in raw.value and (raw.key or b"").startswith(job.encode()):
                span = msgspec.json.decode(raw.value)
                offsets |= set(range(span["first_offset"], span["last_offset"] + 1))
        records = self.durable.records("chunks")
        return any(place in self._of(records[offset]) for offset in offsets if offset < len(records))


TestParking = Parking.TestCase
TestParking.settings = settings(max_examples=250, stateful_step_count=40)


def test_an_end_that_stands_before_the_copies_moves_behind_them() -> None:
    """One interleaving that chance seldom finds: all is taken up before the end is read, in a batch of its own."""
    machine = Parking()
    try:
        machine.begin(written=[JOBS[0]] * 4, ended={JOBS[0]}, paused={JOBS[0]}, taken=7)
        assert machine.worker.parked.of(JOBS[0])
        machine.pause_or_resume(JOBS[0])
        machine.go_far()
        assert machine.worker.parked.of(JOBS[0]) == []
        machine.read(1)
        machine.go_far()
        assert machine.proofs == []
    finally:
        machine.teardown()
    assert sorted(machine.proofs) == list(JOBS)


def test_an_end_that_is_read_between_two_bites_is_parked_behind_them() -> None:
    machine = Parking()
    try:
        machine.begin(written=[JOBS[0]] * 12, ended={JOBS[0]}, paused=set(JOBS), taken=15)
        machine.pause_or_resume(JOBS[0])
        machine.go_far()
        left = machine.worker.parked.of(JOBS[0])
        assert left, "no more than two bites are taken up at once"
        machine.read(1)
        machine.go_far()
        assert machine.worker.parked.of(JOBS[0])[-1].first_offset > left[-1].last_offset
        assert machine.proofs == []
    finally:
        machine.teardown()
    assert sorted(machine.proofs) == list(JOBS)
