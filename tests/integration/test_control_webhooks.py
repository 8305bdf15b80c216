"""Webhooks of a control on a real log, over its restarts, with a receiver on loopback."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator

import pytest

from control import courier
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.webhooks import add, remove
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.integration.control_play import API, DEFINITION, Api, Json, Played, control, kb_name
from tests.support.waiting import until

LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "PAUSES_S", (*(0.05,) * 5, 3_600))


def secret_of(settings: Settings, receiver: WebhookReceiver, name: str = "hook", **options: object) -> str:
    wanted = {"kbs": (), "on": (), "allow_addresses": LOOPBACK} | options
    return add(settings.webhooks, name, receiver.url, **wanted).secret  # type: ignore[arg-type]


async def listed(api: Api) -> dict[str, Json]:
    return {each["name"]: each for each in (await api.ok("GET", f"{API}/webhooks"))["webhooks"]}


async def begun(api: Api) -> None:
    async def all_begun() -> bool:
        return all(each["state"] != "new" for each in (await listed(api)).values())

    await until(all_begun)


async def forgotten(settings: Settings) -> None:
    async def nobody() -> bool:
        with contextlib.closing(sqlite3.connect(settings.data_dir / "webhooks.sqlite")) as outbox:
            return outbox.execute("SELECT count(*) FROM webhooks").fetchone() == (0,)

    await until(nobody)


async def told(receiver: WebhookReceiver, kb: str, types: list[str]) -> None:
    """Waits until these have come of the knowledge base, one after the other, each once or more."""

    async def so() -> bool:
        each_once = dict.fromkeys((e.id, e.body["type"]) for e in receiver.received if e.body["data"]["kb_id"] == kb)
        return [kind for _, kind in each_once] == types

    await until(so, what=str(receiver.types()))


async def test_each_change_is_told_once_signed_and_in_order_over_a_restart(
    settings: Settings, publisher: Publisher, receiver: WebhookReceiver
) -> None:
    old, gone, kb = kb_name(), kb_name(), kb_name()
    async with control(settings) as api:
        await api.start(old, DEFINITION)
        await api.until(old, "queued")
        await Played(settings, publisher, await api.start(gone, DEFINITION)).complete()
        await api.until(gone, "completed")
        await api.ok("DELETE", f"{API}/kb/{gone}")
        secret = secret_of(settings, receiver)
        await begun(api)
        receiver.answers.extend([(500, {}), (302, {"Location": receiver.url})])
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await told(receiver, kb, ["job.queued"])
        await job.crawl("crawling", 1)
        await job.index("running", 1)
        await told(receiver, kb, ["job.queued", "job.running"])
    await job.complete()
    async with control(settings) as api:
        await told(receiver, kb, ["job.queued", "job.running", "job.completed"])
        await api.start(gone, DEFINITION)
        await told(receiver, gone, ["job.queued"])
    assert not any(each.body["data"]["kb_id"] == old for each in receiver.received), "nothing of the past is told"
    assert all(each.signed_by(secret) for each in receiver.received)
    of_kb = [each for each in receiver.received if each.body["data"]["kb_id"] == kb]
    queued, *more = [each for each in of_kb if each.body["type"] == "job.queued"]
    assert [(each.id, each.raw) for each in more] == [(queued.id, queued.raw)] * 2, "what was refused came again"
    data = of_kb[-1].body["data"]
    assert (data["previous"], data["job_id"], data["generation"]) == ("running", job.job["job_id"], 1)


async def test_an_end_that_is_known_once_the_next_job_has_begun_is_told(
    settings: Settings, publisher: Publisher, receiver: WebhookReceiver
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        secret_of(settings, receiver, on=("queued", "completed"))
        await begun(api)
        job = Played(settings, publisher, await api.start(kb, DEFINITION))
        await told(receiver, kb, ["job.queued"])
        await job.crawl("finished", 1)
        await job.index("running", 1)
        await job.generation("published")
        await api.until(kb, "running")

        async def next_begun() -> bool:
            return (await api.call("POST", f"{API}/kb/{kb}/start", {}))[0] == 202

        await until(next_begun)
        await told(receiver, kb, ["job.queued"] * 2)
        await job.finish()
        await told(receiver, kb, ["job.queued", "job.queued", "job.completed"])
    assert receiver.received[-1].body["data"]["job_id"] == job.job["job_id"]


async def test_what_a_receiver_is_told_is_what_it_asked_for(
    settings: Settings, publisher: Publisher, receiver: WebhookReceiver
) -> None:
    kb, other = kb_name(), kb_name()
    async with control(settings) as api:
        secret_of(settings, receiver, kbs=(kb,), on=("paused", "completed"))
        await begun(api)
        job, beside = [Played(settings, publisher, await api.start(each, DEFINITION)) for each in (kb, other)]
        await beside.complete()
        await job.crawl("crawling", 1)
        await api.until(other, "completed")
        await api.command(kb, "pause")
        await job.crawl("holding", 2)
        await job.index("holding", 2)
        await told(receiver, kb, ["job.paused"])
        assert receiver.types() == ["job.paused"]
        remove(settings.webhooks, "hook")
        await forgotten(settings)
        await api.command(kb, "cancel")
        assert receiver.types() == ["job.paused"]


async def test_a_receiver_that_is_gone_is_told_no_more_and_one_inside_was_never_reached(
    settings: Settings, publisher: Publisher, receiver: WebhookReceiver
) -> None:
    kb = kb_name()
    async with control(settings) as api:
        secret_of(settings, receiver)
        secret_of(settings, receiver, "inside", allow_addresses=())
        await begun(api)
        refused = await api.ok("POST", f"{API}/webhooks/inside/test")
        assert not refused["delivered"] and "127.0.0.1 is forbidden" in refused["answer"]
        assert (await api.call("POST", f"{API}/webhooks/nobody/test"))[0] == 404
        receiver.answers.append((410, {}))
        await api.start(kb, DEFINITION)

        async def disabled() -> Json | None:
            rows = await listed(api)
            return rows if rows["hook"]["state"] == "disabled" and rows["inside"]["last_answer"] else None

        rows = await until(disabled)
        assert rows is not None and rows["hook"]["waiting"] == 0 and "410" in rows["hook"]["last_answer"]
        assert "127.0.0.1 is forbidden: loopback" in rows["inside"]["last_answer"] and rows["inside"]["waiting"] == 1
        assert rows["hook"]["url"] == receiver.url.removesuffix("/hook"), "a path may hold a secret"
        assert receiver.types() == ["job.queued"]
