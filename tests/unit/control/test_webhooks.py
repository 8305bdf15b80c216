"""What webhooks are told, in which order, and what becomes of it: without Kafka, with a receiver on loopback."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from control import courier, outbox
from control.courier import PAUSES_S, pause_s
from control.outbox import Outbox, Told
from control.webhooks import Webhooks
from headrace.webhooks import Webhook, add
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.support.waiting import until

KB = "docs"


@dataclass(frozen=True)
class Job:
    """What is read of a command, and of a status."""

    job_id: str
    generation: int
    kb_id: str = KB


class Status:
    def __init__(self, job: Job, status: str) -> None:
        self.kb_id, self.job_id, self.generation, self.status = job.kb_id, job.job_id, job.generation, status

    def __getattr__(self, name: str) -> None:
        return None


@dataclass
class World:
    """Jobs, the newest first, and their statuses; control over them can be started again and again."""

    directory: Path
    jobs: list[Job] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.directory / "webhooks.json"

    def add(self, receiver: WebhookReceiver, **options: Any) -> Webhook:
        wanted = {"kbs": (), "on": (), "allow_addresses": ("127.0.0.0/8",)} | options
        return add(self.file, "hook", receiver.url, **wanted)

    def job(self, number: int, status: str) -> Job:
        job = Job(f"job-{number}", number)
        self.jobs.insert(0, job)
        self.statuses[job.job_id] = status
        return job

    @contextlib.asynccontextmanager
    async def control(self) -> AsyncIterator[Webhooks]:
        async def status_of(job: Any) -> Any:
            return Status(job, self.statuses[job.job_id])

        webhooks = Webhooks(
            self.file, self.directory / "webhooks.sqlite", kbs=lambda: [KB],
            jobs=lambda kb_id: self.jobs,  # type: ignore[arg-type, return-value]
            status_of=status_of,
        )  # fmt: skip
        webhooks.start()
        try:
            yield webhooks
        finally:
            await webhooks.stop()

    def change(self, webhooks: Webhooks, status: str) -> None:
        """Of the newest job."""
        self.statuses[self.jobs[0].job_id] = status
        webhooks.changed(Status(self.jobs[0], status))  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


async def active(webhooks: Webhooks) -> None:
    async def so() -> bool:
        return [each.state for each in await webhooks.all()] == ["active"]

    await until(so)


async def came(receiver: WebhookReceiver, *types: str) -> None:
    async def so() -> bool:
        return receiver.types() == list(types)

    await until(so, what=f"{receiver.types()} instead of {types}")


async def test_how_each_job_ended_is_told_although_nobody_looked(world: World, receiver: WebhookReceiver) -> None:
    world.add(receiver)
    world.job(1, "completed")
    world.job(2, "running")
    async with world.control() as webhooks:
        await active(webhooks)
        world.change(webhooks, "paused")
        await came(receiver, "job.paused")
    world.statuses["job-2"] = "failed"
    world.job(3, "cancelled")
    world.job(4, "running")
    async with world.control():
        await came(receiver, "job.paused", "job.failed", "job.cancelled", "job.running")
    data = [each.body["data"] for each in receiver.received]
    assert [each["job_id"] for each in data] == ["job-2", "job-2", "job-3", "job-4"]
    assert [each["previous"] for each in data] == ["running", "paused", None, None]
    assert len({each.id for each in receiver.received}) == 4


@pytest.mark.parametrize(("step", "times"), [("tell", 1), ("next", 1), ("delivered", 2)])
async def test_cut_off_in_any_gap_it_is_told_after_the_next_start(
    world: World, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, step: str, times: int
) -> None:
    """Before it is noted; before it is sent; after it was sent, and before that is noted."""
    cut = asyncio.Event()
    world.add(receiver)
    world.job(1, "running")
    async with world.control() as webhooks:
        await active(webhooks)
        loop = asyncio.get_running_loop()

        def refuse(self: Outbox, *given: Any) -> None:
            if step != "next" or ((standing := self.standing(*given)) and standing.waiting):
                loop.call_soon_threadsafe(cut.set)
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(Outbox, step, refuse)
            world.change(webhooks, "completed")
            await cut.wait()
            await webhooks.stop()
    assert receiver.types() == ["job.completed"] * (times - 1)
    async with world.control():
        await came(receiver, *["job.completed"] * times)
    assert len({(each.id, each.raw) for each in receiver.received}) == 1


async def test_the_same_status_is_told_once(world: World, receiver: WebhookReceiver) -> None:
    world.add(receiver)
    async with world.control() as webhooks:
        await active(webhooks)
        world.job(1, "running")
        for _ in range(3):
            world.change(webhooks, "running")
            await asyncio.sleep(0)
        world.change(webhooks, "completed")
        await until(lambda: _is(receiver.types()[-1:] == ["job.completed"]))
    assert receiver.types() in (["job.running", "job.completed"], ["job.completed"])


async def _is(value: bool) -> bool:
    return value


async def test_a_file_that_vanishes_or_is_broken_ends_nothing(world: World, receiver: WebhookReceiver) -> None:
    world.add(receiver)
    world.job(1, "running")
    async with world.control() as webhooks:
        await active(webhooks)
    content = world.file.read_bytes()
    for broken in (None, b"{"):
        world.file.unlink(missing_ok=True)
        if broken is not None:
            world.file.write_bytes(broken)
        async with world.control():
            await asyncio.sleep(0)
    world.statuses["job-1"] = "completed"
    world.file.write_bytes(content)
    async with world.control():
        await came(receiver, "job.completed")


async def test_one_that_does_not_take_a_message_holds_no_other_knowledge_base(world: World) -> None:
    box = Outbox(world.directory / "webhooks.sqlite")
    box.begin("w", [])
    for kb_id, status in (("a", "running"), ("a", "failed"), ("b", "running")):
        box.tell("w", Told(kb_id, "job", 1, status), (f"{kb_id} {status}", b""))
    first = box.next("w")
    assert first is not None and first.id == "a running"
    box.postpone("w", first, 0.0, "HTTP 500", until=10.0)
    second = box.next("w")
    assert second is not None and second.id == "b running"
    box.delivered("w", second, 0.0, "HTTP 204")
    again = box.next("w")
    assert again is not None and (again.id, again.tries, again.next_at) == ("a running", 1, 10.0)
    box.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "webhooks.sqlite")
    yield box
    box.close()


def test_too_many_that_wait_drive_out_the_oldest(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    box.begin("w", [])
    box.begin("v", [])
    dropped = [box.tell("w", Told("a", "job", 1, str(n)), (f"m{n}", b"")) for n in range(5)]
    assert dropped == [0, 0, 0, 1, 1]
    box.tell("v", Told("a", "job", 1, "x"), ("other", b""))
    first, standing = box.next("w"), box.standing("w")
    assert first is not None and first.id == "m2" and standing is not None and standing.waiting == 3


def test_a_disabled_one_keeps_nothing_and_one_that_was_removed_leaves_nothing(box: Outbox) -> None:
    for webhook in ("w", "v"):
        box.begin(webhook, [Told("a", "job", 1, "running")])
        box.tell(webhook, Told("a", "job", 1, "paused"), ("m", b""))
    box.disable("w", 1.0, "HTTP 410")
    box.tell("w", Told("a", "job", 1, "failed"), ("n", b""))
    assert box.next("w") is None and box.next("v") is not None
    box.forget("w")
    assert (box.known(), box.told("w", "a"), box.standing("w")) == ({"v"}, None, None)


def test_tries_go_on_for_over_a_day_further_and_further_apart() -> None:
    assert sum(PAUSES_S) * (1 - courier.JITTER) > 20 * 3_600 and sum(PAUSES_S) > 24 * 3_600
    assert list(PAUSES_S) == sorted(PAUSES_S)
    for number, pause in enumerate(PAUSES_S, start=1):
        given = pause_s(number, None)
        assert given is not None and pause * 0.8 <= given <= pause * 1.2
    assert pause_s(len(PAUSES_S) + 1, None) is None


def test_a_receiver_may_ask_for_more_time_within_reason() -> None:
    assert pause_s(1, 90.0) == 90.0
    assert pause_s(1, 1e12) == courier.LONGEST_S
    later = pause_s(10, 1.0)
    assert later is not None and later > 30_000, "not for less"
