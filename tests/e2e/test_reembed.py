"""Another model for what is stored: the bill, what searches see meanwhile, and what is left when it is cut off."""

import asyncio
from typing import Any

from tests.e2e.conftest import House
from tests.support.waiting import until

WINDOW = 2 * 32
"""Texts that a slow consumer has under way at most."""
LARGE = {"provider": "openai", "model": "text-embedding-3-large", "dimensions": 4}
QUERY = "how is the cache configured?"


async def indexed(house: House, kb: str) -> dict[str, tuple[int, int]]:
    """A first generation of all 60 pages, and its objects; from here on the site and the API count anew."""
    await house.start()
    await house.api.start(kb, house.definition())
    await house.api.until_status(kb, "completed")
    return await house.objects(kb)


def forget(house: House) -> None:
    house.site.forget()
    house.openai.reset()


async def reembed(house: House, kb: str) -> Any:
    return await house.api.ok("POST", f"/kb/{kb}/reembed", {"embedding": LARGE})


async def refresh(house: House, kb: str) -> Any:
    """By the definition as it stands; the status once it is over."""
    started = await house.api.ok("POST", f"/kb/{kb}/start")

    async def over() -> Any:
        now = await house.api.status(kb)
        return now if now["job_id"] == started["job_id"] and now["status"] == "completed" else None

    return await until(over, within_s=90, what="the refresh is completed")


async def roll_back(house: House, kb: str, generation: int) -> None:
    undoing = await house.api.ok("POST", f"/kb/{kb}/rollback", {"generation": generation})

    async def over() -> bool:
        now = await house.api.ok("GET", f"/jobs/{undoing['job_id']}")
        return bool(now["status"]["status"] == "cancelled")

    await until(over, what=f"generation {generation} is undone")


async def searched(house: House, kb: str, named: int | None = None) -> int:
    """The generation; of a query of the wrong dimensions Weaviate would answer with an error."""
    answer = await house.api.ok(
        "POST", f"/kb/{kb}/search", {"query": QUERY, "k": 3, "mode": "vector", "generation": named}
    )
    assert len(answer["hits"]) == 3 and not answer["provisional"]
    generation: int = answer["generation"]
    return generation


async def model(house: House, kb: str) -> str:
    definition = (await house.api.ok("GET", f"/kb/{kb}"))["definition"]
    return str(definition["embedding"]["model"])


def large(house: House) -> dict[str, Any]:
    return house.definition(embedding=LARGE)


def paid(house: House) -> dict[str, int]:
    """How often each text was paid for, save the queries of searches."""
    return {text: times for text, times in house.openai.texts.items() if text != QUERY}


async def paused_for_nothing(house: House, kb: str) -> None:
    """While it is paused, the old model is searched and no call is made; then it goes on."""
    await house.api.ok("POST", f"/kb/{kb}/pause")
    house.openai.let_go()
    await house.api.until_status(kb, "paused")
    calls = house.openai.calls
    assert await searched(house, kb) == 1
    assert house.openai.calls == calls + 1, "the search's own"
    await house.api.ok("POST", f"/kb/{kb}/resume")


async def test_each_text_is_paid_for_once_and_no_page_is_asked_for(house: House) -> None:
    """The old model is searched until the new one has all; a pause costs nothing; a rollback leads back."""
    kb = house.kb()
    house.slow_consumer()
    before = await indexed(house, kb)
    first = set(house.openai.texts)
    forget(house)
    estimate = await house.api.ok("POST", f"/kb/{kb}/reembed", {"embedding": LARGE, "dry_run": True})
    assert (estimate["texts"], estimate["reused"], house.openai.calls) == (len(first), 0, 0)
    house.openai.hold_model(LARGE["model"], beyond=WINDOW + 1)  # by the search's own query
    assert await searched(house, kb) == 1
    accepted = await reembed(house, kb)
    assert accepted["generation"] == 2
    await house.api.until_metric(kb, "chunks_indexed", 1)
    assert await searched(house, kb) == 1
    assert await model(house, kb) != LARGE["model"]
    await paused_for_nothing(house, kb)
    done = await house.api.until_status(kb, "completed")
    assert (done["reembeds"], done["base"], done["published_generation"]) == (1, None, 2)
    assert (await searched(house, kb), await searched(house, kb, 1)) == (2, 1)
    assert house.site.requests.total() == 0
    assert set(paid(house)) == first and max(paid(house).values()) == 1
    tokens = sum(house.openai.tokens.values()) - house.openai.tokens[QUERY]

    async def settled() -> bool:
        cost = (await house.api.status(kb))["cost"]
        return (cost["tokens_embedded"], cost["unsettled_tokens"]) == (tokens, 0)

    await until(settled, what=f"{tokens} tokens are told, as the API counted")
    assert {estimate["tokens"][name] for name in ("low", "expected", "high")} == {tokens}
    assert done["metrics"]["texts_embedded"] == len(first)
    after = await house.objects(kb, large(house))
    assert len(after) == len(before) and {born for born, _ in after.values()} == {2}
    assert await house.objects(kb) == before

    async def switched() -> bool:
        return await model(house, kb) == LARGE["model"]

    await until(switched, what="the definition names the new model")
    forget(house)
    house.site.edit(house.site.paths[7])
    done = await refresh(house, kb)
    assert done["base"] == 2
    assert +house.site.fetched == {house.site.paths[7]: 1}, "all others are asked for conditionally"
    new = {c for c, (born, _) in (await house.objects(kb, large(house))).items() if born == 3}
    assert 0 < len(paid(house)) <= len(new) < 20

    for generation in (3, 2):
        await roll_back(house, kb, generation)
    assert await searched(house, kb) == 1
    assert await house.objects(kb) == before
    assert await house.objects(kb, large(house)) == {}
    assert await model(house, kb) == "text-embedding-3-small"
    forget(house)
    assert (await refresh(house, kb))["base"] == 1
    assert 0 < len(paid(house)) < 20 and first.isdisjoint(paid(house)), "the page that was edited, and no other"


async def test_a_cancel_leaves_the_old_model_untouched_and_a_vacuum_the_new(house: House) -> None:
    kb = house.kb()
    house.slow_consumer()
    before = await indexed(house, kb)
    forget(house)
    house.openai.hold_model(LARGE["model"], beyond=WINDOW)
    await reembed(house, kb)
    await house.api.until_metric(kb, "chunks_indexed", 1)
    await house.api.ok("POST", f"/kb/{kb}/cancel")
    house.openai.let_go()
    await house.api.until_status(kb, "cancelled")
    assert await house.objects(kb, large(house)) == {}
    assert await house.objects(kb) == before
    assert await searched(house, kb) == 1
    forget(house)
    done = await refresh(house, kb)
    assert (done["base"], paid(house), house.site.fetched.total()) == (1, {}, 0)

    house.openai.latency_s = 0.05
    await reembed(house, kb)
    await house.api.until_status(kb, "completed")
    await house.api.ok("POST", f"/kb/{kb}/vacuum", {"keep": 1})

    async def vacuumed() -> bool:
        return not await house.objects(kb)

    await until(vacuumed, what="the old model's objects are gone")
    assert len(await house.objects(kb, large(house))) == len(before)
    assert await searched(house, kb) == 4
    await house.api.ok("DELETE", f"/kb/{kb}")
    assert await house.objects(kb, large(house)) == {}


async def test_killed_in_the_middle_nothing_is_lost(house: House) -> None:
    kb = house.kb()
    house.slow_consumer()
    before = await indexed(house, kb)
    first = set(house.openai.texts)
    forget(house)
    await reembed(house, kb)
    await house.api.until_metric(kb, "chunks_total", 1)
    await asyncio.to_thread(house.service("producer").kill)
    await house.start("producer")
    await house.api.until_metric(kb, "chunks_indexed", len(before) // 3)
    await asyncio.to_thread(house.service("consumer").kill)
    assert await house.objects(kb) == before
    await house.start("consumer")
    await house.api.until_status(kb, "completed", within_s=90)
    assert house.site.requests.total() == 0
    assert len(await house.objects(kb, large(house))) == len(before)
    assert await house.hashes(kb) == await house.hashes(kb, large(house))
    assert set(paid(house)) == first
    assert sum(paid(house).values()) <= len(first) + WINDOW, "what was in flight at the kill"
    assert await searched(house, kb) == 2
