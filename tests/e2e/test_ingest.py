"""From a URL to an answer."""

from tests.e2e.conftest import House


async def test_a_site_becomes_searchable(house: House) -> None:
    await house.start()
    kb = house.kb()
    started = await house.api.start(kb, house.definition())
    assert started["job_id"]
    status = await house.api.until_status(kb, "completed")
    metrics = status["metrics"]
    assert metrics["chunks_total"] == metrics["chunks_processed"] > 60
    assert status["progress"] == 100
    assert metrics["documents_processed"] == status["crawl"]["pages_crawled"] == 60
    assert house.fetched_once() == 60
    objects = await house.objects(kb)
    assert len(objects) == metrics["chunks_total"]
    answer = await house.api.ok("POST", f"/kb/{kb}/search", {"query": "how is the cache configured?", "k": 3})
    assert answer["generation"] == 1 and len(answer["hits"]) == 3
    assert set(answer["hits"][0]) >= {"chunk_id", "url", "title", "heading_path", "text", "score"}
    assert answer["hits"][0]["chunk_id"] in objects
    assert "sk-test-secret" not in house.said()
