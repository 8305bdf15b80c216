"""A page is followed from its fetch through Kafka to Weaviate by one trace."""

from collections.abc import AsyncIterator

import pytest

from headrace import tracing
from headrace.kafka.follower import end_offset, stream_span
from headrace.kafka.records import RawRecord
from tests.e2e.conftest import House
from tests.fakes.otlp_collector import OtlpCollector, Span
from tests.support.waiting import until

CALLER, ASKED_BY = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OF_A_PAGE = {
    *(("headrace-producer", name) for name in ("page", "fetch", "read", "publish")),
    *(("headrace-consumer", name) for name in ("call", "embed", "index")),
}


@pytest.fixture
async def collector() -> AsyncIterator[OtlpCollector]:
    async with OtlpCollector() as collector:
        yield collector


async def _records(house: House, topic: str) -> AsyncIterator[RawRecord]:
    where = {"bootstrap_servers": house.settings.bootstrap_servers, "topic": topic}
    prefix = house.settings.topic_prefix
    for partition in range(house.settings.partitions):
        end = await end_offset(**where, partition=partition, prefix=prefix)
        async for record in stream_span(**where, partition=partition, first=0, end=end, prefix=prefix):
            yield record


async def test_a_page_has_one_trace_from_fetch_to_index(house: House, collector: OtlpCollector) -> None:
    for service in house.services.values():
        service.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    await house.start()
    kb = house.kb()
    traceparent = f"00-{CALLER}-{ASKED_BY}-01"
    path = f"/kb/{kb}/start?x=topsecret"
    assert (await house.api.call("POST", path, house.definition(), traceparent=traceparent))[0] == 202
    done = await house.api.until_status(kb, "completed", within_s=120)

    async def whole() -> list[Span] | None:
        pages = [span for span in collector.spans if span.name == "page" and span.attributes["headrace.chunks"]]
        there = all(set(collector.of_trace(page.trace_id)) == OF_A_PAGE for page in pages)
        return pages if there and len(pages) == 60 else None

    pages = await until(whole, within_s=60, what="each page's trace is whole")
    assert pages is not None
    (start,) = collector.of_trace(CALLER)["headrace-control", "POST /api/ingestion/kb/{kb}/start"]
    for page in pages:
        assert page.linked == ((CALLER, start.span_id),)
        assert not page.parent_id and page.attributes["headrace.job_id"] == done["job_id"]
        of_page = collector.of_trace(page.trace_id)
        (fetch,), (publish,) = of_page["headrace-producer", "fetch"], of_page["headrace-producer", "publish"]
        assert fetch.attributes["http.response.status_code"] == 200 and fetch.parent_id == page.span_id
        indexed, calls = of_page["headrace-consumer", "index"], of_page["headrace-consumer", "call"]
        embedded = of_page["headrace-consumer", "embed"]
        assert {span.parent_id for span in (*indexed, *embedded, *calls)} == {publish.span_id}
        assert {span.attributes["headrace.result"] for span in calls} == {"answered"}
        assert page.began_ns <= fetch.began_ns < fetch.ended_ns < max(span.ended_ns for span in indexed)
        assert sum(span.attributes["headrace.chunks"] for span in indexed) == page.attributes["headrace.chunks"]
    assert start.parent_id == ASKED_BY and start.attributes["http.response.status_code"] == 202
    assert start.attributes["headrace.job_id"] == done["job_id"]
    commands = [record async for record in _records(house, "commands")]
    assert [str(tracing.parent_of(record.headers)).split("-")[1] for record in commands] == [CALLER]
    assert not any("topsecret" in str(value) for span in collector.spans for value in span.attributes.values())
