"""A collector of traces: OTLP over HTTP, as https://opentelemetry.io/docs/specs/otlp/ has it."""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.serving import LoopbackServer


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    linked: tuple[tuple[str, str], ...]
    """Trace and span of each link."""


@dataclass
class OtlpCollector(LoopbackServer):
    spans: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def application(self) -> web.Application:
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_post("/v1/traces", self._take)
        return application

    def of_trace(self, trace_id: str) -> dict[tuple[str, str], list[Span]]:
        """By service and name."""
        found: dict[tuple[str, str], list[Span]] = {}
        for span in self.spans:
            if span.trace_id == trace_id:
                found.setdefault((span.service, span.name), []).append(span)
        return found

    async def _take(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_span(service, each) for each in scope.spans]
        return web.Response(content_type="application/x-protobuf")


def _span(service: str, span: Any) -> Span:
    return Span(
        service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
        span.start_time_unix_nano, span.end_time_unix_nano, _attributes(span.attributes),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )  # fmt: skip


def _attributes(pairs: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in pairs}
