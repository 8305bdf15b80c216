"""What came of one call of an embedding provider: counted, and told in the traces of the pages whose texts it had."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

from consumer.metrics import EMBEDDING_CALLS, EMBEDDING_SECONDS
from headrace import tracing
from headrace.embedding.base import Embedded, RateLimited, TextsRefused
from headrace.errors import DependencyUnwell
from schemas.facts import CallReserved

CallResult = Literal["answered", "throttled", "refused", "failed"]
"""Throttled: a 429 for the rate, by which an API says what it takes. That is no failure; an exhausted quota is one."""


async def observed(
    reserved: CallReserved, make: Callable[[], Awaitable[Embedded]], traceparents: Iterable[str] = ()
) -> Embedded:
    """What `make` answers or raises. A call that is cut off is nobody's failure, and neither counted nor told.

    `traceparents`: of the texts, where they have any.
    """
    began_ns, began_s = time.time_ns(), time.monotonic()
    try:
        embedded = await make()
    except (TextsRefused, DependencyUnwell) as exc:
        result, error = _of(exc)
        EMBEDDING_CALLS.labels(reserved.provider, result).inc()
        _tell(reserved, began_ns, traceparents, result, error)
        raise
    EMBEDDING_SECONDS.labels(reserved.provider).observe(time.monotonic() - began_s)
    EMBEDDING_CALLS.labels(reserved.provider, "answered").inc()
    _tell(reserved, began_ns, traceparents, "answered", None)
    return embedded


def _of(exc: TextsRefused | DependencyUnwell) -> tuple[CallResult, str | None]:
    """And why it is an error, as a status has it. What a server says of texts that it refuses may quote them."""
    match exc:
        case TextsRefused():
            return "refused", "refused"
        case RateLimited():
            return "throttled", None
        case _:
            return "failed", exc.reason


def _tell(
    reserved: CallReserved, began_ns: int, traceparents: Iterable[str], result: CallResult, error: str | None
) -> None:
    """`call`, once in each page's trace."""
    ended_ns = time.time_ns()
    for parent, chunks in Counter(traceparents).items():
        told: tracing.Attributes = {
            "headrace.job_id": reserved.job_id,
            "headrace.result": result,
            "headrace.chunks": chunks,
            "headrace.texts": reserved.texts,
            "gen_ai.provider.name": reserved.provider,
            "gen_ai.request.model": reserved.model,
        }
        tracing.tell("call", began_ns, ended_ns, told, parent=parent, error=error)
