"""A consumer's metrics, counted here; what each is stands in `headrace/metrics.py`."""

from typing import get_args

from prometheus_client import CollectorRegistry

from headrace.metrics import Consumer
from schemas.facts import Result

REGISTRY = CollectorRegistry()

RECORDS = Consumer.RECORDS.counter(REGISTRY)
for _result in get_args(Result):  # shown as 0: an alert sees no increase where a series begins with 1
    RECORDS.labels(_result)
EMBEDDING_CALLS = Consumer.EMBEDDING_CALLS.counter(REGISTRY)
EMBEDDING_SECONDS = Consumer.EMBEDDING_SECONDS.histogram(REGISTRY)
EMBEDDED_TOKENS = Consumer.EMBEDDED_TOKENS.counter(REGISTRY)
EMBEDDING_USD = Consumer.EMBEDDING_USD.counter(REGISTRY)
WRITE_SECONDS = Consumer.WRITE_SECONDS.histogram(REGISTRY)
STALLED = Consumer.STALLED.gauge(REGISTRY)
