"""Server-sent events as a browser reads them, from a control on a real log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import pytest

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from tests.integration.control_play import API, DEFINITION, Api, Json, Played, control, kb_name

DEADLINE_S = 20.0


@dataclass
class Watcher:
    """A stream that was opened: the events that came."""

    response: aiohttp.ClientResponse
    last_id: str | None = None
    events: list[tuple[str, Json]] = field(default_factory=list)

    async def until(self, kind: str, **wanted: Any) -> Json:
        """The first event of the kind with these values, of those that came or come."""
        seen = 0
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for event, data in self.events[seen:]:
                    if event == kind and all(data[name] == value for name, value in wanted.items()):
                        return data
                seen = len(self.events)
                await self.next()

    async def next(self) -> None:
        fields: dict[str, str] = {}
        while (line := (await self.response.content.readline()).decode()) != "\n":
            if not line:
                raise EOFError
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        if "event" in fields:
            self.last_id = fields["id"]
            self.events.append((fields["event"], msgspec.json.decode(fields["data"])))


@contextlib.asynccontextmanager
async def watching(api: Api, query: str = "", last_id: str | None = None) -> AsyncIterator[Watcher]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with api.session.get(f"{api.url}{API}/events{query}", headers=headers) as got:
        assert (got.status, got.content_type) == (200, "text/event-stream")
        yield Watcher(got)


async def test_a_job_is_seen_as_it_goes_and_a_watcher_goes_on_where_it_was(
    settings: Settings, publisher: Publisher
) -> None:
    kb, other = kb_name(), kb_name()
    async with control(settings) as api:
        await api.ok("PUT", f"{API}/kb/{other}", DEFINITION)
        async with watching(api) as watcher:
            await watcher.until("reset")
            await watcher.until("kb", kb_id=other)
            started = await api.start(kb, DEFINITION)
            await watcher.until("kb", kb_id=kb)
            await watcher.until("status", kb_id=kb, job_id=started["job_id"])
            last_id = watcher.last_id
        job = Played(settings, publisher, started)
        await job.page("https://example.org/docs/a", "a0", "a1")
        await job.complete()
        completed = await api.until(kb, "completed")
        async with watching(api, last_id=last_id) as watcher:
            assert await watcher.until("status", kb_id=kb, status="completed") == completed
            await watcher.until("kb", kb_id=kb, published_generation=1)
            assert {data["kb_id"] for _, data in watcher.events} == {kb}
            await api.ok("DELETE", f"{API}/kb/{kb}")
            await watcher.until("deleted", kb_id=kb)
        async with watching(api, f"?kb={other}", last_id="what-123") as watcher:
            await watcher.until("kb", kb_id=other)
            assert [kind for kind, _ in watcher.events] == ["reset", "kb"]


async def test_a_stop_ends_the_streams_and_the_next_control_tells_all(settings: Settings) -> None:
    kb = kb_name()
    async with contextlib.AsyncExitStack() as watched:
        async with control(settings) as api:
            await api.ok("PUT", f"{API}/kb/{kb}", DEFINITION)
            watcher = await watched.enter_async_context(watching(api))
            await watcher.until("kb", kb_id=kb)
        with pytest.raises(EOFError):
            await watcher.next()
    async with control(settings) as api, watching(api, last_id=watcher.last_id) as watcher:
        await watcher.until("kb", kb_id=kb)
        assert watcher.events[0][0] == "reset"


async def test_one_who_takes_nothing_holds_nobody_up(settings: Settings) -> None:
    kb = kb_name()
    async with control(settings) as api:
        async with watching(api):  # and never reads
            for number in range(20):
                await api.ok("PUT", f"{API}/kb/{kb}", {"source": {"urls": [f"https://example.org/{number}/"]}})
            async with watching(api) as quick:
                seen = await quick.until("kb", kb_id=kb)
                assert seen["definition"]["source"]["urls"] == ["https://example.org/19/"]
        status, problem = await api.call("GET", f"{API}/events?kb=No%20Slug")
        assert (status, problem["type"]) == (422, "urn:headrace:problem:invalid-kb-id")
