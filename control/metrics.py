"""Control's metrics, counted here; what each is stands in `headrace/metrics.py`."""

from prometheus_client import CollectorRegistry

from headrace.metrics import Control
from schemas.topics import TOPICS

REGISTRY = CollectorRegistry()

REQUESTS = Control.REQUESTS.histogram(REGISTRY)
COMMANDS = Control.COMMANDS.counter(REGISTRY)
REFUSED = Control.REFUSED.counter(REGISTRY)
RETRIED = Control.RETRIED.counter(REGISTRY)
APPLIED = Control.APPLIED.counter(REGISTRY)
PASSED_OVER = Control.PASSED_OVER.counter(REGISTRY)
for _topic in TOPICS:  # shown as 0, here and below: an alert sees no increase where a series begins with 1
    PASSED_OVER.labels(_topic)
APPLY_SECONDS = Control.APPLY_SECONDS.histogram(REGISTRY)
QUEUED = Control.QUEUED.gauge(REGISTRY)
JOBS = Control.JOBS.gauge(REGISTRY)
LAG = Control.LAG.gauge(REGISTRY)
WEBHOOK_MESSAGES = Control.WEBHOOK_MESSAGES.counter(REGISTRY)
for _result in ("delivered", "failed", "given_up"):
    WEBHOOK_MESSAGES.labels(_result)
READY = Control.READY.gauge(REGISTRY)
