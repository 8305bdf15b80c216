"""Every metric of the producer."""

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from producer.work import PageOutput
from schemas.pages import PageRecord


@dataclass(frozen=True)
class Metrics:
    """All in one registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    pages: Counter = field(init=False)
    chunks: Counter = field(init=False)
    fetched_bytes: Counter = field(init=False)
    fetch_seconds: Histogram = field(init=False)
    extract_seconds: Histogram = field(init=False)
    chunk_seconds: Histogram = field(init=False)
    publish_seconds: Histogram = field(init=False)
    faults: Counter = field(init=False)
    jobs: Gauge = field(init=False)
    partitions: Gauge = field(init=False)

    def __post_init__(self) -> None:
        def define(name: str, make: Callable[..., object], says: str, *labels: str) -> None:
            object.__setattr__(self, name, make(f"headrace_producer_{name}", says, labels, registry=self.registry))

        define("pages", Counter, "pages recorded, by state", "state")
        define("chunks", Counter, "chunks named by recorded pages, kept ones included")
        define("fetched_bytes", Counter, "bytes of page bodies on the wire")
        define("fetch_seconds", Histogram, "time of one request that was answered")
        define("extract_seconds", Histogram, "time in which one page's bytes became a document")
        define("chunk_seconds", Histogram, "time in which one document was cut into chunks")
        define("publish_seconds", Histogram, "time from a page's content to the delivery report of its record")
        define("faults", Counter, "crawls that ended by an unexpected error and were begun anew")
        define("jobs", Gauge, "jobs looked after by this process")
        define("partitions", Gauge, "partitions of commands owned by this process")

    def read(self, content: PageOutput) -> None:
        self.extract_seconds.observe(content.extract_ms / 1e3)
        self.chunk_seconds.observe(content.chunk_ms / 1e3)

    def recorded(self, page: PageRecord) -> None:
        self.pages.labels(page.state).inc()
        self.chunks.inc(len(page.chunks))
        self.fetched_bytes.inc(page.bytes)
        if page.duration_ms:
            self.fetch_seconds.observe(page.duration_ms / 1e3)
