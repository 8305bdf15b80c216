"""The harness's own parts: what the schedule, the model and the wires promise."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes.site_pages import path_of
from tests.faults.fakes import Change, FaultSite
from tests.faults.model import Content, Version, crawl, with_text
from tests.faults.schedule import draw
from tests.faults.wires import Wire


def test_a_seed_draws_the_same_schedule_every_time() -> None:
    assert draw(17) == draw(17) != draw(18)


def test_faults_and_deeds_of_every_kind_are_drawn() -> None:
    runs = [draw(seed) for seed in range(1, 201)]
    deeds = {step.deed for run in runs for life in run.lives for job in life.jobs for step in job.steps}
    assert {"pause", "resume", "cancel"} == deeds
    assert {job.then for run in runs for life in run.lives for job in life.jobs} == {None, "rollback", "vacuum"}
    assert any(job.reembeds for run in runs for life in run.lives for job in life.jobs)
    assert len({(fault.kind, fault.worker.partition("-")[0], fault.wire) for run in runs for fault in run.faults}) > 30


async def test_the_model_follows_edits_removals_and_additions() -> None:
    async with FaultSite(9, min_kb=1, max_kb=2, seed=5) as site:
        first = await crawl(Version(site.url, site.bodies()), Content())
        site.change(Change(edited=(2,), removed=(8,), added=1))
        second = await crawl(Version(site.url, site.bodies()), first)
        gone, new = with_text(first) - with_text(second), with_text(second) - with_text(first)
        assert (gone, new) == ({site.root + path_of(8)}, {site.root + path_of(9)})
        assert first.pages[site.root + path_of(3)].pieces == second.pages[site.root + path_of(3)].pieces
        assert first.pages[site.root + path_of(2)].pieces != second.pages[site.root + path_of(2)].pieces


async def test_the_model_keeps_what_a_broken_page_showed() -> None:
    async with FaultSite(9, min_kb=1, max_kb=2, seed=5) as site:
        first = await crawl(Version(site.url, site.bodies()), Content())
        site.change(Change(edited=(2,)))
        second = await crawl(Version(site.url, site.bodies(), frozenset({path_of(2)})), first)
        assert (second.hashes, second.errors) == (first.hashes, 1)
        unknown = await crawl(Version(site.url, site.bodies(), frozenset({path_of(2)})), Content())
        assert first.hashes > unknown.hashes


@asynccontextmanager
async def _wired() -> AsyncIterator[Wire]:
    """A wire to a server that gives back what it gets."""

    ended: list[asyncio.Task[None] | None] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    wire = Wire(server.sockets[0].getsockname()[1])
    await wire.start()
    yield wire
    await wire.stop()
    server.close()
    await asyncio.wait_for(asyncio.gather(*(task for task in ended if task)), 30)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_wire_that_is_cut_resets_what_there_is_and_what_comes() -> None:
    async with _wired() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        wire.be("cut")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        await _closed(writer)


async def test_what_waits_on_a_mute_wire_arrives_once_it_is_whole() -> None:
    async with _wired() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        wire.be("mute")
        writer.write(b"one")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(3), 0.2)
        wire.be("whole")
        assert await asyncio.wait_for(reader.readexactly(3), 30) == b"one"
        await _closed(writer)


async def test_a_slow_wire_delays_each_way() -> None:
    async with _wired() as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        wire.be("slow", 0.1)
        began = time.monotonic()
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        assert time.monotonic() - began >= 0.2
        await _closed(writer)
