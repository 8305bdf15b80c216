"""OpenAI's embeddings, through the official SDK.

Limits (platform.openai.com, embeddings reference): 2,048 inputs, 8,192 tokens an input, 300,000 tokens a request.
"""

import base64
import binascii
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import numpy as np
import openai

from headrace.embedding.base import Embedded, TextsRefused, Vectors
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import OPENAI_MODELS, Embedding

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
"""Full batches take 1-3 s. No more than the consumer's patience, so that a server that hangs holds up the jobs beside
it for that long once, not for a minute. A slow compatible server wants a smaller HEADRACE_EMBED_BATCH instead."""
MAX_REQUEST_BYTES = 290_000
"""A cl100k token is at least one byte, so a request of so many bytes never passes 300,000 tokens."""

REFUSALS = frozenset({400, 413, 422})
"""The request is not taken as it is; a part of it may be (413 and 422: limits of compatible servers)."""
HARMLESS = "headrace"


class OpenAIEmbedder:
    max_texts = 256
    max_bytes = MAX_REQUEST_BYTES
    parallel = 16

    def __init__(self, embedding: Embedding, settings: Settings) -> None:
        assert embedding.model and embedding.dimensions
        self._model, self._dimensions = embedding.model, embedding.dimensions
        self._key = settings.openai_api_key
        self._base_url = settings.openai_base_url
        self._client: openai.AsyncOpenAI | None = None

    async def embed(self, texts: Sequence[str]) -> Embedded:
        answers = [await self._request(texts, start, end) for start, end in _requests(texts)]
        answer = answers[0] if len(answers) == 1 else _joined(answers)
        if answer.reasons and len(answer.reasons) == len(texts):
            await self._check_that_any_is_taken(next(iter(answer.reasons.values())))
        if answer.reasons:
            raise TextsRefused(dict(answer.reasons), answer.embedded(self._dimensions))
        return answer.embedded(self._dimensions)

    async def stop(self) -> None:
        if self._client:
            await self._client.close()

    async def _request(self, texts: Sequence[str], start: int, end: int) -> "_Answer":
        """For `texts[start:end]`. What is refused is tried again by halves, down to the text that fails by itself."""
        try:
            vectors, tokens = await self._ask(texts[start:end])
        except _Refused as exc:
            if end - start == 1:
                return _Answer([], {start: f"the embedding API refuses this text: {exc}"}, 0, 0)
            middle = (start + end) // 2
            return _joined([await self._request(texts, start, middle), await self._request(texts, middle, end)])
        return _Answer([vectors], {}, tokens, 1)

    async def _check_that_any_is_taken(self, reason: str) -> None:
        """Refusing all there is may be no fault of the texts: a wrong parameter or server would do the same."""
        try:
            await self._ask([HARMLESS])
        except _Refused as exc:
            raise DependencyUnwell("OpenAI", f"refuses every text: {exc}", lasting=True) from exc
        log.info("texts are refused: %s", reason)

    async def _ask(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """One call of the API. Raises _Refused where it doesn't take the request as it is."""
        try:
            answer = await self._connected().embeddings.create(
                model=self._model,
                input=list(texts),
                encoding_format="base64",
                dimensions=openai.omit if self._native() else self._dimensions,
            )
        except openai.APIStatusError as exc:
            if exc.status_code in REFUSALS:
                raise _Refused(self._message(exc)) from exc
            raise unwell(exc) from exc
        except openai.OpenAIError as exc:
            raise unwell(exc) from exc
        except AttributeError as exc:  # anyio asks a socket that was reset at once for its peer
            raise DependencyUnwell("OpenAI", "the connection was reset") from exc
        except json.JSONDecodeError as exc:
            raise DependencyUnwell("OpenAI", "malformed answer: no JSON") from exc
        except UnicodeEncodeError as exc:
            raise DependencyUnwell("OpenAI", "OPENAI_API_KEY has letters that no key has", lasting=True) from exc
        return self._vectors(answer, len(texts)), answer.usage.prompt_tokens if answer.usage else 0

    def _connected(self) -> openai.AsyncOpenAI:
        if self._client is None:
            if self._key is None:
                raise DependencyUnwell("OpenAI", "no key: set OPENAI_API_KEY and restart the service", lasting=True)
            # One budget of attempts, and it is ours: the SDK's own retries would hide an outage from the status.
            self._client = openai.AsyncOpenAI(
                api_key=self._key.reveal(), base_url=self._base_url, max_retries=0, timeout=TIMEOUT_S
            )
        return self._client

    def _message(self, exc: openai.APIStatusError) -> str:
        """The server's own words, without the key, should it repeat it."""
        body = exc.body if isinstance(exc.body, dict) else {}
        message = str(body.get("message") or f"status {exc.status_code}")
        return (message.replace(self._key.reveal(), "***") if self._key else message)[:300]

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
        if not all(np.isfinite(row).all() for row in rows):
            raise DependencyUnwell("OpenAI", "malformed answer: vectors of no finite numbers")
        sizes = {len(row) for row in rows}
        if sizes != {self._dimensions}:
            raise DependencyUnwell(
                "OpenAI",
                f"vectors of {' and '.join(map(str, sorted(sizes)))} dimensions, not the {self._dimensions} of the "
                "definition: mend embedding.dimensions",
                lasting=True,
            )
        return np.stack(rows)


class _Refused(Exception):
    """The API doesn't take a request as it is."""


@dataclass(frozen=True)
class _Answer:
    """`vectors`: of the texts not in `reasons`, in order, in parts. `calls` that were answered with vectors."""

    vectors: Sequence[Vectors]
    reasons: Mapping[int, str]
    tokens: int
    calls: int

    def embedded(self, dimensions: int) -> Embedded:
        nothing: Vectors = np.empty((0, dimensions), dtype=np.float32)
        return Embedded(np.concatenate([nothing, *self.vectors]), self.tokens, self.calls)


def _joined(answers: Sequence[_Answer]) -> _Answer:
    return _Answer(
        [part for answer in answers for part in answer.vectors],
        {index: reason for answer in answers for index, reason in answer.reasons.items()},
        sum(answer.tokens for answer in answers),
        sum(answer.calls for answer in answers),
    )


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
    return [*spans, (start, len(texts))] if texts else []


def _decoded(embedding: object) -> Vectors:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(embedding, dtype=np.float32)


def _retry_after(exc: openai.APIStatusError) -> float | None:
    """Seconds; an HTTP date (RFC 9110, 10.2.3) counts from now."""
    value = exc.response.headers.get("retry-after") or ""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
