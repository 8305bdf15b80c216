"""What webhooks are told, in which order, and what becomes of it: without Kafka, with a receiver on loopback."""

import asyncio
import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec import structs

from control import courier, outbox
from control import webhooks as webhooks_module
from control.courier import PAUSES_S, pause_s
from control.outbox import Outbox, Told
from control.status import OVER
from control.status import Status as StatusWord
from control.webhooks import Webhooks
from headrace import client
from headrace.client import STATUSES
from headrace.errors import DependencyUnwell
from headrace.webhooks import Webhook, add, read_webhooks
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.support.waiting import until

KB = "docs"


@dataclass(frozen=True)
class Job:
    """What is read of a command, and of a status."""

    job_id: str
    generation: int
    kb_id: str = KB
    desired: str = "running"


class Status:
    def __init__(self, job: Job, status: str) -> None:
        self.kb_id, self.job_id, self.generation, self.status = job.kb_id, job.job_id, job.generation, status

    def __getattr__(self, name: str) -> None:
        return None


@dataclass
class World:
    """Jobs, the newest first, and their statuses; control over them can be started again and again.

    `unwell`: ids of jobs whose status can't be made.
    """

    directory: Path
    jobs: list[Job] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    unwell: set[str] = field(default_factory=set)

    @property
    def file(self) -> Path:
        return self.directory / "webhooks.json"

    def add(self, receiver: WebhookReceiver, **options: Any) -> Webhook:
        wanted = {"kbs": (), "on": (), "allow_addresses": ("127.0.0.0/8",)} | options
        return add(self.file, "hook", receiver.url, **wanted)

    def job(self, number: int, status: str, kb_id: str = KB) -> Job:
        job = Job(f"job-{number}", number, kb_id)
        self.jobs.insert(0, job)
        self.statuses[job.job_id] = status
        return job

    @contextlib.asynccontextmanager
    async def control(self) -> AsyncIterator[Webhooks]:
        async def status_of(job: Any) -> Any:
            if job.job_id in self.unwell:
                raise DependencyUnwell("projection", "out of memory")
            return Status(job, self.statuses[job.job_id])

        webhooks = Webhooks(
            self.file, self.directory / "webhooks.sqlite",
            kbs=lambda: dict.fromkeys(job.kb_id for job in self.jobs),
            jobs=lambda kb_id: [job for job in self.jobs if job.kb_id == kb_id],  # type: ignore[misc]
            status_of=status_of,
        )  # fmt: skip
        webhooks.start()
        try:
            yield webhooks
        finally:
            await webhooks.stop()

    def change(self, webhooks: Webhooks, status: str, job: Job | None = None) -> None:
        """Of the newest job, where none is named."""
        job = job or self.jobs[0]
        self.statuses[job.job_id] = status
        webhooks.changed(Status(job, status))  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as receiver:
        yield receiver


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


async def test_an_end_that_is_known_once_the_next_job_has_begun_is_told(
    world: World, receiver: WebhookReceiver
) -> None:
    """The next may begin once the generation is published; the status says `completed` a little later."""
    world.add(receiver)
    first = world.job(1, "running")
    async with world.control() as webhooks:
        await active(webhooks)
        world.job(2, "queued")
        world.change(webhooks, "queued")
        await came(receiver, "job.queued")
        world.change(webhooks, "completed", first)
        await came(receiver, "job.queued", "job.completed")
    data = receiver.received[-1].body["data"]
    assert (data["job_id"], data["previous"]) == ("job-1", "running")


async def test_a_rollback_of_an_older_job_is_told_once(world: World, receiver: WebhookReceiver) -> None:
    """The newest published one is rolled back, though one after it has failed."""
    world.add(receiver)
    async with world.control() as webhooks:
        await active(webhooks)
        first = world.job(1, "completed")
        world.change(webhooks, "completed")
        await came(receiver, "job.completed")
        world.job(2, "failed")
        world.change(webhooks, "failed")
        await came(receiver, "job.completed", "job.failed")
        first = world.jobs[1] = replace(first, desired="rolled_back")
        world.change(webhooks, "cancelling", first)
        await came(receiver, "job.completed", "job.failed", "job.cancelling")
    world.statuses[first.job_id] = "cancelled"
    for _ in range(2):
        async with world.control() as webhooks:
            await came(receiver, "job.completed", "job.failed", "job.cancelling", "job.cancelled")
            world.change(webhooks, "failed")
    assert receiver.received[-1].body["data"]["previous"] == "cancelling"


async def test_what_was_rolled_back_before_is_nothing_new(world: World, receiver: WebhookReceiver) -> None:
    first = world.job(1, "cancelled")
    world.jobs[0] = replace(first, desired="rolled_back")
    world.job(2, "running")
    world.add(receiver)
    async with world.control() as webhooks:
        await active(webhooks)
        world.change(webhooks, "completed")
        await came(receiver, "job.completed")
    assert receiver.received[0].body["data"]["job_id"] == "job-2"


async def test_a_job_whose_status_can_not_be_made_holds_no_other(world: World, receiver: WebhookReceiver) -> None:
    one, other = world.job(1, "running", "a"), world.job(2, "running", "b")
    world.add(receiver)
    async with world.control() as webhooks:
        await active(webhooks)
    world.statuses |= {one.job_id: "completed", other.job_id: "failed"}
    world.unwell = {one.job_id}
    async with world.control() as webhooks:
        await came(receiver, "job.failed")
        add(world.file, "second", receiver.url, kbs=(), on=(), allow_addresses=("127.0.0.0/8",))
        world.change(webhooks, "completed", other)
        await came(receiver, "job.failed", "job.completed")
        world.unwell.clear()
        await came(receiver, "job.failed", "job.completed", "job.completed")
    assert receiver.received[-1].body["data"]["kb_id"] == "a"


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


async def test_once_the_file_can_be_read_what_ended_before_is_told(world: World, receiver: WebhookReceiver) -> None:
    world.add(receiver)
    world.job(1, "running")
    async with world.control() as webhooks:
        await active(webhooks)
    content = world.file.read_bytes()
    world.file.write_bytes(b"{")
    async with world.control() as webhooks:
        world.change(webhooks, "completed")
        await until(lambda: _is(not webhooks._changed), what="taken note of")
        world.file.write_bytes(content)
        await came(receiver, "job.completed")


async def test_while_the_disk_refuses_nothing_is_sent_again_and_again(
    world: World, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks_module, "RETRY_S", 0.01)
    refused = 0

    def refuse(self: Outbox, *given: Any) -> None:
        nonlocal refused
        refused += 1
        raise sqlite3.OperationalError("database or disk is full")

    async def often() -> bool:
        return refused > 3

    world.add(receiver)
    world.job(1, "running")
    async with world.control() as webhooks:
        await active(webhooks)
        with monkeypatch.context() as broken:
            broken.setattr(Outbox, "delivered", refuse)
            world.change(webhooks, "completed")
            await until(often)
        world.change(webhooks, "failed")
        await came(receiver, "job.completed", "job.failed")


async def test_a_clock_that_was_set_back_holds_no_message(world: World, receiver: WebhookReceiver) -> None:
    world.add(receiver)
    world.job(1, "running")
    async with world.control() as webhooks:
        await active(webhooks)
    (hook,) = read_webhooks(world.file)
    box = Outbox(world.directory / "webhooks.sqlite")
    box.tell(hook.id, Told(KB, "job-1", 1, "failed"), ("msg_1", b'{"type": "job.failed"}'))
    message = box.next(hook.id)
    assert message is not None
    box.postpone(hook.id, message, 0.0, "HTTP 500", until=time.time() + 10 * 365 * 86_400)
    box.close()
    world.statuses["job-1"] = "failed"
    async with world.control():
        await came(receiver, "job.failed")


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


async def test_a_receiver_that_asks_for_time_is_sent_nothing_meanwhile(
    world: World, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    async def noted(event: asyncio.Event, seconds: float | None) -> None:
        waits.append(seconds)
        await courier.wait(event, seconds)

    async def held() -> bool:
        return any(seconds is not None and seconds > 3_000 for seconds in waits)

    monkeypatch.setattr(webhooks_module, "wait", noted)
    receiver.answers.append((429, {"Retry-After": "3600"}))
    world.add(receiver)
    one, other = world.job(1, "running", "a"), world.job(2, "running", "b")
    async with world.control() as webhooks:
        await active(webhooks)
        world.change(webhooks, "failed", one)
        await until(held)
        waits.clear()
        world.change(webhooks, "completed", other)
        await until(lambda: _waiting(webhooks, 2))
        await until(held)
    assert receiver.types() == ["job.failed"]


async def _waiting(webhooks: Webhooks, messages: int) -> bool:
    return [each.waiting for each in await webhooks.all()] == [messages]


async def test_after_the_time_it_asked_for_a_receiver_hears_the_rest(world: World, receiver: WebhookReceiver) -> None:
    receiver.answers.append((503, {"Retry-After": "1"}))
    world.add(receiver)
    one, other = world.job(1, "running", "a"), world.job(2, "running", "b")
    async with world.control() as webhooks:
        await active(webhooks)
        world.change(webhooks, "failed", one)
        await came(receiver, "job.failed")
        world.change(webhooks, "completed", other)
        await came(receiver, "job.failed", "job.completed")


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
    assert (box.known(), set(box.told("a")), box.standing("w")) == ({"v"}, {"v"}, None)


def test_of_older_jobs_only_those_are_kept_that_may_still_be_told_of(box: Outbox) -> None:
    ends = ("completed", "cancelled", "failed", "running", "completed_with_errors", "completed")
    for generation, status in enumerate(ends, start=1):
        box.tell("w", Told("a", f"job-{generation}", generation, status), None)
    assert list(box.told("a")["w"]) == [2, 4, 6]


async def test_nothing_waits_for_a_name_server_that_does_not_answer(
    world: World, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is no daemon is waited for when the process ends."""
    answer, threads, real = threading.Event(), list[threading.Thread](), socket.getaddrinfo

    def look_up(host: Any, *given: Any, **more: Any) -> Any:
        if host == "localhost":
            return real(host, *given, **more)
        threads.append(threading.current_thread())
        answer.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    hook = world.add(receiver)
    hung = structs.replace(hook, url="http://hook.example.org/")
    sending = asyncio.create_task(courier.send(hung, "msg_1", b"{}"))
    await until(lambda: _is(bool(threads)))
    named = structs.replace(
        hook, url=receiver.url.replace("127.0.0.1", "localhost"), allow_addresses=("127.0.0.0/8", "::1")
    )
    assert (await courier.send(named, "msg_2", b'{"type": "job.failed"}')).kind == "taken"
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    answer.set()
    assert all(thread.daemon for thread in threads)


async def test_a_receiver_may_name_a_date(world: World, receiver: WebhookReceiver) -> None:
    receiver.answers.append((503, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1))}))
    answer = await courier.send(world.add(receiver), "msg_1", b'{"type": "job.failed"}')
    assert answer.kind == "failed" and answer.retry_after_s is not None and answer.retry_after_s > 1_800


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


async def test_a_damaged_outbox_is_set_aside_and_webhooks_begin_as_new_ones(
    world: World, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    world.add(receiver)
    world.job(1, "completed")
    (world.directory / "webhooks.sqlite").write_bytes(b"no database at all, but of some length" * 200)
    async with world.control() as webhooks:
        await active(webhooks)
        world.job(2, "running")
        world.change(webhooks, "running")
        await came(receiver, "job.running")
    assert "set aside as webhooks.sqlite.damaged" in caplog.text
    assert (world.directory / "webhooks.sqlite.damaged").exists()


async def test_a_fault_in_the_sending_ends_the_telling_loudly(
    world: World, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    world.add(receiver)
    async with world.control() as webhooks:
        await active(webhooks)
        monkeypatch.setattr("control.webhooks.send", broken)
        world.job(1, "running")
        world.change(webhooks, "running")
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(30):
                await webhooks.failure()


def test_statuses_are_those_that_control_tells() -> None:
    assert set(STATUSES) == set(get_args(StatusWord)) and set(client.OVER) == OVER
