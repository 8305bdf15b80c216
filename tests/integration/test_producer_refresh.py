"""A refresh of a published generation, by a producer whose control and consumer are played by the test."""
# ruff: noqa: F401, F811 - fixtures are shared by importing them

from headrace.kafka.publisher import Publisher
from schemas.chunks import Chunk
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import status
from tests.integration.producer_play import (
    NewJob,
    definition,
    new_job,
    producer,
    proven,
    publish_generation,
    publisher,
    settings,
    site,
    start_producer,
)
from tests.support.services import Service


async def test_a_refresh_keeps_what_did_not_change(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    edited, removed, broken = site.paths[3], site.paths[24], site.paths[7]
    site.edit(edited)
    site.remove(removed)
    site.behave(broken, status(500))
    site.forget()
    second = await new_job(definition(site.url), generation=2, base=1)
    await second.reported("finished")
    end = await proven(second)
    before, after = await first.pages(), await second.pages()
    states = {url.removeprefix(site.root): page.state for url, page in after.items()}
    assert (states.pop(edited), states.pop(removed), states.pop(broken)) == ("fetched", "gone", "kept")
    assert set(states.values()) == {"unchanged"}
    assert end.errors == 1
    assert after[site.root + broken].chunks == before[site.root + broken].chunks
    assert site.fetched.total() == 1, "all but the edited page are asked for conditionally"
    births = {ref.born for ref in after[site.root + edited].chunks}
    assert births == {1, 2}
    new = [e for _, e in await second.stream() if isinstance(e, Chunk)]
    assert {chunk.url for chunk in new} == {site.root + edited}


async def test_a_refresh_behind_a_limit_keeps_what_it_did_not_reach(
    producer: Service, site: FakeSite, new_job: NewJob, publisher: Publisher
) -> None:
    first = await new_job(definition(site.url))
    await first.reported("finished")
    await publish_generation(first, publisher)
    second = await new_job(definition(site.url, max_pages=5), generation=2, base=1)
    await second.reported("finished")
    end = await proven(second)
    after = await second.pages()
    assert (end.pages, end.errors, end.frontier_emptied) == (25, 0, False)
    assert sum(page.state == "kept" for page in after.values()) == 20
    assert all(page.chunks for page in after.values())
