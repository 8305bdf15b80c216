"""Decisions that something else goes on beside."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from aiohttp.test_utils import TestClient, TestServer

from control.engine import Engine
from control.folds import Folder
from control.http import application
from headrace.settings import Settings
from headrace.vectors import Tenancy
from schemas.facts import KbChanged, Vacuumed
from schemas.kb import Crawl, KbDefined
from tests.unit.control.memory_log import DEFINITION, MemoryLog, nothing
from tests.unit.control.test_folds import records
from tests.unit.control.test_http import API


class SlowStore:
    """A Weaviate that takes its time to drop a tenant."""

    def __init__(self) -> None:
        self.asked, self.may_go, self.dropped = asyncio.Event(), asyncio.Event(), list[Tenancy]()

    async def tenant(self, place: Tenancy) -> Any:
        return None

    async def drop_tenant(self, place: Tenancy) -> None:
        self.asked.set()
        await self.may_go.wait()
        self.dropped.append(place)

    async def stop(self) -> None:
        pass


async def test_a_deletion_can_t_drop_what_a_new_job_writes(tmp_path: Path) -> None:
    """The consumer writes the next generation into the same tenant: no job begins until the drop is done."""
    engine, log, store = Engine(replace(Settings.from_env({}), data_dir=tmp_path)), MemoryLog(), SlowStore()
    engine.unready, engine._books, engine._desk = None, log.books, log.desk
    engine.store = store  # type: ignore[assignment]
    await log.published()
    definition = {"source": {"urls": ["https://example.org/"]}}
    async with TestClient(TestServer(application(engine))) as client:
        deleting = asyncio.create_task(client.delete(f"{API}/kb/docs"))
        await store.asked.wait()
        for method, path in (("POST", "kb/docs/start"), ("PUT", "kb/docs")):
            refused = await client.request(method, f"{API}/{path}", json=definition)
            assert refused.status == 409 and "not gone yet" in await refused.text()
        assert (await client.post(f"{API}/kb/other/start", json=definition)).status == 202
        store.may_go.set()
        assert (await deleting).status == 200 and len(store.dropped) == 1
        started = await client.post(f"{API}/kb/docs/start", json=definition)
        assert (started.status, (await started.json())["generation"]) == (202, 2)
    await engine.stop()


async def test_a_drop_that_fails_leaves_the_kb_free_to_begin_anew(tmp_path: Path) -> None:
    log = MemoryLog()
    await log.published()

    async def there() -> None:
        pass

    async def broken() -> None:
        raise RuntimeError("Weaviate went away")

    failed = await asyncio.gather(log.desk.delete("docs", by="t", first=there, drop=broken), return_exceptions=True)
    assert isinstance(failed[0], RuntimeError) and log.kb().deleted
    assert (await log.started()).generation == 2


async def test_what_is_done_to_a_kb_is_told_in_the_same_transaction() -> None:
    log = MemoryLog()
    other = msgspec.structs.replace(DEFINITION, crawl=Crawl(delay_s=1))
    why: dict[str, Any] = {"by": "http", "reason": "because"}
    await log.desk.define("docs", DEFINITION, **why)
    await log.desk.define("docs", DEFINITION, **why)  # nothing changes
    for definition in (DEFINITION, other):  # the second job redefines it
        log.state(await log.desk.start("docs", definition, idempotency_key=None, **why), "published")
    await log.desk.vacuum("docs", keep=1, below=None, **why)
    await log.desk.vacuum("docs", keep=1, below=None, **why)
    for _ in range(2):
        await log.desk.delete("docs", first=nothing, drop=nothing, **why)
    told = [[event for event in events if isinstance(event, KbChanged)] for events in log.transactions]
    assert [[(each.action, each.below) for each in events] for events in told] == [
        [("define", None)], [], [("define", None)], [("vacuum", 2)], [("delete", None)],
    ]  # fmt: skip
    for events in log.transactions:
        (record,) = [event for event in events if isinstance(event, KbDefined)]
        for audit in events:
            if isinstance(audit, KbChanged):
                assert (audit.changed_at, audit.changed_by) == (record.updated_at, record.updated_by)
                assert (audit.key(), audit.reason) == ("docs", "because")


async def test_a_kbs_trail_over_http(tmp_path: Path) -> None:
    engine, log = Engine(replace(Settings.from_env({}), data_dir=tmp_path)), MemoryLog()
    engine.unready, engine._books, engine._desk = None, log.books, log.desk
    await log.published()
    await log.published("other")
    await log.desk.vacuum("docs", keep=1, below=None, by="http", reason="it is full")
    told = [event for event in log.committed if event.TOPIC == "events"]
    told.append(Vacuumed(kb_id="docs", below=1, objects_deleted=7, worker="w", vacuumed_at="t"))
    file = engine.projection._file
    await engine.projection.open()
    await engine.projection._on_file(lambda: file.claim("log", {}))
    await engine.projection._on_file(lambda: file.write(Folder({}).fold(records("events", 0, told))))
    async with TestClient(TestServer(application(engine))) as client:
        answer = await (await client.get(f"{API}/kb/docs/events?limit=2")).json()
        rest = await (await client.get(f"{API}/kb/docs/events?after={answer['next_after']}")).json()
        assert (await client.get(f"{API}/kb/nobody/events")).status == 404
    shown = [(each["type"], each["value"].get("action")) for each in answer["events"] + rest["events"]]
    assert shown == [("kb_changed", "define"), ("kb_changed", "vacuum"), ("vacuumed", None)]
    await engine.stop()


async def test_jobs_that_are_active_at_once_share_no_partition_while_one_is_free() -> None:
    log, first = MemoryLog(partitions=4), []
    for number in range(4):
        first.append(await log.started(f"kb{number}"))
        log.active.add(first[-1].job_id)
    assert {command.partition for command in first} == set(range(4))
    log.active.remove(first[2].job_id)
    assert (await log.started("another")).partition == first[2].partition
