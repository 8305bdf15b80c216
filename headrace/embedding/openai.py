"""OpenAI's embeddings, through the official SDK.

Limits (platform.openai.com, embeddings reference): 2,048 inputs, 8,192 tokens an input, 300,000 tokens a request.
"""

import base64
import binascii
from collections.abc import Sequence

import numpy as np
import openai

from headrace.embedding.base import Embedded, TextsRefused, Vectors
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import OPENAI_MODELS, Embedding

TIMEOUT_S = 60.0
MAX_REQUEST_BYTES = 290_000
"""A cl100k token is at least one byte, so a request of so many bytes never passes 300,000 tokens."""


class OpenAIEmbedder:
    max_texts = 256
    parallel = 16

    def __init__(self, embedding: Embedding, settings: Settings) -> None:
        assert embedding.model and embedding.dimensions
        self._model, self._dimensions = embedding.model, embedding.dimensions
        self._key = settings.openai_api_key
        self._base_url = settings.openai_base_url
        self._client: openai.AsyncOpenAI | None = None

    async def embed(self, texts: Sequence[str]) -> Embedded:
        parts: list[Vectors] = []
        tokens = calls = 0
        for start, end in _requests(texts):
            try:
                vectors, used = await self._request(texts[start:end])
            except TextsRefused as exc:
                raise TextsRefused({start + i: reason for i, reason in exc.reasons.items()}) from exc
            parts.append(vectors)
            tokens, calls = tokens + used, calls + 1
        return Embedded(np.concatenate(parts), tokens, calls)

    async def stop(self) -> None:
        if self._client:
            await self._client.close()

    async def _request(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        try:
            answer = await self._connected().embeddings.create(
                model=self._model,
                input=list(texts),
                encoding_format="base64",
                dimensions=openai.omit if self._native() else self._dimensions,
            )
        except (openai.BadRequestError, openai.UnprocessableEntityError) as exc:
            raise await self._refused(texts, exc) from exc
        except openai.OpenAIError as exc:
            raise unwell(exc) from exc
        return self._vectors(answer, len(texts)), answer.usage.prompt_tokens if answer.usage else 0

    async def _refused(self, texts: Sequence[str], exc: openai.APIStatusError) -> TextsRefused:
        """Finds the texts that fail by themselves, by halves."""
        if len(texts) == 1:
            return TextsRefused({0: f"the embedding API refuses this text: {_message(exc)}"})
        middle = len(texts) // 2
        reasons: dict[int, str] = {}
        for start, half in ((0, texts[:middle]), (middle, texts[middle:])):
            try:
                await self._request(half)
            except TextsRefused as found:
                reasons |= {start + i: reason for i, reason in found.reasons.items()}
        if not reasons:
            raise DependencyUnwell("OpenAI", f"refused a request whose halves it takes: {_message(exc)}")
        return TextsRefused(reasons)

    def _connected(self) -> openai.AsyncOpenAI:
        if self._client is None:
            if self._key is None:
                raise DependencyUnwell("OpenAI", "no key: set OPENAI_API_KEY and restart the service", lasting=True)
            # One budget of attempts, and it is ours: the SDK's own retries would hide an outage from the status.
            self._client = openai.AsyncOpenAI(
                api_key=self._key.reveal(), base_url=self._base_url, max_retries=0, timeout=TIMEOUT_S
            )
        return self._client

    def _native(self) -> bool:
        """Compatible servers may not know `dimensions`: it is sent only where it changes something."""
        return OPENAI_MODELS.get(self._model, self._dimensions) == self._dimensions

    def _vectors(self, answer: openai.types.CreateEmbeddingResponse, count: int) -> Vectors:
        try:
            rows = [_decoded(item.embedding) for item in sorted(answer.data, key=lambda item: item.index)]
        except (AttributeError, TypeError, ValueError, binascii.Error) as exc:
            raise DependencyUnwell("OpenAI", f"malformed answer: {exc!r}") from exc
        if len(rows) != count:
            raise DependencyUnwell("OpenAI", f"malformed answer: {len(rows)} vectors for {count} texts")
        sizes = {len(row) for row in rows}
        if sizes != {self._dimensions}:
            raise DependencyUnwell(
                "OpenAI", f"vectors of {sizes} dimensions, not the {self._dimensions} of the definition", lasting=True
            )
        return np.stack(rows)


def unwell(exc: openai.OpenAIError) -> DependencyUnwell:
    """What an SDK error means; its text never holds the key."""
    match exc:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return DependencyUnwell(
                "OpenAI", f"the key is refused ({exc.status_code}): set a valid OPENAI_API_KEY", lasting=True
            )
        case openai.RateLimitError() if exc.code == "insufficient_quota":
            return DependencyUnwell("OpenAI", "the quota is exhausted: add credit to the account", lasting=True)
        case openai.RateLimitError():
            return DependencyUnwell("OpenAI", "rate limited (429)", retry_after_s=_retry_after(exc))
        case openai.NotFoundError():
            return DependencyUnwell("OpenAI", "no such model or address (404): check embedding.model", lasting=True)
        case openai.APITimeoutError():
            return DependencyUnwell("OpenAI", f"no answer within {TIMEOUT_S:.0f} s")
        case openai.APIConnectionError():
            return DependencyUnwell("OpenAI", "can't be reached")
        case openai.APIStatusError():
            return DependencyUnwell("OpenAI", f"answers {exc.status_code}", retry_after_s=_retry_after(exc))
        case _:
            return DependencyUnwell("OpenAI", f"malformed answer ({type(exc).__name__})")


def _requests(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Spans of texts, each within the size of one request."""
    spans, start, size = [], 0, 0
    for i, text in enumerate(texts):
        length = len(text.encode())
        if i > start and size + length > MAX_REQUEST_BYTES:
            spans.append((start, i))
            start, size = i, 0
        size += length
    return [*spans, (start, len(texts))]


def _decoded(embedding: object) -> Vectors:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(embedding, dtype=np.float32)


def _retry_after(exc: openai.APIStatusError) -> float | None:
    value = exc.response.headers.get("retry-after")
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


def _message(exc: openai.APIStatusError) -> str:
    body = exc.body if isinstance(exc.body, dict) else {}
    return str(body.get("message") or f"status {exc.status_code}")[:300]
