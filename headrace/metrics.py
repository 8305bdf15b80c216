"""Every metric of every service: what `/metrics` shows, and what docs, alert rules and the Grafana dashboard may name.

Names and units as https://prometheus.io/docs/practices/naming/ has them; a counter is shown with `_total` at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Kind = Literal["counter", "gauge", "histogram"]

REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)


@dataclass(frozen=True)
class Metric:
    """`buckets`: upper bounds of a histogram's, in the unit of its name."""

    name: str
    kind: Kind
    says: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS

    @property
    def series(self) -> tuple[str, ...]:
        """Names that a query may use."""
        ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
        return tuple(self.name + end for end in ends[self.kind])

    def counter(self, registry: CollectorRegistry) -> Counter:
        return Counter(self._of("counter"), self.says, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        return Gauge(self._of("gauge"), self.says, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        return Histogram(self._of("histogram"), self.says, self.labels, registry=registry, buckets=self.buckets)

    def _of(self, kind: Kind) -> str:
        if self.kind != kind:
            raise TypeError(f"{self.name} is a {self.kind}, not a {kind}")
        return self.name


class Control:
    """Of control."""

    REQUESTS = Metric(
        "headrace_control_request_seconds", "histogram", "Time to answer a request",
        ("route", "method", "code"), REQUEST_S,
    )  # fmt: skip
    COMMANDS = Metric("headrace_control_commands", "counter", "Commands written, by action", ("action",))
    REFUSED = Metric("headrace_control_commands_refused", "counter", "Records on commands that were refused")
    RETRIED = Metric("headrace_control_dead_letters_retried", "counter", "Dead letters copied to be tried again")
    APPLIED = Metric("headrace_control_records_applied", "counter", "Records the projection took in", ("topic",))
    PASSED_OVER = Metric(
        "headrace_control_records_passed_over", "counter", "Records the projection could not read", ("topic",)
    )
    APPLY_SECONDS = Metric("headrace_control_apply_seconds", "histogram", "Time to write one batch to the projection")
    QUEUED = Metric("headrace_control_records_queued", "gauge", "Records read and not yet in the projection")
    JOBS = Metric("headrace_control_jobs", "gauge", "Jobs by status; finished ones only where asked for", ("status",))
    LAG = Metric("headrace_control_consumer_lag", "gauge", "Records before the consumer group", ("partition",))
    WEBHOOK_MESSAGES = Metric(
        "headrace_control_webhook_messages", "counter", "Tries to send to webhooks, by what came of them", ("result",)
    )
    READY = Metric("headrace_control_ready", "gauge", "1 while requests are answered")


class Producer:
    """Of each producer."""

    PAGES = Metric("headrace_producer_pages", "counter", "Pages recorded, by state", ("state",))
    CHUNKS = Metric("headrace_producer_chunks", "counter", "Chunks named by recorded pages, kept ones included")
    FETCHED_BYTES = Metric("headrace_producer_fetched_bytes", "counter", "Bytes of page bodies on the wire")
    FETCH_SECONDS = Metric("headrace_producer_fetch_seconds", "histogram", "Time of one request that was answered")
    EXTRACT_SECONDS = Metric(
        "headrace_producer_extract_seconds", "histogram", "Time in which one page's bytes became a document"
    )
    CHUNK_SECONDS = Metric(
        "headrace_producer_chunk_seconds", "histogram", "Time in which one document was cut into chunks"
    )
    PUBLISH_SECONDS = Metric(
        "headrace_producer_publish_seconds", "histogram",
        "Time from a page's content to the delivery report of its record",
    )  # fmt: skip
    FAULTS = Metric(
        "headrace_producer_faults", "counter", "Crawls that ended by an unexpected error and were begun anew"
    )
    JOBS = Metric("headrace_producer_jobs", "gauge", "Jobs looked after by this process")
    PARTITIONS = Metric("headrace_producer_partitions", "gauge", "Partitions of commands owned by this process")


class Consumer:
    """Of each consumer."""

    BATCHES_IN_FLIGHT = Metric("headrace_consumer_batches_in_flight", "gauge", "Batches submitted and not yet acked")
    RECORDS_WAITING = Metric("headrace_consumer_records_waiting", "gauge", "Records read and not yet submitted")
    READING = Metric(
        "headrace_consumer_reading", "gauge", "1 while records are taken in, 0 while it waits for partitions or offsets"
    )
    RECORDS = Metric(
        "headrace_consumer_records",
        "counter",
        "Records of chunks that were settled, by what became of them",
        ("result",),
    )
    EMBEDDING_CALLS = Metric(
        "headrace_consumer_embedding_calls",
        "counter",
        "Calls of embedding providers: answered, throttled (429), refused, failed",
        ("provider", "result"),
    )
    EMBEDDING_SECONDS = Metric(
        "headrace_consumer_embedding_seconds", "histogram", "Time of a call that was answered", ("provider",)
    )
    EMBEDDED_TOKENS = Metric(
        "headrace_consumer_embedded_tokens", "counter", "Tokens that providers counted, or the records", ("provider",)
    )
    EMBEDDING_USD = Metric(
        "headrace_consumer_embedding_usd", "counter", "Dollars that calls cost, where there is a price", ("provider",)
    )
    WRITE_SECONDS = Metric(
        "headrace_consumer_write_seconds", "histogram", "Time to write a batch's objects to Weaviate"
    )
    STALLED = Metric("headrace_consumer_stalled_jobs", "gauge", "Jobs that wait, by what for", ("dependency",))
    CATCH_UP_WAIT_SECONDS = Metric(
        "headrace_consumer_catch_up_wait_seconds", "gauge", "How long it has waited to read its state from Kafka"
    )


ALL: tuple[Metric, ...] = tuple(
    metric
    for service in (Control, Producer, Consumer)
    for metric in vars(service).values()
    if isinstance(metric, Metric)
)


def table() -> str:
    """Markdown: name, kind, labels, meaning."""
    rows = (
        f"| `{each.series[0] if each.kind == 'counter' else each.name}` | {each.kind} "
        f"| {', '.join(f'`{label}`' for label in each.labels) or '–'} | {each.says} |"
        for each in ALL
    )
    return "\n".join(("| metric | kind | labels | is |", "|---|---|---|---|", *rows)) + "\n"
