"""Weaviate's data is gone, as after a disk's end without a backup: the log knows what must be there again."""

from typing import Any

import httpx

from tests.e2e.conftest import House
from tests.support.waiting import until

OWN = {"dimensions": 6}
"""A collection that no other test has."""


async def run(house: House, kb: str) -> dict[str, Any]:
    """One more job by the definition as it stands; its status once it is over."""
    started = await house.api.ok("POST", f"/kb/{kb}/start")

    async def over() -> dict[str, Any] | None:
        now: dict[str, Any] = await house.api.status(kb)
        return now if now["job_id"] == started["job_id"] and now["status"].startswith("completed") else None

    return await until(over, within_s=90, what="the job is over")


async def test_two_starts_bring_back_a_lost_collection(house: House) -> None:
    """The first compares and tells what is missing: its pages answered "not modified". The second reads them anew."""
    own = house.definition(embedding=OWN)
    await house.start()
    kb = house.kb()
    await house.api.start(kb, own)
    first = await house.api.until_status(kb, "completed")
    count = first["metrics"]["chunks_total"]
    async with httpx.AsyncClient(trust_env=False) as weaviate:
        gone = await weaviate.delete(f"{house.settings.weaviate}/v1/schema/{house.place(kb, own).collection}")
    assert gone.is_success and await house.objects(kb, own) == {}

    told = await run(house, kb)
    assert (told["status"], told["reason"]) == ("completed_with_errors", f"{count} chunks missing")
    again = await run(house, kb)
    assert (again["status"], again["metrics"]["chunks_total"]) == ("completed", count)
    assert len(await house.objects(kb, own)) == count
    assert (await house.api.ok("POST", f"/kb/{kb}/search", {"query": "cache", "mode": "vector"}))["hits"]
