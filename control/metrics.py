"""Every metric of control, in one place: name, unit, meaning."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

REQUESTS = Histogram(
    "headrace_control_request_seconds", "Time to answer a request", ["route", "method", "code"], registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)  # fmt: skip
COMMANDS = Counter("headrace_control_commands", "Commands written, by action", ["action"], registry=REGISTRY)
REFUSED = Counter("headrace_control_commands_refused", "Records on commands that were refused", registry=REGISTRY)
RETRIED = Counter("headrace_control_dead_letters_retried", "Dead letters copied to be tried again", registry=REGISTRY)
APPLIED = Counter("headrace_control_records_applied", "Records the projection took in", ["topic"], registry=REGISTRY)
PASSED_OVER = Counter(
    "headrace_control_records_passed_over", "Records the projection could not read", ["topic"], registry=REGISTRY
)
APPLY_SECONDS = Histogram(
    "headrace_control_apply_seconds", "Time to write one batch to the projection", registry=REGISTRY
)
QUEUED = Gauge("headrace_control_records_queued", "Records read and not yet in the projection", registry=REGISTRY)
JOBS = Gauge(
    "headrace_control_jobs", "Jobs by status; finished ones only where asked for", ["status"], registry=REGISTRY
)
LAG = Gauge("headrace_control_consumer_lag", "Records before the consumer group", ["partition"], registry=REGISTRY)
READY = Gauge("headrace_control_ready", "1 while requests are answered", registry=REGISTRY)
