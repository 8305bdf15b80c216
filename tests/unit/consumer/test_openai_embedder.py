"""OpenAI's embedder against a server that speaks the API: what each answer means, and what it costs."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from headrace.embedding import openai as module
from headrace.embedding.base import RateLimited, TextsRefused, embed_harmless
from headrace.embedding.openai import OpenAIEmbedder
from headrace.errors import DependencyUnwell
from headrace.settings import Secret, Settings
from schemas.kb import Embedding
from tests.fakes import openai_errors as errors
from tests.fakes.openai_limits import Allowance
from tests.fakes.openai_server import OpenAIServer, vector_of
from tests.fakes.serving import LoopbackServer

KEY = "sk-very-secret-4711"
SMALL = Embedding(provider="openai", model="text-embedding-3-small", dimensions=1536)


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(latency_s=0.0, api_key=KEY) as running:
        yield running


def made(url: str, key: str = KEY, embedding: Embedding = SMALL) -> OpenAIEmbedder:
    return OpenAIEmbedder(embedding, Settings(openai_api_key=Secret(key), openai_base_url=url))


@pytest.fixture
async def embedder(server: OpenAIServer) -> AsyncIterator[OpenAIEmbedder]:
    embedder = made(server.url)
    yield embedder
    await embedder.stop()


async def test_vectors_come_in_the_texts_order(embedder: OpenAIEmbedder, server: OpenAIServer) -> None:
    texts = ["hello world", "b", "a"]
    embedded = await embedder.embed(texts)
    np.testing.assert_array_equal(embedded.vectors, np.stack([vector_of(text, 1536) for text in texts]))
    assert embedded.vectors.dtype == np.float32
    assert (embedded.tokens, server.calls) == (4, 1)


@pytest.mark.parametrize(
    ("failure", "in_doubt"),
    [
        (errors.server_error(500), False),
        (errors.rate_limited(), False),
        (errors.invalid_key(), False),
        (errors.server_error(504), True),
        (errors.malformed(), True),
        (errors.missing_vectors(), True),
        (errors.not_numbers(), True),
        (errors.wrong_dimensions(-1), True),
        (errors.hang(), True),
    ],
)
async def test_whether_a_call_that_failed_may_have_been_billed(
    server: OpenAIServer, failure: errors.Failure, in_doubt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    embedder = made(server.url)
    server.fail_next(failure)
    with pytest.raises(DependencyUnwell) as caught:
        await embedder.embed(["a", "b"])
    assert caught.value.in_doubt == in_doubt
    await embedder.stop()


async def test_what_never_reached_a_server_was_not_billed() -> None:
    embedder = made("http://127.0.0.1:1/v1")
    with pytest.raises(DependencyUnwell, match="can't be reached") as caught:
        await embedder.embed(["a"])
    assert not caught.value.in_doubt
    await embedder.stop()


async def test_nothing_to_embed_is_no_call(embedder: OpenAIEmbedder, server: OpenAIServer) -> None:
    embedded = await embedder.embed([])
    assert (embedded.vectors.shape, embedded.tokens) == ((0, 1536), 0)
    assert server.calls == 0


async def test_other_dimensions_are_asked_for(server: OpenAIServer) -> None:
    embedder = made(server.url, embedding=Embedding(provider="openai", model="text-embedding-3-large", dimensions=256))
    assert (await embedder.embed(["a"])).vectors.shape == (1, 256)
    await embedder.stop()


async def test_a_refused_request_is_told_from_one_that_is_too_large(
    embedder: OpenAIEmbedder, server: OpenAIServer
) -> None:
    server.refused_marker, server.max_inputs = "unfit", 2
    with pytest.raises(TextsRefused, match="invalid") as caught:
        await embedder.embed(["fine", "unfit"])
    assert not caught.value.too_many
    with pytest.raises(TextsRefused, match="maximum allowed batch size 2") as caught:
        await embedder.embed(["a", "b", "c"])
    assert caught.value.too_many


@pytest.mark.parametrize("text", ["", "word " * 9_000])
async def test_an_empty_and_an_overlong_text_are_refused(embedder: OpenAIEmbedder, text: str) -> None:
    with pytest.raises(TextsRefused):
        await embedder.embed([text])


async def test_a_server_that_takes_no_text_at_all_is_told_from_one_that_refuses_a_text(server: OpenAIServer) -> None:
    """Nothing may be dead-lettered for a parameter that doesn't fit."""
    embedder = made(server.url, embedding=Embedding(provider="openai", model="text-embedding-ada-002", dimensions=8))
    with pytest.raises(DependencyUnwell, match="refuses every text") as caught:
        await embed_harmless(embedder)
    assert caught.value.lasting
    await embedder.stop()


async def test_what_the_headers_say_of_limits_comes_with_the_answer(
    embedder: OpenAIEmbedder, server: OpenAIServer
) -> None:
    server.allowance = Allowance(requests=2, tokens=60)
    rates = (await embedder.embed(["a", "b"])).rates
    assert (rates.requests, rates.requests_left, rates.tokens, rates.tokens_left) == (2, 1, 60, 58)
    assert (rates.requests_whole_s, rates.tokens_whole_s) == (30, 2)
    await embedder.embed(["a"])
    with pytest.raises(RateLimited) as caught:
        await embedder.embed(["a"])
    assert caught.value.rates.requests_left == 0
    assert caught.value.retry_after_s and 29 < caught.value.retry_after_s <= 30


@pytest.mark.parametrize(
    ("failure", "lasting", "says"),
    [
        (errors.invalid_key(), True, "OPENAI_API_KEY"),
        (errors.insufficient_quota(), True, "quota"),
        (errors.rate_limited(7), False, "429"),
        (errors.server_error(), False, "500"),
        (errors.server_error(503), False, "503"),
        (errors.malformed(), False, "malformed"),
        (errors.wrong_dimensions(), True, "dimensions"),
        (errors.Failure(errors.ApiError.no_model("m")), True, "model"),
        (errors.Failure(errors.ApiError(403, f"no access for {KEY}")), True, "403"),
        (errors.Failure(errors.ApiError(409, f"conflict {KEY}")), False, "409"),
    ],
)
async def test_every_failure_is_the_dependencys(
    embedder: OpenAIEmbedder, server: OpenAIServer, failure: errors.Failure, lasting: bool, says: str
) -> None:
    server.fail(failure)
    with pytest.raises(DependencyUnwell) as caught:
        await embedder.embed(["a", "b"])
    assert caught.value.dependency == "OpenAI"
    assert (caught.value.lasting, says in caught.value.reason) == (lasting, True)
    assert caught.value.retry_after_s == (7 if says == "429" else None)
    assert KEY not in str(caught.value)
    server.heal()
    assert len((await embedder.embed(["a"])).vectors) == 1


@pytest.mark.parametrize(
    ("asked", "least_s", "most_s"), [("7", 7, 7), ("in-a-while", None, None), ("a date", 3000, 3600)]
)
async def test_how_long_to_wait_is_read_in_either_form(
    embedder: OpenAIEmbedder, server: OpenAIServer, asked: str, least_s: float | None, most_s: float | None
) -> None:
    if asked == "a date":
        asked = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.fail(errors.Failure(errors.ApiError(429, "slow down", headers={"retry-after": asked})))
    with pytest.raises(DependencyUnwell) as caught:
        await embedder.embed(["a"])
    waits_s = caught.value.retry_after_s
    assert waits_s is None if least_s is None or most_s is None else waits_s and least_s <= waits_s <= most_s


async def test_a_hang_ends_in_time(
    embedder: OpenAIEmbedder, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    server.fail(errors.hang())
    with pytest.raises(DependencyUnwell, match="no answer") as caught:
        await embedder.embed(["a"])
    assert not caught.value.lasting


async def test_a_refused_connection_heals(server: OpenAIServer) -> None:
    embedder = made(server.url)
    await server.stop()
    with pytest.raises(DependencyUnwell, match="can't be reached"):
        await embedder.embed(["a"])
    await server.start()
    assert len((await embedder.embed(["a"])).vectors) == 1
    await embedder.stop()


class OddServer(LoopbackServer):
    """Answers as it is told."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__()
        self._status, self._answer = status, answer

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/embeddings", self._embeddings)
        return app

    async def _embeddings(self, request: web.Request) -> web.Response:
        if isinstance(self._answer, str):
            return web.Response(text=self._answer, status=self._status, content_type="text/html")
        return web.json_response(self._answer, status=self._status)


def answered(*embeddings: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


class Dripping(OddServer):
    """Answers a byte at a time, for ever: as a proxy does that keeps a connection open."""

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:  # type: ignore[override]
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)


async def test_an_answer_that_never_ends_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    async with Dripping(200, None) as server:
        embedder = made(f"http://127.0.0.1:{server.port}/v1")
        with pytest.raises(DependencyUnwell, match="no answer within") as caught:
            async with asyncio.timeout(30):
                await embedder.embed(["a"])
        await embedder.stop()
    assert caught.value.in_doubt


@pytest.mark.parametrize("status", [404, 405])
async def test_a_wrong_address_says_which_setting_to_mend(status: int) -> None:
    async with OddServer(status, "<html>none</html>") as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        for embedder, setting in (
            (made(url), "OPENAI_BASE_URL"),
            (named(url), "HEADRACE_EMBEDDING_ENDPOINTS"),
        ):
            with pytest.raises(DependencyUnwell, match=rf"\({status}\): check embedding.model and {setting}") as caught:
                await embedder.embed(["a"])
            assert caught.value.lasting
            await embedder.stop()


def named(url: str) -> OpenAIEmbedder:
    profile = Embedding(provider="openai", model="m", dimensions=8, endpoint="tei")
    return OpenAIEmbedder(profile, Settings(embedding_endpoints=(("tei", url),)))


NAN = base64.b64encode(np.full(1536, np.nan, dtype="<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, "<html>please sign in</html>"),
        (200, {}),
        (200, {"data": None}),
        (200, answered()),
        (200, answered("no base64!")),
        (200, answered("AAA=")),
        (200, answered(None)),
        (200, answered([0.1] * 1536, [0.1] * 1536)),
        (200, answered(NAN)),
        (200, {"data": [{"index": 7, "embedding": [0.1] * 1536}]}),
        (200, {"data": [{"index": 0, "embedding": "A" * 6}]}),
        (502, "<html>bad gateway</html>"),
    ],
)
async def test_an_odd_answer_is_the_dependencys_fault_and_shows_no_key(status: int, answer: Any) -> None:
    async with OddServer(status, answer) as server:
        embedder = made(f"http://127.0.0.1:{server.port}/v1")
        with pytest.raises(DependencyUnwell) as caught:
            await embedder.embed(["a"])
        await embedder.stop()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (400, "<html>bad request</html>", "status 400"),
        (400, {"error": {"message": f"strange {KEY}", "type": "x", "param": None, "code": None}}, "strange ***"),
        (413, {"error": "batch size 64 > maximum allowed batch size 32", "error_type": "Validation"}, "batch size 64"),
        (422, {"message": "Input validation error", "type": "Validation"}, "Input validation"),
        (400, {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "too long"),
        (422, {"detail": [{"loc": ["body"]}]}, "status 422"),
    ],
)
async def test_a_refusal_in_any_servers_words_shows_no_key(status: int, answer: Any, says: str) -> None:
    async with OddServer(status, answer) as server:
        embedder = made(f"http://127.0.0.1:{server.port}/v1")
        with pytest.raises(TextsRefused) as caught:
            await embedder.embed(["a"])
        await embedder.stop()
    assert KEY not in str(caught.value) and says in str(caught.value)


async def test_a_compatible_servers_floats_are_taken() -> None:
    async with OddServer(200, answered([0.5] * 1536)) as server:
        embedder = made(f"http://127.0.0.1:{server.port}/v1")
        embedded = await embedder.embed(["a"])
        await embedder.stop()
    np.testing.assert_array_equal(embedded.vectors, np.full((1, 1536), 0.5, dtype=np.float32))


async def test_nothing_logged_holds_the_key(
    embedder: OpenAIEmbedder, server: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.refused_marker = "unfit"
    with caplog.at_level(logging.INFO), pytest.raises(TextsRefused):
        await embedder.embed(["unfit"])
    assert KEY not in caplog.text
