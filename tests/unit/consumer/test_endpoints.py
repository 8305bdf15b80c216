"""Which server a profile is embedded by, what it is sent, and that keys stay in the environment."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from headrace.embedding.base import TextsRefused
from headrace.embedding.endpoints import endpoint_of, endpoints
from headrace.embedding.openai import OpenAIEmbedder
from headrace.errors import DependencyUnwell
from headrace.settings import InvalidSetting, Settings
from schemas.kb import Embedding
from tests.fakes.serving import LoopbackServer


class Server(LoopbackServer):
    """Answers as vLLM, TEI and Ollama do, in numbers and perhaps without usage; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.size, self.takes_dimensions, self.usage, self.status = 4, True, True, 200

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._embeddings)
        return app

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append((str(request.rel_url), dict(request.headers), body))
        if self.status != 200:
            return web.json_response({"error": {"message": f"no: {request.headers}"}}, status=self.status)
        if "dimensions" in body and not self.takes_dimensions:
            return web.json_response({"message": "does not support matryoshka", "code": 400}, status=400)
        size = body.get("dimensions", self.size)
        data = [{"object": "embedding", "index": i, "embedding": [0.5] * size} for i in range(len(body["input"]))]
        usage = {"usage": {"prompt_tokens": 2, "total_tokens": 2}} if self.usage else {}
        return web.json_response({"object": "list", "data": data, "model": body["model"]} | usage)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as running:
        yield running


async def embedded(environment: dict[str, str], *, model: str = "m", dimensions: int = 4, endpoint: str | None) -> Any:
    profile = Embedding(provider="openai", model=model, dimensions=dimensions, endpoint=endpoint)
    embedder = OpenAIEmbedder(profile, Settings.from_env(environment))
    try:
        return await embedder.embed(["a", "b"])
    finally:
        await embedder.stop()


async def test_a_named_server_is_sent_its_own_key_and_nobody_elses(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK would take organisation and project from the environment for any server."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    environment = {
        "OPENAI_API_KEY": "sk-openai",
        "OPENAI_ORG_ID": "org-secret",
        "HEADRACE_EMBEDDING_ENDPOINTS": f"vllm={server.url}/v1 other=http://127.0.0.1:1/v1",
        "HEADRACE_EMBEDDING_KEYS": "vllm=key-of-vllm other=key-of-other",
    }
    got = await embedded(environment, endpoint="vllm")
    assert got.vectors.shape == (2, 4) and got.tokens == 2
    (path, headers, body), *_ = server.requests
    assert (path, headers["Authorization"], body["model"]) == ("/v1/embeddings", "Bearer key-of-vllm", "m")
    assert "secret" not in str(headers)


@pytest.mark.parametrize(
    ("variable", "value", "endpoint"),
    [("HEADRACE_EMBEDDING_ENDPOINTS", "ollama={}/v1", "ollama"), ("OPENAI_BASE_URL", "{}/v1", None)],
)
async def test_a_server_without_a_key_and_without_usage(
    server: Server, variable: str, value: str, endpoint: str | None
) -> None:
    server.usage = False
    got = await embedded({variable: value.format(server.url)}, endpoint=endpoint)
    assert got.vectors.shape == (2, 4) and got.tokens == 0


async def test_openai_is_sent_organisation_and_project(server: Server) -> None:
    environment = {"OPENAI_API_KEY": "sk-o", "OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_ORG_ID": "org-1",
                   "OPENAI_PROJECT_ID": "proj-1"}  # fmt: skip
    await embedded(environment, endpoint=None)
    headers = server.requests[0][1]
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")


@pytest.mark.parametrize("endpoint", ["azure", None])
async def test_azure_is_asked_for_a_deployment(server: Server, endpoint: str | None) -> None:
    """By name, and where nothing else embeds."""
    environment = {"AZURE_OPENAI_ENDPOINT": server.url, "AZURE_OPENAI_API_KEY": "az-key"}
    got = await embedded(environment, model="my-deployment", endpoint=endpoint)
    path, headers, body = server.requests[0]
    assert path == "/openai/deployments/my-deployment/embeddings?api-version=2024-10-21"
    assert headers["api-key"] == "az-key" and "Authorization" not in headers
    assert got.vectors.shape == (2, 4) and "dimensions" not in body


async def test_fewer_dimensions_are_asked_for_where_a_model_has_more_by_itself(server: Server) -> None:
    server.size = 16
    got = await embedded({"HEADRACE_EMBEDDING_ENDPOINTS": f"tei={server.url}/v1"}, dimensions=8, endpoint="tei")
    np.testing.assert_array_equal(got.vectors, np.full((2, 8), 0.5, dtype=np.float32))
    assert (got.tokens, got.requests) == (4, 2), "both requests are paid for"
    assert [body.get("dimensions") for _, _, body in server.requests] == [None, 8]


@pytest.mark.parametrize(("size", "made"), [(16, [2, 2, 1]), (8, [1, 1, 1])])
async def test_as_many_requests_are_reserved_as_may_be_made(server: Server, size: int, made: list[int]) -> None:
    """Also where two calls find out side by side."""
    server.size = size
    environment = {"HEADRACE_EMBEDDING_ENDPOINTS": f"tei={server.url}/v1"}
    profile = Embedding(provider="openai", model="m", dimensions=8, endpoint="tei")
    embedder = OpenAIEmbedder(profile, Settings.from_env(environment))
    assert embedder.most_requests == 2
    first = await asyncio.gather(embedder.embed(["a"]), embedder.embed(["b"]))
    assert embedder.most_requests == 1
    answers = [*first, await embedder.embed(["c"])]
    assert [each.requests for each in answers] == made and sum(made) == len(server.requests)
    assert [each.tokens for each in answers] == [2 * requests for requests in made]
    await embedder.stop()
    small = Embedding(provider="openai", model="text-embedding-3-small", dimensions=8)
    assert OpenAIEmbedder(small, Settings.from_env({"OPENAI_API_KEY": "sk"})).most_requests == 1


async def test_a_model_that_has_other_dimensions_says_so(server: Server) -> None:
    server.size, server.takes_dimensions = 16, False
    with pytest.raises(DependencyUnwell, match="vectors of 16 dimensions, not the 8 of the definition") as caught:
        await embedded({"HEADRACE_EMBEDDING_ENDPOINTS": f"tei={server.url}/v1"}, dimensions=8, endpoint="tei")
    assert caught.value.lasting


@pytest.mark.parametrize(
    ("environment", "endpoint", "says"),
    [
        ({}, None, "set OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "sk-o"}, "tei", "add tei=<base URL> to HEADRACE_EMBEDDING_ENDPOINTS"),
        ({"OPENAI_API_KEY": "sk-o"}, "azure", "set AZURE_OPENAI_ENDPOINT"),
        ({"AZURE_OPENAI_ENDPOINT": "https://a.example"}, None, "set AZURE_OPENAI_API_KEY"),
    ],
)
async def test_what_the_environment_lacks_is_said(environment: dict[str, str], endpoint: str | None, says: str) -> None:
    with pytest.raises(DependencyUnwell, match=says) as caught:
        await embedded(environment, endpoint=endpoint)
    assert caught.value.lasting


@pytest.mark.parametrize(("status", "error"), [(401, DependencyUnwell), (400, TextsRefused)])
async def test_a_server_that_repeats_a_key_does_not_make_it_known(
    server: Server, status: int, error: type[Exception]
) -> None:
    server.status = status
    environment = {"HEADRACE_EMBEDDING_ENDPOINTS": f"tei={server.url}/v1", "HEADRACE_EMBEDDING_KEYS": "tei=tei-key-1"}
    with pytest.raises(error) as caught:
        await embedded(environment, endpoint="tei")
    assert "tei-key-1" not in str(caught.value)
    assert status != 401 or "HEADRACE_EMBEDDING_KEYS" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HEADRACE_EMBEDDING_ENDPOINTS", "tei", "write name=URL"),
        ("HEADRACE_EMBEDDING_ENDPOINTS", "TEI=http://a", "a name has up to 32"),
        ("HEADRACE_EMBEDDING_ENDPOINTS", "a=http://a a=http://b", "a is named twice"),
        ("HEADRACE_EMBEDDING_ENDPOINTS", "a=ftp://a", "begins with http"),
        ("HEADRACE_EMBEDDING_ENDPOINTS", "a=http://user:pass-4711@a", "no credentials in a URL"),
        ("AZURE_OPENAI_ENDPOINT", "my-resource", "begins with http"),
        ("HEADRACE_EMBEDDING_KEYS", "pass-4711", "write name=key"),
        ("HEADRACE_EMBEDDING_KEYS", "tei=pass-4711\x00", "letters that no key"),
        ("OPENAI_BASE_URL", "localhost:11434/v1", "begins with http"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:99999/v1", "out of range"),
        ("OPENAI_BASE_URL", "http://user:pass-4711@a/v1", "no credentials in a URL"),
        ("WEAVIATE_URL", "weaviate.example:8080", "begins with http"),
        ("OPENAI_API_KEY", "pass-4711\r\nX-Other: 1", "letters that no key"),
        ("OPENAI_API_KEY", "“pass-4711”", "letters that no key"),
        ("OPENAI_ORG_ID", "é", "letters that no key"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_show_no_key(variable: str, value: str, says: str) -> None:
    with pytest.raises(InvalidSetting, match=says) as caught:
        Settings.from_env({variable: value})
    assert variable in str(caught.value) and "pass-4711" not in str(caught.value)


async def test_the_line_break_at_the_end_of_a_keys_file_is_none_of_the_key(server: Server) -> None:
    await embedded({"OPENAI_API_KEY": " sk-o\n", "OPENAI_BASE_URL": f"{server.url}/v1\n"}, endpoint=None)
    assert server.requests[0][1]["Authorization"] == "Bearer sk-o"
    assert Settings.from_env({"OPENAI_API_KEY": "\n"}).openai_api_key is None


def test_keys_do_not_show() -> None:
    settings = Settings.from_env({"HEADRACE_EMBEDDING_KEYS": "tei=tei-key-1"})
    assert "tei-key-1" not in repr(settings) and "tei-key-1" not in str(settings.embedding_keys)
    assert "tei-key-1" not in repr(endpoint_of(Embedding(endpoint="tei"), Settings.from_env(
        {"HEADRACE_EMBEDDING_KEYS": "tei=tei-key-1", "HEADRACE_EMBEDDING_ENDPOINTS": "tei=http://a"})))  # fmt: skip


def test_names_that_a_definition_may_give() -> None:
    settings = Settings.from_env({"HEADRACE_EMBEDDING_ENDPOINTS": "tei=http://a", "AZURE_OPENAI_ENDPOINT": "http://b"})
    assert endpoints(settings) == {"tei", "azure"}
