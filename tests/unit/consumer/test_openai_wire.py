"""What goes over the wire to OpenAI, and answers whose vectors stand in another order than the texts."""

from typing import Any

import numpy as np
from aiohttp import web

from headrace.embedding import Embedded
from headrace.embedding.openai import OpenAIEmbedder
from headrace.settings import Secret, Settings
from schemas.kb import Embedding
from tests.fakes.openai_server import vector_of
from tests.fakes.serving import LoopbackServer


class Backwards(LoopbackServer):
    """Answers correctly, last text first; keeps each request's body."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/embeddings", self._embeddings)
        return app

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        size = body.get("dimensions", 1536)
        data = [
            {"object": "embedding", "index": index, "embedding": vector_of(text, size).tolist()}
            for index, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return web.json_response({"object": "list", "model": body["model"], "data": data[::-1], "usage": usage})


async def embedded(
    server: Backwards, texts: list[str], *, model: str = "text-embedding-3-small", dimensions: int = 1536
) -> Embedded:
    embedding = Embedding(provider="openai", model=model, dimensions=dimensions)
    settings = Settings(openai_api_key=Secret("sk-test"), openai_base_url=f"http://127.0.0.1:{server.port}/v1")
    embedder = OpenAIEmbedder(embedding, settings)
    try:
        return await embedder.embed(texts)
    finally:
        await embedder.stop()


async def test_vectors_go_by_their_index_not_by_their_place_in_the_answer() -> None:
    async with Backwards() as server:
        got = await embedded(server, ["a", "b", "c"])
    np.testing.assert_allclose(got.vectors, np.stack([vector_of(text, 1536) for text in "abc"]), rtol=1e-6)


async def test_base64_is_asked_for_and_dimensions_only_where_they_change_something() -> None:
    async with Backwards() as server:
        await embedded(server, ["a"])
        await embedded(server, ["a"], dimensions=256)
        await embedded(server, ["a"], model="a-compatible-servers-own")
    assert [body["encoding_format"] for body in server.bodies] == ["base64"] * 3
    assert [body.get("dimensions") for body in server.bodies] == [None, 256, None]
