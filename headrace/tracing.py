"""Traces by OpenTelemetry, where `OTEL_EXPORTER_OTLP_ENDPOINT` says where they go; else nothing is imported or done.

A page's trace begins in the producer: `page` with `fetch`, `read` and `publish` below it. What is written to Kafka
meanwhile carries the header `traceparent` (W3C Trace Context), by which the consumer's `call`, `embed` and `index` join
it. The request that commanded the job is a trace of its own, to which `page` has a link: one trace of a whole crawl
could neither be sampled nor looked at.
Whether a page is sampled is decided at its beginning (`OTEL_TRACES_SAMPLER`), so that a trace is whole or absent.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace.settings import InvalidSetting

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, Tracer

HEADER = "traceparent"
FLUSH_S = 2.0
"""What a stop waits for a collector that is slow or away."""
WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HOW = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"

Attributes = Mapping[str, str | int | float | bool]

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def wanted(env: Mapping[str, str]) -> bool:
    off = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    return not off and any(env.get(name) for name in WHERE)


def configure(service: str, env: Mapping[str, str] = os.environ) -> None:
    """Once, before anything is traced. `OTEL_*` variables hold as OpenTelemetry has them. Raises InvalidSetting."""
    global _provider, _tracer  # noqa: PLW0603
    if not wanted(env):
        return
    _check(env)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise InvalidSetting(
            f"{' or '.join(WHERE)} asks for traces, which take packages that are not installed: "
            "pip install 'headrace[traces]', or unset it"
        ) from exc
    named = env.get("OTEL_SERVICE_NAME") or "service.name=" in env.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": f"headrace-{service}"})
    try:
        _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as exc:
        raise InvalidSetting(f"a variable OTEL_… holds what it can't: {exc}") from exc
    _tracer = _provider.get_tracer("headrace")


def _check(env: Mapping[str, str]) -> None:
    """What OpenTelemetry would pass over, or stumble on at each export."""
    how = next((name for name in HOW if env.get(name)), None)
    if how and env[how] != PROTOCOL:
        raise InvalidSetting(
            f"{how} is {env[how]!r}; traces go by {PROTOCOL} alone: unset it here, and name the collector's port "
            "for that (mostly 4318)"
        )
    where = next(name for name in WHERE if env.get(name))
    if not env[where].startswith(("http://", "https://")):
        raise InvalidSetting(f"{where} is no http or https URL, such as http://127.0.0.1:4318")


def stop() -> None:
    """Sends what is left, for `FLUSH_S` at most."""
    if _provider is not None:
        flushing = threading.Thread(target=_provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)


def on() -> bool:
    return _tracer is not None


@contextlib.contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    link: str | None = None,
    serves: bool = False,
) -> Iterator["Span | None"]:
    """The current span within it, below the one before or below `parent`, a `traceparent`. None where traces are off.

    `link`: the `traceparent` of what brought it about. `serves`: it answers somebody else's request.
    """
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    kind = SpanKind.SERVER if serves else SpanKind.INTERNAL
    context = _context(parent) if parent else None
    links = _links(link) if link else None
    with _tracer.start_as_current_span(
        name, context, kind, dict(attributes or {}), links, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as exc:  # by its type alone: its message may hold what no attribute may
            fail(current, type(exc).__name__)
            raise


def fail(span: "Span", reason: str) -> None:
    """What it is of came to nothing. `reason` holds no secret, nor anything of a page."""
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR, reason)


def tell(
    name: str,
    began_ns: int,
    ended_ns: int,
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    error: str | None = None,
) -> None:
    """A span that is over, below the current one or below `parent`. Times: nanoseconds since 1970. `error`: a reason as
    `fail` takes it, where it failed."""
    if _tracer is None:
        return
    context = _context(parent) if parent else None
    told = _tracer.start_span(name, context, attributes=dict(attributes or {}), start_time=began_ns)
    if error is not None:
        fail(told, error)
    told.end(ended_ns)


def note(attributes: Attributes) -> None:
    """Of the current span, what is known only within it."""
    if _tracer is None:
        return
    from opentelemetry import trace

    trace.get_current_span().set_attributes(dict(attributes))


def headers() -> list[tuple[str, bytes]]:
    """What a record that is written now carries: nothing outside of spans, or where traces are off."""
    if _tracer is None:
        return []
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return []
    return [(HEADER, f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode())]


def ids() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, for logs."""
    found = headers()
    if not found:
        return {}
    _, trace_id, span_id, _ = found[0][1].decode().split("-")
    return {"trace_id": trace_id, "span_id": span_id}


def parent_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The `traceparent` of a record."""
    return next((value.decode(errors="replace") for name, value in headers if name == HEADER and value), None)


def address(url: str) -> str:
    """A URL without what may be secret in it: user, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _context(parent: str) -> Any:
    """One that is no `traceparent` counts as none: the span begins a trace of its own."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: parent}, Context())


def _links(to: str) -> "list[Link]":
    """One to what is no `traceparent` is dropped by the SDK."""
    from opentelemetry.trace import Link, get_current_span

    return [Link(get_current_span(_context(to)).get_span_context())]
