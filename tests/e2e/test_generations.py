"""What a person decides about generations: approve, roll back, vacuum."""

import asyncio
from typing import Any

from schemas.kb import NEVER
from tests.e2e.conftest import House
from tests.fakes.site_behaviours import status
from tests.support.waiting import until


async def indexed(house: House, kb: str) -> dict[str, tuple[int, int]]:
    """A first generation of all 60 pages, and its objects."""
    await house.start()
    await house.api.start(kb, house.definition())
    await house.api.until_status(kb, "completed")
    return await house.objects(kb)


async def refresh(house: House, kb: str, *wanted: str) -> Any:
    started = await house.api.start(kb, house.definition())

    async def reached() -> Any:
        now = await house.api.status(kb)
        return now if now["job_id"] == started["job_id"] and now["status"] in wanted else None

    return await until(reached, within_s=90, what=f"the refresh is {' or '.join(wanted)}")


async def searched(house: House, kb: str, generation: int | None = None) -> tuple[int, Any]:
    asked = {"query": "how is the cache configured?", "k": 3, "generation": generation}
    code, answer = await house.api.call("POST", f"/kb/{kb}/search", asked)
    return code, answer.get("generation")


async def test_a_third_of_the_pages_is_gone(house: House) -> None:
    kb = house.kb()
    before = await indexed(house, kb)
    gone = house.site.paths[40:]
    for path in gone:
        house.site.remove(path)
    now = await refresh(house, kb, "needs_review")
    review = now["review"]
    assert (review["pages_before"], review["pages_vanished"], review["pages_failed"]) == (60, 20, 0)
    assert await searched(house, kb) == (200, 1)
    assert await house.objects(kb) == before
    changes = await house.api.ok("GET", f"/kb/{kb}/changes?change=removed&limit=1000")
    assert (changes["from_generation"], changes["to_generation"], changes["provisional"]) == (1, 2, True)
    assert {page["url"] for page in changes["pages"]} == {house.site.root + path for path in gone}
    assert changes["totals"]["chunks_kept"] + changes["totals"]["chunks_removed"] == len(before)

    await asyncio.to_thread(house.service("consumer").kill)
    await house.start("consumer")
    await house.api.ok("POST", f"/kb/{kb}/approve", {"digest": review["digest"]})
    await house.api.until_status(kb, "completed")
    assert await searched(house, kb) == (200, 2)
    retired = {chunk_id for chunk_id, (_, retired) in (await house.objects(kb)).items() if retired == 2}
    assert len(retired) == changes["totals"]["chunks_removed"]

    rolled_back = {"generation": 2, "reason": "they come back"}
    command = await house.api.ok("POST", f"/kb/{kb}/rollback", rolled_back)
    assert await house.api.ok("POST", f"/kb/{kb}/rollback", rolled_back) == command
    undone = await house.api.until_status(kb, "cancelled")
    assert (undone["reason"], undone["published_generation"]) == ("rolled back: they come back", 1)

    async def back() -> bool:
        return await house.objects(kb) == before and await searched(house, kb) == (200, 1)

    await until(back, what="the first generation as it was")
    await house.caught_up()


async def test_the_site_is_down_for_half_of_its_pages(house: House) -> None:
    kb = house.kb()
    before = await indexed(house, kb)
    for path in house.site.paths[30:]:
        house.site.behave(path, status(404))
    now = await refresh(house, kb, "needs_review")
    assert now["review"]["pages_vanished"] == 30
    await house.api.ok("POST", f"/kb/{kb}/cancel")
    await house.api.until_status(kb, "cancelled")
    assert await house.objects(kb) == before
    for path in house.site.paths[30:]:
        house.site.heal(path)
    await refresh(house, kb, "completed")
    assert {chunk_id for chunk_id, (_, retired) in (await house.objects(kb)).items() if retired == NEVER} == set(before)


async def test_vacuum_after_a_refresh(house: House) -> None:
    kb = house.kb()
    before = await indexed(house, kb)
    for path in house.site.paths[50:]:
        house.site.edit(path)
    await refresh(house, kb, "completed")
    both = await house.objects(kb)
    gone = {chunk_id for chunk_id, (_, retired) in both.items() if retired == 2}
    assert gone and gone < set(before)
    assert await searched(house, kb, 1) == (200, 1)
    await house.api.ok("POST", f"/kb/{kb}/vacuum", {"keep": 1})

    async def vacuumed() -> bool:
        return set(await house.objects(kb)) == set(both) - gone

    await until(vacuumed, what="what only the first generation showed is deleted")

    async def told() -> bool:
        state = (await house.api.ok("GET", f"/kb/{kb}/generations"))["vacuum"]
        return bool(state["vacuumed_at"]) and (state["below"], state["objects_deleted"]) == (2, len(gone))

    await until(told, what="the vacuum is told")
    code, problem = await house.api.call("POST", f"/kb/{kb}/rollback")
    assert code == 409 and "vacuumed" in problem["detail"]
    assert (await searched(house, kb, 1))[0] == 410
    assert await searched(house, kb, 2) == (200, 2)
