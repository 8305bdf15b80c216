"""Every metric of the producer."""

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.pages import PageRecord


@dataclass(frozen=True)
class Metrics:
    """All in one registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    pages: Counter = field(init=False)
    chunks: Counter = field(init=False)
    fetched_bytes: Counter = field(init=False)
    fetch_seconds: Histogram = field(init=False)
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
        define("faults", Counter, "crawls that ended by an unexpected error and were begun anew")
        define("jobs", Gauge, "jobs looked after by this process")
        define("partitions", Gauge, "partitions of commands owned by this process")

    def recorded(self, page: PageRecord) -> None:
        self.pages.labels(page.state).inc()
        self.chunks.inc(len(page.chunks))
        self.fetched_bytes.inc(page.bytes)
        if page.duration_ms:
            self.fetch_seconds.observe(page.duration_ms / 1e3)
