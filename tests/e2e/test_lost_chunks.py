"""Chunks that are gone from the index, and from the log, before their job was proven."""

import asyncio
from urllib.parse import urlsplit

from aiohttp import web
from confluent_kafka import OFFSET_END, TopicPartition

from headrace.kafka.admin import admin_client
from schemas.kb import GenerationState
from schemas.pages import PageRecord
from tests.e2e.conftest import House
from tests.support.log import read_all
from tests.support.waiting import until


async def forget_log(house: House) -> None:
    """Retention takes all that stands on `chunks`."""
    admin, topic = admin_client(house.settings.bootstrap_servers), house.settings.topic("chunks")
    everything = [TopicPartition(topic, each, OFFSET_END) for each in range(house.settings.partitions)]
    for done in admin.delete_records(everything).values():
        await asyncio.to_thread(done.result)


async def test_their_page_is_fetched_again_and_no_other(house: House) -> None:
    last, go_on = house.site.paths[-1], asyncio.Event()

    async def waits(_: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.Response(
            text="<title>Last</title><main><h1>Last</h1><p>the last words</p></main>", content_type="text/html"
        )

    house.site.behave(last, waits)
    kb = house.kb()
    await house.start()
    await house.api.start(kb, house.definition())

    async def all_but_one() -> list[PageRecord] | None:
        pages = [page for page in await read_all(house.settings, PageRecord) if page.chunks]
        return pages if len(pages) == 59 else None

    pages = await until(all_but_one, within_s=60, what="59 pages recorded")
    await house.caught_up()
    lost = pages[7]
    await house.store.delete_ids(house.place(kb), [ref.id for ref in lost.chunks])
    await forget_log(house)
    go_on.set()

    await house.api.until_status(kb, "completed")
    path = urlsplit(lost.url).path
    assert house.site.fetched[path] == 2
    assert {times for each, times in house.site.fetched.items() if each in house.site.paths[:-1] and each != path} == {
        1
    }
    named = {ref.id for page in pages for ref in page.chunks}
    assert named < set(await house.objects(kb))
    states = [state for state in await read_all(house.settings, GenerationState) if state.recrawl >= 0]
    assert {state.recrawls for state in states} == {1}
    await house.caught_up()
