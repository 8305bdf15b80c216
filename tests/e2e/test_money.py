"""The bill is the provider's own count, and a budget holds, whatever is stopped and killed."""

from typing import Any

from tests.e2e.conftest import House
from tests.support.api import Json
from tests.support.waiting import until

PICO_USD_PER_TOKEN = 20_000
"""text-embedding-3-small."""


def answered(house: House) -> int:
    return sum(call.status == 200 for call in house.openai.log)


def usd(tokens: int) -> float:
    return tokens * PICO_USD_PER_TOKEN / 10**12


def spent(cost: Json) -> tuple[int, float | None, int, int]:
    return cost["tokens_embedded"], cost["usd"], cost["calls"], cost["unsettled_tokens"]


async def completed(house: House, kb: str) -> Json:
    """Once the projection has all that was told."""
    status = await house.api.until_status(kb, "completed", within_s=120)

    async def settled() -> Json | None:
        cost: Json = (await house.api.status(kb))["cost"]
        return cost if not cost["unsettled_tokens"] else None

    return {**status, "cost": await until(settled, what="every call is settled")}


async def test_the_bill_is_the_servers_own_count(house: House) -> None:
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    first = (await completed(house, kb))["cost"]
    paid = house.openai.tokens.total()
    assert spent(first) == (paid, usd(paid), answered(house), 0)
    assert first["texts_embedded"] == house.openai.texts.total() == len(house.openai.texts)

    await house.api.start(kb, house.definition())
    again = (await completed(house, kb))["cost"]
    assert spent(again) == (0, 0.0, 0, 0) and house.openai.tokens.total() == paid, "nothing had changed"
    assert spent(again["kb"]) == spent(first)

    estimate = await house.api.ok("POST", f"/kb/{kb}/start", house.definition() | {"dry_run": True})
    assert (estimate["not_looked_up"], estimate["new_tokens"]["high"], estimate["usd"]["high"]) == (None, 0, 0)
    assert estimate["reused_tokens"] == estimate["tokens"]

    for path in house.site.paths[:3]:  # 5 % of 60
        house.site.edit(path)
    await house.api.start(kb, house.definition())
    changed = (await completed(house, kb))["cost"]
    more = house.openai.tokens.total() - paid
    assert 0 < more < paid / 5 and spent(changed)[:2] == (more, usd(more))
    assert max(house.openai.texts.values()) == 1, "no text was paid for twice"

    asked = [await house.api.ok("POST", f"/kb/{kb}/search", {"query": f"what is {n}?"}) for n in range(3)]
    assert all(each["hits"] for each in asked)

    async def searches_are_told() -> bool:
        whole = (await house.api.status(kb))["cost"]["kb"]
        return bool(whole["searches"]["calls"] == 3 and whole["tokens_embedded"] == house.openai.tokens.total())

    await until(searches_are_told, what="what searches cost")
    changed = (await house.api.status(kb))["cost"]
    assert changed["tokens_embedded"] == more, "no job pays for a search"

    for service in house.services.values():
        assert await service.terminate() == 0
    (house.settings.data_dir / "projection.duckdb").unlink()
    await house.start()
    assert (await house.api.status(kb))["cost"] == changed, "read anew from the log"
    cost = await house.api.ok("GET", f"/kb/{kb}/cost")
    total = house.openai.tokens.total()
    assert spent(cost) == (total, usd(total), answered(house), 0)
    assert sum(day["tokens_embedded"] for day in cost["days"]) == total
    assert [(job["generation"], job["tokens_embedded"]) for job in cost["jobs"]] == [(3, more), (1, paid)]


async def test_a_budget_pauses_the_job_before_the_call_that_would_pass_it(house: House) -> None:
    house.slow_consumer()
    await house.start()
    kb, budget = house.kb(), 30_000
    await house.api.start(kb, house.definition(budget={"max_tokens": budget}))
    paused = await house.api.until_status(kb, "paused")
    assert 0 < house.openai.tokens.total() <= budget
    assert paused["commanded_by"] == "budget" and "raise budget.max_tokens and resume" in paused["reason"]
    assert paused["cost"]["tokens_embedded"] == house.openai.tokens.total()

    await house.api.ok("POST", f"/kb/{kb}/resume")
    again = await until(lambda: _paused_again(house, kb, paused["revision"] + 2), within_s=60)
    assert again["commanded_by"] == "budget"
    assert house.openai.tokens.total() <= budget, "a smaller call may still fit, and not a token more"
    calls = house.openai.calls

    for service in house.services.values():
        assert await service.terminate() == 0
    await house.start()
    assert (await house.api.until_status(kb, "paused"))["revision"] == again["revision"]
    assert house.openai.calls == calls

    await house.api.ok("PUT", f"/kb/{kb}", house.definition(budget={"max_tokens": None, "max_usd": 5}))
    await house.api.ok("POST", f"/kb/{kb}/resume")
    done = await completed(house, kb)
    assert done["cost"]["tokens_embedded"] == house.openai.tokens.total()
    assert max(house.openai.texts.values()) == 1
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]


async def _paused_again(house: House, kb: str, revision: int) -> Any:
    status = await house.api.status(kb)
    return status if status["status"] == "paused" and status["revision"] >= revision else None


async def test_a_killed_consumer_spends_no_more_than_the_budget(house: House) -> None:
    """What was under way as it was killed counts at its bound, so the next one makes fewer calls, not more."""
    house.slow_consumer()
    await house.start()
    kb, budget = house.kb(), 40_000
    await house.api.start(kb, house.definition(budget={"max_tokens": budget}))
    for tokens in (5_000, 15_000):
        await until(lambda least=tokens: _billed(house, least), within_s=60, every_s=0.01)  # type: ignore[misc]
        house.service("consumer").kill()
        await house.start("consumer")
    paused = await house.api.until_status(kb, "paused", within_s=60)
    cost = paused["cost"]
    assert cost["tokens_embedded"] <= house.openai.tokens.total() <= budget
    assert house.openai.tokens.total() <= cost["tokens_embedded"] + cost["unsettled_tokens"]


async def _billed(house: House, least: int) -> bool:
    return house.openai.tokens.total() >= least and house.openai.in_flight > 0


async def test_a_dry_run_asks_the_site_and_nobody_else(house: House) -> None:
    await house.start("control")
    kb = house.kb()
    estimate = await house.api.ok("POST", f"/kb/{kb}/start", house.definition() | {"dry_run": True})
    assert 0 < estimate["sampled"] <= 30 and estimate["usd"]["low"] <= estimate["usd"]["high"]
    assert house.openai.calls == 0
    assert (await house.api.call("GET", f"/kb/{kb}"))[0] == 404, "not even the definition is kept"

    await house.start("producer", "consumer")
    await house.api.start(kb, house.definition())
    done = await completed(house, kb)
    tokens, chunks = done["cost"]["tokens_embedded"], done["metrics"]["chunks_total"]
    assert estimate["pages"]["low"] <= 60 <= estimate["pages"]["high"]
    assert estimate["chunks"]["low"] <= chunks <= estimate["chunks"]["high"]
    assert estimate["tokens"]["low"] <= tokens <= estimate["tokens"]["high"]
