"""Decisions that something else goes on beside."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from control.engine import Engine
from control.http import application
from headrace.settings import Settings
from headrace.vectors import Tenancy
from tests.unit.control.memory_log import MemoryLog
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
