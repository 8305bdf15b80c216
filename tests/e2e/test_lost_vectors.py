"""Weaviate's data is gone, all of it or some: the next job brings it back, and reads no other page again."""

from typing import Any
from urllib.parse import urlsplit

import httpx
from aiohttp import web

from headrace.counted import counted
from schemas.pages import PageRecord
from tests.e2e.conftest import House
from tests.support.log import read_all
from tests.support.waiting import until

OWN = {"dimensions": 6}
"""A collection that no other test has."""


async def ended(house: House, kb: str, job_id: str) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        now: dict[str, Any] = await house.api.status(kb)
        return now if now["job_id"] == job_id and now["phase"] == "done" else None

    return await until(over, within_s=90, what="the job is over")


async def refuses_who_does_not_know_it(request: web.Request) -> web.StreamResponse:
    return web.Response(status=304 if "If-None-Match" in request.headers else 403)


async def test_one_start_brings_back_a_lost_collection(house: House) -> None:
    """Its pages answer "not modified" at first, so that what is missing is only seen at the end of the crawl."""
    own = house.definition(embedding=OWN)
    await house.start()
    kb = house.kb()
    await house.api.start(kb, own)
    first = await house.api.until_status(kb, "completed")
    count, pages = first["metrics"]["chunks_total"], house.fetched_once()
    assert first["lost"] is None
    async with httpx.AsyncClient(trust_env=False) as weaviate:
        gone = await weaviate.delete(f"{house.settings.weaviate}/v1/schema/{house.place(kb, own).collection}")
    assert gone.is_success and await house.objects(kb, own) == {}

    house.site.forget()
    house.openai.latency_s = 1.0
    started = await house.api.ok("POST", f"/kb/{kb}/start")

    async def says_why() -> bool:
        now = await house.api.status(kb)
        return bool(
            now["reason"]
            == f"{counted(count, 'chunk is', 'chunks are')} missing in Weaviate; {counted(pages, 'page')} fetched again"
        )

    await until(says_why, within_s=60, every_s=0.1, what="the status says what is missing")
    house.openai.latency_s = 0.05
    done = await ended(house, kb, started["job_id"])
    assert (done["status"], done["generation"], done["reason"]) == ("completed", 2, None)
    assert (done["metrics"]["chunks_total"], done["metrics"]["chunks_indexed"]) == (count, count)
    assert [done["lost"][name] for name in ("records", "chunks", "pages")] == [0, count, pages]
    assert house.fetched_once() == pages
    assert len(await house.objects(kb, own)) == count
    assert (await house.api.ok("POST", f"/kb/{kb}/search", {"query": "cache", "mode": "vector"}))["hits"]


async def test_of_what_was_deleted_by_hand_only_its_pages_are_read_anew(house: House) -> None:
    """One of two can't be read any more: it keeps what is there, and what is not is told."""
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    await house.api.until_status(kb, "completed")
    before = await house.objects(kb)
    mended, broken = house.site.paths[7:9]
    records = {urlsplit(page.url).path: page for page in await read_all(house.settings, PageRecord)}
    lost = {records[path].chunks[0].id for path in (mended, broken)}
    await house.store.delete_ids(house.place(kb), sorted(lost))

    house.site.forget()
    house.site.behave(broken, refuses_who_does_not_know_it)
    told = await ended(house, kb, (await house.api.ok("POST", f"/kb/{kb}/start"))["job_id"])
    assert (told["status"], told["reason"]) == ("completed_with_errors", "1 page with errors, 1 chunk missing")
    assert (told["lost"]["chunks"], told["lost"]["pages"]) == (2, 2)
    assert +house.site.fetched == {mended: 1}
    now = await house.objects(kb)
    assert [born for chunk, (born, _) in now.items() if chunk not in before] == [2]
    assert now.keys() & before.keys() == before.keys() - lost

    house.site.heal(broken)
    house.site.forget()
    done = await ended(house, kb, (await house.api.ok("POST", f"/kb/{kb}/start"))["job_id"])
    assert (done["status"], done["lost"], +house.site.fetched) == ("completed", None, {broken: 1})
    assert len(await house.objects(kb)) == len(before)
