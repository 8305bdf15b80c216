"""Retries that break off: what was copied is proven all the same, by this call or by the next."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import duckdb
import msgspec
import pytest

from control import retry
from control.letters import Wanted
from control.problems import Unavailable
from control.retry import Retrier
from control.rules import Job
from headrace.kafka.records import RawRecord
from headrace.settings import Settings
from schemas.chunks import Chunk, RepairEnd
from schemas.codec import encode, headers_for
from schemas.commands import JobCommand
from schemas.events import Event, Place
from schemas.facts import DeadLettered, DeadLetterRetried, Outcome, Outcomes
from tests.unit.control.memory_log import MemoryLog
from tests.unit.control.test_folds import Filed, records


class Log:
    """A publisher, and a projection that reads what it wrote. Kafka goes away at the copy number `away_at`."""

    def __init__(self, *, away_at: int | None = None) -> None:
        self.filed, self.told = Filed(), list[Event]()
        self._events: list[Event] = []
        self._away_at = away_at

    def tell(self, event: Event) -> None:
        self._events.append(event)
        self.filed.apply(records("events", 0, self._events)[-1:])

    def said(self) -> list[type[Event]]:
        return [type(event) for event in self.told]

    async def publish_copy(
        self, event: Chunk, record: RawRecord, *, partition: int, **fields: Any
    ) -> "asyncio.Future[Place]":
        if self.said().count(Chunk) == self._away_at:
            raise Unavailable("Kafka is away")
        return await self.publish(msgspec.structs.replace(event, **fields), partition=partition)

    async def publish(self, event: Event, *, partition: int) -> "asyncio.Future[Place]":
        self.told.append(event)
        if isinstance(event, DeadLetterRetried):
            self.tell(event)
        done: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        done.set_result(Place(partition, 100 + len(self.told)))
        return done

    async def catch_up(self) -> None:
        pass

    async def read(self, query: Callable[[duckdb.DuckDBPyConnection], Any]) -> Any:
        return self.filed.file.read(query)


async def retrying(
    log: Log, letters: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Retrier, JobCommand]:
    """A published job with that many dead letters, one a page."""
    commands = MemoryLog()
    command = await commands.published()
    raws = [_letter(command, n) for n in range(letters)]
    for n in range(letters):
        log.tell(
            DeadLettered(
                job_id=command.job_id, chunk_id=f"c{n}", record_key=command.job_id, topic="chunks", place=Place(0, n),
                dead_letter=Place(0, n), stage="embed", reason="400", dead_lettered_at="t",
            )
        )  # fmt: skip

    async def stream(
        servers: str, topic: str, partition: int, first: int, end: int, **_: Any
    ) -> AsyncIterator[RawRecord]:
        for raw in raws[first:end]:
            yield raw

    async def job_of(command: JobCommand) -> Job:
        return Job(command, "completed")

    monkeypatch.setattr(retry, "stream_span", stream)
    monkeypatch.setattr(retry, "PAGE", 1)
    settings = replace(Settings.from_env({}), data_dir=tmp_path)
    played: Any = cast(Any, log)
    return Retrier(settings, commands.books, played, played, job_of, partitions=1), command


def _letter(command: JobCommand, n: int) -> RawRecord:
    chunk = Chunk(
        job_id=command.job_id, kb_id=command.kb_id, generation=command.generation, epoch=0, attempt=1, chunk_id=f"c{n}",
        doc_hash="d", text_hash="t", url="https://example.org/", title="", heading_path=(), ordinal=0, occurrence=0,
        text="x", tokens=1, fetched_at="t",
    )  # fmt: skip
    return RawRecord(
        topic="dead-letters", partition=0, offset=n, key=b"k", value=encode(chunk),
        headers=tuple(headers_for(chunk, "test")),
    )  # fmt: skip


async def test_what_is_healed_without_a_word_of_a_retry_is_proven_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The call before ended between its copies and their `repair_end`, and the consumer indexed them."""
    log = Log()
    retrier, command = await retrying(log, 1, monkeypatch, tmp_path)
    job = {"job_id": command.job_id, "kb_id": command.kb_id, "generation": command.generation}
    indexed = Outcome(offset=50, type="chunk", result="indexed", chunk_id="c0")
    log.tell(Outcomes(**job, partition=0, group_generation=1, worker="w", entries=(indexed,), decided_at="t"))
    done = await retrier.retry(Wanted(untold=True), by="test")
    assert (len(done.facts), done.passed_over) == (1, [])
    assert log.said() == [Chunk, RepairEnd, DeadLetterRetried]
    again = await retrier.retry(Wanted(untold=True), by="test")
    assert (again.facts, again.passed_over, len(log.told)) == ([], [], 3)


async def test_where_kafka_goes_away_what_was_copied_is_concluded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = Log(away_at=1)
    retrier, _ = await retrying(log, 2, monkeypatch, tmp_path)
    with pytest.raises(Unavailable):
        await retrier.retry(Wanted(untold=True), by="test")
    assert log.said() == [Chunk, RepairEnd, DeadLetterRetried]
    log._away_at = None
    assert len((await retrier.retry(Wanted(untold=True), by="test")).facts) == 1
    assert [event.retry_of for event in log.told if isinstance(event, Chunk)] == [Place(0, 0), Place(0, 1)]


async def test_a_healed_letter_of_an_older_generation_is_no_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It needs nothing; it is passed over as one that is healed."""
    log = Log()
    retrier, command = await retrying(log, 1, monkeypatch, tmp_path)
    job = {"job_id": command.job_id, "kb_id": command.kb_id, "generation": command.generation}
    indexed = Outcome(offset=50, type="chunk", result="indexed", chunk_id="c0")
    log.tell(Outcomes(**job, partition=0, group_generation=1, worker="w", entries=(indexed,), decided_at="t"))
    monkeypatch.setattr(retrier, "_takes", _no)
    done = await retrier.retry(Wanted(untold=True), by="test")
    assert log.told == [] and [each.reason for each in done.passed_over] == ["it is healed"]


async def _no(command: JobCommand) -> bool:
    return False
