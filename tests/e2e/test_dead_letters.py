"""One text that the embedding API refuses: the job completes with errors, and a retry makes it whole."""

from tests.e2e.conftest import House, Json
from tests.support.waiting import until

PAGE = "<html><body><main><h1>Marked</h1><p>The {word} stands on this page, and on no other.</p></main></body></html>"
MARK = "quuxwort"


async def test_a_refused_text_is_retried_once_its_cause_is_gone(house: House) -> None:
    house.site.put("/docs/marked.html", PAGE.format(word=MARK))
    house.openai.refused_marker = MARK
    kb, url = house.kb(), house.site.root + "/docs/marked.html"
    definition = house.definition(source={"urls": [house.site.url, url]})
    await house.start()
    await house.api.start(kb, definition)
    flawed = await house.api.until_status(kb, "completed_with_errors", within_s=120)
    assert (flawed["metrics"]["chunks_failed"], "1 chunk dead-lettered" in flawed["reason"]) == (1, True)
    assert await _urls(house, kb) == []

    (letter,) = (await house.api.ok("GET", f"/dead-letters?kb={kb}"))["dead_letters"]
    assert (letter["state"], letter["job_id"], letter["stage"]) == ("waiting", flawed["job_id"], "embed")
    place = f"{letter['place']['partition']}/{letter['place']['offset']}"
    record = await house.api.ok("GET", f"/dead-letters/{place}")
    assert MARK in record["value"]["text"] and record["value"]["chunk_id"] == letter["chunk_id"]
    assert record["reason"]["__connect.errors.offset"] == str(letter["origin"]["offset"])

    refused = await _retry(house, kb)
    assert refused["retried"] == 1
    again = await until(lambda: _newer(house, kb, letter), within_s=60, what="the copy is refused too")
    assert (await house.api.status(kb))["metrics"]["chunks_failed"] == 1

    house.openai.refused_marker = ""
    assert (await _retry(house, kb))["retried"] == 1
    done = await until(lambda: _completed(house, kb), within_s=60, what="the job is completed without errors")
    assert done["metrics"]["chunks_indexed"] + done["metrics"]["chunks_duplicate"] == done["metrics"]["chunks_total"]
    assert (done["generation"], done["job_id"]) == (1, flawed["job_id"])
    assert await _urls(house, kb) == [url]
    assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]
    assert (await house.api.ok("GET", f"/dead-letters?kb={kb}"))["dead_letters"][0]["state"] == "healed"
    assert again["origin"] == letter["origin"]
    await house.caught_up()


async def _retry(house: House, kb: str) -> Json:
    answer: Json = await house.api.ok("POST", "/dead-letters/retry", {"kb_id": kb})
    return answer


async def _urls(house: House, kb: str) -> list[str]:
    found = await house.api.ok("POST", f"/kb/{kb}/search", {"query": MARK, "mode": "keyword"})
    return [hit["url"] for hit in found["hits"]]


async def _newer(house: House, kb: str, letter: Json) -> Json | None:
    found = (await house.api.ok("GET", f"/dead-letters?kb={kb}&state=waiting"))["dead_letters"]
    return next((each for each in found if each["place"] != letter["place"]), None)


async def _completed(house: House, kb: str) -> Json | None:
    status = await house.api.status(kb)
    return status if status["status"] == "completed" and not status["metrics"]["chunks_failed"] else None
