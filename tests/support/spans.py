"""Spans of this process, as they end."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from headrace import tracing


def traced(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Turns traces on for one test."""
    ended, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ended))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    return ended


def errors(ended: InMemorySpanExporter) -> list[tuple[str, str | None]]:
    """Names of the spans, with what an error says; None for one that is none."""
    return [
        (span.name, span.status.description if span.status.status_code is StatusCode.ERROR else None)
        for span in ended.get_finished_spans()
    ]
