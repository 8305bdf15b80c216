"""What may be embedded anew, and which model a definition names before, during and after it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from control import reembedding, rules
from control.engine import Engine
from control.estimates import Estimates
from control.http import application
from control.problems import Conflict, Invalid
from headrace.settings import Settings
from schemas.commands import JobCommand, collection_of
from schemas.estimates import ReembedEstimate, ReembedRequest
from schemas.facts import KbChanged
from schemas.kb import Chunking, Embedding
from schemas.pages import EXTRACTOR
from tests.unit.control.memory_log import DEFINITION, MemoryLog
from tests.unit.control.test_http import API

LARGE = Embedding(provider="openai", model="text-embedding-3-large", dimensions=3072)
SMALL = Embedding(provider="openai", model="text-embedding-3-small", dimensions=1536)
LOCAL = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)


@pytest.fixture
async def log() -> MemoryLog:
    """A knowledge base with one published generation, of the local model."""
    log = MemoryLog()
    await log.published(collection="Headrace_local_all_MiniLM_L6_v2_384")
    return log


async def reembed(log: MemoryLog, embedding: Embedding | None = LARGE, key: str | None = None) -> JobCommand:
    return await log.desk.reembed("docs", embedding, by="test", reason=None, idempotency_key=key)


async def publish(log: MemoryLog, command: JobCommand) -> None:
    log.state(command, "published", collection=collection_of(command))
    await log.desk.catch_up()


async def define(log: MemoryLog, **changed: Any) -> None:
    definition = msgspec.structs.replace(log.kb().definition, **changed)
    await log.desk.define("docs", definition, by="test")


async def test_the_command_says_everything(log: MemoryLog) -> None:
    command = await reembed(log)
    assert (command.generation, command.reembeds, command.base, command.desired) == (2, 1, None, "running")
    assert command.collection == "Headrace_openai_text_embedding_3_large_3072"
    assert command.definition.embedding == LARGE
    assert command.reason == "embeds the texts of generation 1 by text-embedding-3-large"
    (known, *_) = log.transactions[-1]
    assert [event.TYPE for event in log.transactions[-1]] == ["kb_defined", "job_command", "command_issued"]
    assert known == log.kb() and log.kb().last_generation == 2


async def test_what_is_open_is_filled_in_as_in_a_definition(log: MemoryLog) -> None:
    command = await reembed(log, Embedding(provider="openai"))
    assert command.definition.embedding == SMALL


async def test_texts_stay_as_they_were_crawled_and_cut(log: MemoryLog) -> None:
    """Whatever the definition says by now: the next refresh will crawl and cut by it."""
    source = msgspec.structs.replace(DEFINITION.source, exclude=("/docs/old/**",))
    await define(log, source=source, chunking=Chunking(max_tokens=100), embedding=LARGE)
    command = await reembed(log, None)
    assert command.definition.source == DEFINITION.source
    assert command.definition.chunking == Chunking(max_tokens=256, tokenizer="wordpiece")
    assert command.definition.embedding == LARGE


async def test_what_an_older_extractor_read_stays_known_as_that(log: MemoryLog) -> None:
    made = log.books.jobs("docs")[0]
    older = msgspec.structs.replace(made, job_id="older", generation=9, extractor=EXTRACTOR - 1)
    published = log.books.kbs.published("docs")
    _, command, _ = reembedding.reembed(
        log.kb(), [], LARGE, job_id="j", partitions=1, published=published, published_by=older,
        openai_available=False, origin=rules.Origin("now", "test"),
    )  # fmt: skip
    assert command.extractor == EXTRACTOR - 1


class TestRefused:
    async def test_while_a_job_is_active(self, log: MemoryLog) -> None:
        log.active.add((await reembed(log)).job_id)
        for again in (reembed(log), reembed(log, SMALL), log.started()):
            with pytest.raises(Conflict, match="is active"):
                await again

    async def test_before_anything_is_published(self) -> None:
        log = MemoryLog()
        await log.started()
        with pytest.raises(Conflict, match="no published generation, so there are no texts"):
            await reembed(log)

    @pytest.mark.parametrize("same", [None, LOCAL, Embedding(provider="local"), Embedding()])
    async def test_by_the_model_that_it_has(self, log: MemoryLog, same: Embedding | None) -> None:
        with pytest.raises(Conflict, match="generation 1 of docs is embedded by all-MiniLM-L6-v2 already"):
            await reembed(log, same)

    async def test_where_the_model_does_not_read_as_much(self, log: MemoryLog) -> None:
        command = await log.desk.start(
            "docs", msgspec.structs.replace(DEFINITION, embedding=SMALL), by="t", reason=None, idempotency_key=None
        )
        log.state(command, "published", collection=collection_of(command))
        with pytest.raises(Invalid, match=r"reads 256 tokens of a text, and the stored ones have up to 512"):
            await reembed(log, LOCAL)

    async def test_a_model_that_is_unknown_without_its_size(self, log: MemoryLog) -> None:
        with pytest.raises(Invalid, match="dimensions must be given for the model 'mine'"):
            await reembed(log, Embedding(provider="openai", model="mine"))

    async def test_nothing_is_written(self, log: MemoryLog) -> None:
        written = len(log.transactions)
        with pytest.raises(Conflict):
            await reembed(log, LOCAL)
        assert len(log.transactions) == written


async def test_an_idempotency_key_starts_one_job(log: MemoryLog) -> None:
    first = await reembed(log, key="k")
    assert await reembed(log, key="k") == first
    with pytest.raises(Invalid, match="with another body"):
        await reembed(log, SMALL, key="k")
    with pytest.raises(Invalid, match="with another body"):
        await log.desk.start("docs", None, by="test", reason=None, idempotency_key="k")


class TestTheDefinition:
    async def test_names_the_old_model_until_the_switch_and_then_the_new(self, log: MemoryLog) -> None:
        command = await reembed(log)
        await log.desk.catch_up()
        assert log.kb().definition == DEFINITION
        await publish(log, command)
        assert log.kb().definition.embedding == LARGE
        assert log.kb().reembedding is None
        audit = log.transactions[-1][1]
        assert isinstance(audit, KbChanged) and audit.action == "define"
        assert audit.reason == "generation 2 is embedded by text-embedding-3-large, 3072 dimensions"
        written = len(log.transactions)
        await log.desk.catch_up()
        assert len(log.transactions) == written, "once"

    async def test_stays_as_it_was_where_the_job_is_cancelled(self, log: MemoryLog) -> None:
        command = await reembed(log)
        log.state(command, "undone", collection=collection_of(command))
        await log.desk.catch_up()
        assert log.kb().definition == DEFINITION
        refresh = await log.started()
        assert (refresh.base, refresh.definition.embedding) == (1, LOCAL)
        assert log.kb().reembedding is None

    async def test_lets_the_next_refresh_build_on_what_is_published(self, log: MemoryLog) -> None:
        """The local model's default cut is another than OpenAI's, and so are its tokens."""
        await publish(log, await reembed(log))
        refresh = await log.desk.start("docs", None, by="test", reason=None, idempotency_key=None)
        assert (refresh.base, refresh.definition.embedding) == (2, LARGE)
        assert refresh.definition.chunking == Chunking(max_tokens=256, tokenizer="wordpiece")
        log.state(refresh, "published", collection=collection_of(refresh))
        back = await reembed(log, LOCAL)
        assert (back.reembeds, back.definition.chunking) == (3, Chunking(max_tokens=256))
        await publish(log, back)
        again = await log.desk.start("docs", None, by="test", reason=None, idempotency_key=None)
        assert again.base == back.generation

    async def test_takes_the_model_before_a_start_that_comes_at_once(self, log: MemoryLog) -> None:
        command = await reembed(log)
        log.state(command, "published", collection=collection_of(command))
        refresh = await log.desk.start("docs", None, by="test", reason=None, idempotency_key=None)
        assert (refresh.base, refresh.definition.embedding) == (2, LARGE)

    async def test_keeps_what_was_defined_meanwhile(self, log: MemoryLog) -> None:
        command = await reembed(log)
        source = msgspec.structs.replace(DEFINITION.source, max_pages=7)
        await define(log, source=source, chunking=Chunking(max_tokens=100))
        await publish(log, command)
        assert log.kb().definition.source == source
        assert log.kb().definition.embedding == LARGE
        assert log.kb().definition.chunking == Chunking(max_tokens=100), "asked for: the next refresh cuts anew"

    async def test_keeps_a_model_that_was_named_meanwhile(self, log: MemoryLog) -> None:
        command = await reembed(log)
        await define(log, embedding=SMALL)
        await publish(log, command)
        assert log.kb().definition.embedding == SMALL

    async def test_takes_the_model_whatever_server_is_named_meanwhile(self, log: MemoryLog) -> None:
        log.desk._endpoints = frozenset({"ours"})
        command = await reembed(log)
        await define(log, embedding=msgspec.structs.replace(log.kb().definition.embedding, endpoint="ours"))
        await publish(log, command)
        assert log.kb().definition.embedding == LARGE

    async def test_goes_back_with_a_rollback(self, log: MemoryLog) -> None:
        command = await reembed(log)
        await publish(log, command)
        await log.desk.rollback("docs", 2, by="test", reason=None)
        assert log.kb().definition.embedding == LOCAL
        log.state(command, "undone", collection=collection_of(command))
        refresh = await log.desk.start("docs", None, by="test", reason=None, idempotency_key=None)
        assert (refresh.base, refresh.definition.embedding) == (1, LOCAL)

    async def test_keeps_a_model_that_was_named_before_the_rollback(self, log: MemoryLog) -> None:
        await publish(log, await reembed(log))
        await define(log, embedding=SMALL)
        await log.desk.rollback("docs", 2, by="test", reason=None)
        assert log.kb().definition.embedding == SMALL

    async def test_of_a_knowledge_base_that_was_deleted_meanwhile_is_left_alone(self, log: MemoryLog) -> None:
        command = await reembed(log)

        async def nothing() -> None: ...

        await log.desk.delete("docs", by="test", first=nothing, drop=nothing)
        await define(log)
        await publish(log, command)
        assert log.kb().definition == DEFINITION


async def test_a_resumed_job_stays_as_it_was_crawled(log: MemoryLog) -> None:
    command = await reembed(log)
    log.active.add(command.job_id)
    await log.desk.change("docs", "pause", by="test", reason=None)
    budget = msgspec.structs.replace(DEFINITION.budget, max_tokens=5)
    await define(log, source=msgspec.structs.replace(DEFINITION.source, max_pages=7), budget=budget)
    resumed = await log.desk.change("docs", "resume", by="test", reason=None)
    assert (resumed.scope_revision, resumed.reembeds) == (1, 1)
    assert resumed.definition == msgspec.structs.replace(command.definition, budget=budget)
    assert not log.desk.keeps(resumed, log.kb().definition)


@pytest.fixture
async def client(log: MemoryLog, tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    engine = Engine(replace(Settings.from_env({}), data_dir=tmp_path))
    engine.unready, engine._books, engine._desk = None, log.books, log.desk
    async with TestClient(TestServer(application(engine))) as client:
        yield client
    await engine.stop()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"embedding": {"modle": "x"}}, 422, "unknown field embedding.modle"),
        ({"embedding": {"model": 3}}, 422, "embedding.model"),
        ({"embedding": {"model": "мини"}}, 422, "embedding.model 'мини' is no model's name"),
        ({"embedding": {"provider": "azure"}}, 422, "embedding.provider"),
        ({"embedding": {"dimensions": 0}}, 422, "embedding.dimensions is 0"),
        ({"embedding": "large"}, 422, "embedding"),
        ({"model": "x"}, 422, "model"),
        ({"dry_run": "yes"}, 422, "dry_run"),
        ({}, 409, "is embedded by all-MiniLM-L6-v2 already"),
        (None, 409, "is embedded by all-MiniLM-L6-v2 already"),
    ],
)
async def test_bad_input(client: Any, body: Any, status: int, says: str) -> None:
    answer = (
        await client.post(f"{API}/kb/docs/reembed", json=body)
        if body is not None
        else await client.post(f"{API}/kb/docs/reembed")
    )
    assert answer.status == status
    assert says in (await answer.json(content_type="application/problem+json"))["detail"]


async def test_over_http(client: Any) -> None:
    asked = {"embedding": {"provider": "openai", "model": "text-embedding-3-large"}, "reason": "better"}
    answer = await client.post(f"{API}/kb/docs/reembed", json=asked, headers={"Idempotency-Key": "k"})
    assert answer.status == 202
    accepted = await answer.json()
    assert (accepted["generation"], accepted["desired"], accepted["revision"]) == (2, "running", 1)
    again = await client.post(f"{API}/kb/docs/reembed", json=asked, headers={"Idempotency-Key": "k"})
    assert (await again.json())["job_id"] == accepted["job_id"]
    assert (await client.post(f"{API}/kb/nobody/reembed", json=asked)).status == 404


async def test_a_dry_run_asks_what_is_stored_and_starts_nothing(
    client: Any, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ReembedRequest] = []

    async def of_reembedding(_: Estimates, request: ReembedRequest) -> ReembedEstimate:
        asked.append(request)
        return ReembedEstimate(texts=7)

    monkeypatch.setattr(Estimates, "of_reembedding", of_reembedding)
    written = len(log.transactions)
    body = {"embedding": {"provider": "openai", "model": "text-embedding-3-large"}, "dry_run": True}
    answer = await client.post(f"{API}/kb/docs/reembed", json=body)
    assert (answer.status, (await answer.json())["texts"]) == (200, 7)
    (request,) = asked
    assert (request.kb_id, request.generation, request.undone) == ("docs", 1, ())
    assert request.definition.embedding == LARGE
    same = await client.post(f"{API}/kb/docs/reembed", json={"dry_run": True})
    assert same.status == 409 and len(asked) == 1
    unknown = body | {"embedding": {"provider": "openai", "model": "mine"}}
    assert (await client.post(f"{API}/kb/docs/reembed", json=unknown)).status == 422
    assert len(log.transactions) == written
