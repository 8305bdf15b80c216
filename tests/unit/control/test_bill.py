"""What questions cost is told in sums: all of it, once, whatever Kafka does."""

import asyncio

import pytest
from confluent_kafka import KafkaError, KafkaException

from control import bill
from control.bill import Bill
from headrace.prices import Prices
from schemas.events import Place
from schemas.facts import QuestionsEmbedded
from schemas.identity import partition_for
from schemas.kb import Embedding
from tests.support.waiting import until

SMALL = Embedding(provider="openai", model="text-embedding-3-small", dimensions=1536)
LOCAL = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
UNKNOWN = Embedding(provider="openai", model="somebodys", dimensions=8)


class Topic:
    """What a publisher was given; it may refuse, or be held up."""

    def __init__(self) -> None:
        self.told: list[QuestionsEmbedded] = []
        self.refuses = False
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, event: QuestionsEmbedded, *, partition: int) -> Place:
        await self.open.wait()
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
        assert partition == partition_for(event.kb_id, 3)
        self.told.append(event)
        return Place(partition, len(self.told))


@pytest.fixture
def topic() -> Topic:
    return Topic()


def billed(topic: Topic) -> Bill:
    made = Bill(topic, Prices(), "control/test")  # type: ignore[arg-type]
    made.start(3)
    return made


def sums(topic: Topic) -> list[tuple[str, str, int, int, int | None]]:
    return [(each.kb_id, each.model, each.requests, each.tokens, each.pico_usd) for each in topic.told]


async def test_one_sum_for_each_knowledge_base_and_profile(topic: Topic) -> None:
    of = billed(topic)
    for kb_id, profile, tokens in [
        ("a", SMALL, 5),
        ("a", SMALL, 7),
        ("b", SMALL, 1),
        ("a", LOCAL, 3),
        ("a", UNKNOWN, 2),
    ]:
        of.add(kb_id, profile, tokens)
    await of.tell()
    await of.tell()
    assert sums(topic) == [
        ("a", "text-embedding-3-small", 2, 12, 240_000),
        ("b", "text-embedding-3-small", 1, 1, 20_000),
        ("a", "all-MiniLM-L6-v2", 1, 3, 0),
        ("a", "somebodys", 1, 2, None),
    ]
    assert all(each.since <= each.told_at for each in topic.told)
    await of.stop()


async def test_what_kafka_refuses_joins_the_next_sum(topic: Topic) -> None:
    of = billed(topic)
    of.add("a", SMALL, 5)
    topic.refuses = True
    await of.tell()
    assert sums(topic) == []
    of.add("a", SMALL, 6)
    topic.refuses = False
    await of.tell()
    assert sums(topic) == [("a", "text-embedding-3-small", 2, 11, 220_000)]
    await of.stop()


async def test_what_is_asked_while_a_sum_is_told_is_in_the_next(topic: Topic) -> None:
    of = billed(topic)
    of.add("a", SMALL, 5)
    topic.open.clear()
    telling = asyncio.create_task(of.tell())
    await asyncio.sleep(0)
    of.add("a", SMALL, 6)
    topic.open.set()
    await telling
    await of.stop()
    assert [each.tokens for each in topic.told] == [5, 6]
    assert topic.told[1].since >= topic.told[0].since


async def test_a_stop_tells_the_rest_at_once(topic: Topic) -> None:
    of = billed(topic)
    of.add("a", SMALL, 5)
    await of.stop()
    assert [each.tokens for each in topic.told] == [5]


async def test_a_stop_waits_for_no_kafka_that_is_away(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bill, "LAST_S", 0.01)
    of = billed(topic)
    of.add("a", SMALL, 5)
    topic.open.clear()
    await asyncio.wait_for(of.stop(), 30)
    assert "5 tokens" in caplog.text


async def test_sums_are_told_by_the_clock(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bill, "TELL_EVERY_S", 0.001)
    of = billed(topic)
    of.add("a", SMALL, 5)
    await until(lambda: _is(topic.told))
    await of.stop()


async def _is(value: object) -> bool:
    return bool(value)
