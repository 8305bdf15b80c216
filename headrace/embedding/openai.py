"""OpenAI's embeddings, through the official SDK; Azure's and those of any server that speaks the same API.

Limits (platform.openai.com, embeddings reference): 2,048 inputs, 8,192 tokens an input, 300,000 tokens a request.
"""

import asyncio
import logging
from collections.abc import Hashable, Sequence

import msgspec
import numpy as np
import openai

from headrace.embedding.base import Embedded, RateLimited, TextsRefused, Vectors
from headrace.embedding.endpoints import Endpoint, endpoint_of
from headrace.embedding.limits import rates_of
from headrace.errors import DependencyUnwell
from headrace.settings import Secret, Settings
from schemas.kb import OPENAI_MODELS, Embedding

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
"""Full calls take 1-3 s. No more than the consumer's patience, so that a server that hangs holds up the jobs beside
it for that long once, not for a minute."""
WHOLE = 1.25
"""Times that, until the answer is whole: the SDK's own timeout starts anew with each byte that comes."""
REFUSALS = frozenset({400, 413, 422})
"""The request is not taken as it is; a part of it may be."""
NOWHERE = frozenset({404, 405})
"""The latter after a redirect, which makes a GET of the request."""
GATEWAY_TIMEOUT = 504
"""What stands behind the gateway may have done its work."""
NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
"""Errors, by name, of whichever HTTP client the SDK goes through: no connection was there to send on."""
SIZE_REFUSALS = frozenset({413, 422})
"""How compatible servers say that it is too large."""


class OpenAIEmbedder:
    server = "OpenAI"
    usual_texts = 128
    max_texts = 2_048
    max_tokens = 285_000
    """5 % below the limit: a record may count less than the server does."""
    max_text_tokens = 8_192
    parallel = 64

    def __init__(self, embedding: Embedding, settings: Settings) -> None:
        assert embedding.model and embedding.dimensions
        self._model, self._dimensions = embedding.model, embedding.dimensions
        self._asks_dimensions = OPENAI_MODELS.get(self._model, self._dimensions) != self._dimensions
        self._known = self._asks_dimensions or self._model in OPENAI_MODELS
        self._embedding, self._settings = embedding, settings
        self._endpoint: Endpoint | None = None
        self._client: openai.AsyncOpenAI | None = None
        self.shares: Hashable = ("openai", embedding.endpoint, self._model)

    @property
    def most_requests(self) -> int:
        """Two, until it is known whether a model that is not OpenAI's has as many dimensions as are wanted."""
        return 1 if self._known else 2

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """`most_requests` at most; none for no text."""
        if not texts:
            return Embedded(np.empty((0, self._dimensions), dtype=np.float32), 0)
        client, endpoint = self._connected()
        asks_dimensions = self._asks_dimensions
        try:
            async with asyncio.timeout(WHOLE * TIMEOUT_S):
                response = await client.embeddings.with_raw_response.create(
                    model=self._model,
                    input=[],
                    extra_body={"input": list(texts)},  # as it is: the SDK looks at each text of `input`, 30 us of it
                    encoding_format="base64",
                    dimensions=self._dimensions if asks_dimensions else openai.omit,
                )
        except TimeoutError as exc:
            raise _no_answer(in_doubt=True) from exc
        except openai.APIStatusError as exc:
            if exc.status_code in REFUSALS:
                raise TextsRefused(_message(exc, endpoint.key), too_many=exc.status_code in SIZE_REFUSALS) from exc
            raise unwell(exc, endpoint) from exc
        except openai.OpenAIError as exc:
            raise unwell(exc, endpoint) from exc
        except AttributeError as exc:  # anyio asks a socket that was reset at once for its peer
            raise DependencyUnwell("OpenAI", "the connection was reset") from exc
        answer = _decoded(response.content)
        tokens = answer.usage.prompt_tokens if answer.usage else 0
        if not asks_dimensions and self._model not in OPENAI_MODELS and _size(answer) > self._dimensions:
            return await self._cut_to_size(texts, _size(answer), tokens)
        self._known |= _size(answer) == self._dimensions
        return Embedded(self._vectors(answer, len(texts)), tokens, rates_of(response.headers))

    async def _cut_to_size(self, texts: Sequence[str], size: int, tokens: int) -> Embedded:
        """Asks again, and from now on, for fewer dimensions than a model that is not known has by itself."""
        self._asks_dimensions = self._known = True
        try:
            again = await self.embed(texts)
        except TextsRefused as exc:
            raise self._wrong({size}) from exc
        except DependencyUnwell as exc:  # the first answer was paid for, whatever became of the second
            exc.in_doubt = True
            raise
        return Embedded(again.vectors, again.tokens + tokens, again.rates, again.requests + 1)

    async def stop(self) -> None:
        if self._client:
            await self._client.close()

    def _connected(self) -> tuple[openai.AsyncOpenAI, Endpoint]:
        if self._client is None or self._endpoint is None:
            self._endpoint = endpoint_of(self._embedding, self._settings)
            self._client = self._endpoint.connect(TIMEOUT_S)
        return self._client, self._endpoint

    def _vectors(self, answer: "_Answer", count: int) -> Vectors:
        """float32[count, dimensions], by the index of each."""
        sizes = {row.size for row in answer.data}
        if sorted(row.index for row in answer.data) != list(range(count)):
            raise _malformed(f"{len(answer.data)} vectors for {count} texts")
        if sizes != {self._dimensions}:
            raise self._wrong(sizes)
        vectors: Vectors = np.empty((count, self._dimensions), dtype=np.float32)
        for row in answer.data:
            given = row.embedding
            vectors[row.index] = np.frombuffer(given, dtype="<f4") if isinstance(given, bytes) else given
        if not np.isfinite(vectors).all():
            raise _malformed("vectors of no finite numbers")
        return vectors

    def _wrong(self, sizes: set[int]) -> DependencyUnwell:
        return DependencyUnwell(
            "OpenAI",
            f"vectors of {' and '.join(map(str, sorted(sizes)))} dimensions, not the {self._dimensions} of the "
            "definition: mend embedding.dimensions",
            lasting=True,
            in_doubt=True,
        )


class _Row(msgspec.Struct):
    """`embedding`: base64 of little-endian float32, or (compatible servers) numbers."""

    embedding: bytes | list[float]
    index: int

    @property
    def size(self) -> int:
        return len(self.embedding) // (4 if isinstance(self.embedding, bytes) else 1)


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Answer(msgspec.Struct):
    """The SDK's own model of it takes most of a call's processor time: four times what is left without."""

    data: list[_Row]
    usage: _Usage | None = None


_ANSWERS = msgspec.json.Decoder(_Answer)


def _decoded(body: bytes) -> _Answer:
    try:
        answer = _ANSWERS.decode(body)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise _malformed(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _malformed("no JSON") from exc
    if any(isinstance(row.embedding, bytes) and len(row.embedding) % 4 for row in answer.data):
        raise _malformed("vectors of no whole numbers of float32")
    return answer


def _size(answer: _Answer) -> int:
    """Dimensions of its vectors; 0 where they differ, or it has none."""
    sizes = {row.size for row in answer.data}
    return sizes.pop() if len(sizes) == 1 else 0


def _message(exc: openai.APIStatusError, key: Secret | None) -> str:
    """The server's own words, without the key, should it repeat it."""
    message = _said(exc.body) or f"status {exc.status_code}"
    return (message.replace(key.reveal(), "***") if key else message)[:300]


def _said(body: object) -> str:
    """An error's words: `{"error": {"message"}}`, of which the SDK gives what `error` holds, or as others put it."""
    while isinstance(body, dict):
        body = next((body[name] for name in ("message", "error", "detail") if name in body), None)
    return body if isinstance(body, str) and not body.lstrip().startswith("<") else ""  # no page of a proxy's


def _malformed(why: str) -> DependencyUnwell:
    """It answered, so it has done its work."""
    return DependencyUnwell("OpenAI", f"malformed answer: {why}", in_doubt=True)


def _no_answer(*, in_doubt: bool) -> DependencyUnwell:
    return DependencyUnwell("OpenAI", f"no answer within {TIMEOUT_S:.0f} s", in_doubt=in_doubt)


def _was_sent(exc: openai.APIConnectionError) -> bool:
    """Whether the request may have reached the server."""
    return type(exc.__cause__).__name__ not in NOT_SENT


def unwell(exc: openai.OpenAIError, endpoint: Endpoint) -> DependencyUnwell:
    """What an SDK error means; its text never holds the key."""
    match exc:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return DependencyUnwell(
                "OpenAI", f"the key is refused ({exc.status_code}): set a valid {endpoint.key_setting}", lasting=True
            )
        case openai.RateLimitError() if exc.code == "insufficient_quota":
            return DependencyUnwell("OpenAI", "the quota is exhausted: add credit to the account", lasting=True)
        case openai.RateLimitError():
            return RateLimited("OpenAI", "rate limited (429)", rates_of(exc.response.headers))
        case openai.APIStatusError() if exc.status_code in NOWHERE:
            check = f"check embedding.model and {endpoint.url_setting}"
            return DependencyUnwell("OpenAI", f"no such model or address ({exc.status_code}): {check}", lasting=True)
        case openai.APITimeoutError():
            return _no_answer(in_doubt=_was_sent(exc))
        case openai.APIConnectionError():
            return DependencyUnwell("OpenAI", "can't be reached", in_doubt=_was_sent(exc))
        case openai.APIStatusError():
            retry_after_s = rates_of(exc.response.headers).retry_after_s
            in_doubt = exc.status_code == GATEWAY_TIMEOUT
            return DependencyUnwell(
                "OpenAI", f"answers {exc.status_code}", retry_after_s=retry_after_s, in_doubt=in_doubt
            )
        case _:
            return _malformed(type(exc).__name__)
