"""A producer's metrics, counted here; what each is stands in `headrace/metrics.py`."""

from prometheus_client import CollectorRegistry

from headrace.metrics import Producer
from producer.work import PageOutput
from schemas.pages import PageRecord


class Metrics:
    """All in one registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.pages, self.chunks = Producer.PAGES.counter(registry), Producer.CHUNKS.counter(registry)
        self.fetched_bytes, self.faults = Producer.FETCHED_BYTES.counter(registry), Producer.FAULTS.counter(registry)
        self.fetch_seconds = Producer.FETCH_SECONDS.histogram(registry)
        self.extract_seconds = Producer.EXTRACT_SECONDS.histogram(registry)
        self.chunk_seconds = Producer.CHUNK_SECONDS.histogram(registry)
        self.publish_seconds = Producer.PUBLISH_SECONDS.histogram(registry)
        self.jobs, self.partitions = Producer.JOBS.gauge(registry), Producer.PARTITIONS.gauge(registry)

    def read(self, content: PageOutput) -> None:
        self.extract_seconds.observe(content.extract_ms / 1e3)
        self.chunk_seconds.observe(content.chunk_ms / 1e3)

    def recorded(self, page: PageRecord) -> None:
        self.pages.labels(page.state).inc()
        self.chunks.inc(len(page.chunks))
        self.fetched_bytes.inc(page.bytes)
        if page.duration_ms:
            self.fetch_seconds.observe(page.duration_ms / 1e3)
