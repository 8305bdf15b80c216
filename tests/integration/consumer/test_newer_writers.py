"""A writer that was upgraded before the consumer: the job waits for a consumer that is as new, and loses nothing."""

from typing import Any

import msgspec
import pytest

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import VectorStore
from schemas import codec
from schemas.chunks import Chunk, CrawlEnd
from schemas.events import Event
from schemas.facts import DeadLettered, Stall
from schemas.pages import PageRecord
from tests.integration.consumer.play import everything, finished, ids
from tests.integration.consumer.test_proof import results, states
from tests.support.inside import CutOff
from tests.support.log import PlayedJob, read_all
from tests.support.offsets import caught_up
from tests.support.waiting import until


class NewerPublisher(Publisher):
    """Writes events of one type in a version to come."""

    newer: type[Event] | None = None

    async def publish_raw(self, topic: str, *, headers: Any, **record: Any) -> Any:
        if self.newer and dict(headers).get("ce_type") == self.newer.ce_type().encode():
            headers = [(name, ce_type(self.newer) if name == "ce_type" else value) for name, value in headers]
        return await super().publish_raw(topic, headers=headers, **record)


def ce_type(kind: type[Event]) -> bytes:
    return f"headrace.{kind.TYPE}.v{kind.VERSION + 1}".encode()


@pytest.mark.parametrize("kind", [Chunk, CrawlEnd, PageRecord], ids=lambda kind: kind.TYPE)
async def test_a_job_waits_for_a_consumer_that_knows_the_version(
    settings: Settings, topics: None, store: VectorStore, kb: str, monkeypatch: pytest.MonkeyPatch, kind: type[Event],
    environment: dict[str, str],
) -> None:  # fmt: skip
    publisher = NewerPublisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source="test")
    await publisher.start()
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/0", ["one"])
    publisher.newer = kind
    await job.page("http://site/1", ["two"])
    await job.end()
    publisher.newer = None

    async def stalled(count: int) -> list[Stall] | None:
        told = [each for each in await read_all(settings, Stall) if each.job_id == job.job_id]
        return told if len(told) >= count else None

    async with CutOff(settings, monkeypatch).running():
        told = await until(lambda: stalled(1))
        await caught_up(settings)
        assert (told[-1].dependency, told[-1].ended) == ("version", False)
        assert ce_type(kind).decode() in told[-1].reason
        await job.command("running")  # it looks again, and waits again
        await until(lambda: stalled(2))
        await caught_up(settings)
    assert [state.state for state in await states(settings, job)] == ["open"]
    assert "done" not in await results(settings, job, "crawl_end")
    assert not await read_all(settings, DeadLettered)

    monkeypatch.setitem(codec._DECODERS, ce_type(kind).decode(), msgspec.json.Decoder(kind))
    async with CutOff(settings, monkeypatch).running():
        assert (await finished(settings, job)).outcome == "completed"
        await caught_up(settings)
    assert await ids(store, job) == everything(job)
    await publisher.stop()


async def test_a_page_with_a_word_of_the_future_is_no_missing_page(
    settings: Settings, publisher: Publisher, kb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = PlayedJob(settings, publisher, kb)
    await job.command("running")
    await job.begin()
    await job.page("http://site/0", ["one"])
    await job.record("http://site/1", (), state="a-word-of-the-future")
    await job.end()

    async def stalled() -> list[Stall]:
        return await read_all(settings, Stall)

    async with CutOff(settings, monkeypatch).running():
        (told,) = await until(stalled)
        await caught_up(settings)
    assert "a-word-of-the-future" in told.reason
    assert [state.state for state in await states(settings, job)] == ["open"]
