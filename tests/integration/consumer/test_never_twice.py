"""No text is paid for twice under one model in a knowledge base, whatever becomes of it: one story, and its bill."""

import msgspec
import pytest

from headrace.embedding.base import HARMLESS
from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from headrace.vectors import VectorStore
from schemas.facts import DeadLettered
from schemas.kb import Publish
from tests.fakes.openai_server import OpenAIServer
from tests.integration.consumer.play import everything, finished, ids, reported
from tests.integration.consumer.test_proof_gaps import retry
from tests.support.log import PlayedJob, definition, read_all
from tests.support.offsets import caught_up
from tests.support.services import Service
from tests.support.waiting import until

MARK = "unembeddable"
UNGUARDED = msgspec.structs.replace(definition(), publish=Publish(max_vanished_share=1.0))
"""Its pages may all be others."""


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Small batches, so that a few texts are many."""
    return environment | {"HEADRACE_EMBED_BATCH": "16"}


class Bill:
    """`paid`: texts, by what happened."""

    def __init__(self, settings: Settings, openai: OpenAIServer) -> None:
        self._settings, self._openai = settings, openai
        self.paid: dict[str, int] = {}

    async def item(self, what: str) -> None:
        """All that the consumer paid for since the item before."""
        await caught_up(self._settings)
        known = sum(self.paid.values())
        self.paid[what] = sum(times for text, times in self._openai.texts.items() if text != HARMLESS) - known


def texts(name: str, count: int) -> list[str]:
    return [f"{name} {number}" for number in range(count)]


async def begun(job: PlayedJob) -> PlayedJob:
    await job.command("running")
    await job.begin()
    return job


async def ended(settings: Settings, job: PlayedJob) -> str:
    await job.end()
    return (await finished(settings, job)).outcome


async def first_generation(
    settings: Settings, store: VectorStore, job: PlayedJob, consumer: Service, bill: Bill
) -> None:
    batch = settings.embed_batch
    await begun(job)
    await job.page("http://site/0", texts("a", 20))
    await job.page("http://site/1", texts("a", 30))
    await bill.item("50 chunks, 30 texts, of which 20 stand on two pages")

    for page in range(4):
        await job.page(f"http://site/same/{page}", texts("b", batch))
    await bill.item("four batches under way, with the same texts each")

    await job.page("http://site/2", texts("c", 4 * batch))
    assert await consumer.terminate() == 0
    consumer.start()
    await bill.item("a restart amid new texts")

    paused = await job.command("paused")
    await reported(settings, job, "holding", paused)
    await job.page("http://site/3", [*texts("c", 50), *texts("d", 10)])
    await bill.item("60 chunks while it is paused")
    await reported(settings, job, "running", await job.command("running"))

    async def indexed() -> bool:
        return await ids(store, job) == everything(job)

    await until(indexed, what="the copies, which are made after that report, are stored")
    await bill.item("they are copied to the log's end as it resumes: 10 of their texts are new")


async def test_what_each_text_costs(
    settings: Settings, publisher: Publisher, store: VectorStore, consumer: Service, openai: OpenAIServer, kb: str
) -> None:
    bill, batch = Bill(settings, openai), settings.embed_batch
    openai.refused_marker = MARK
    job = PlayedJob(settings, publisher, kb)
    await first_generation(settings, store, job, consumer, bill)
    _, refused = await job.page("http://site/4", ["e", f"{MARK} text"])
    assert await ended(settings, job) == "completed_with_errors"
    await bill.item("a page of which one text is refused")
    openai.refused_marker = ""
    (letter,) = await read_all(settings, DeadLettered)
    await retry(job, publisher, refused, letter)
    await bill.item("that text once more")

    same = await begun(PlayedJob(settings, publisher, kb, generation=2, base=1))
    for url, chunk_ids in job.pages.items():
        await same.record(url, tuple(chunk_ids), born=1, state="unchanged")
    assert await ended(settings, same) == "completed"
    await bill.item("a refresh that finds no page changed")

    moved = await begun(PlayedJob(settings, publisher, kb, generation=3, of=UNGUARDED))
    await moved.page("http://elsewhere/", [*texts("a", 30), *texts("d", 10), "f"])
    assert await ended(settings, moved) == "completed"
    await bill.item("the same texts at other addresses, and a new one")

    other = await begun(PlayedJob(settings, publisher, kb + "-b"))
    await other.page("http://site/0", texts("a", 30))
    assert await ended(settings, other) == "completed"
    await bill.item("another knowledge base, which has copies of its own")

    assert bill.paid == {
        "50 chunks, 30 texts, of which 20 stand on two pages": 30,
        "four batches under way, with the same texts each": batch,
        "a restart amid new texts": 4 * batch,
        "60 chunks while it is paused": 0,
        "they are copied to the log's end as it resumes: 10 of their texts are new": 10,
        "a page of which one text is refused": 1,
        "that text once more": 1,
        "a refresh that finds no page changed": 0,
        "the same texts at other addresses, and a new one": 1,
        "another knowledge base, which has copies of its own": 30,
    }
