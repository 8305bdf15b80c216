"""A consumer's metrics, counted here; what each is stands in `headrace/metrics.py`."""

from prometheus_client import CollectorRegistry

from headrace.metrics import Consumer

REGISTRY = CollectorRegistry()

RECORDS = Consumer.RECORDS.counter(REGISTRY)
EMBEDDING_CALLS = Consumer.EMBEDDING_CALLS.counter(REGISTRY)
EMBEDDING_SECONDS = Consumer.EMBEDDING_SECONDS.histogram(REGISTRY)
EMBEDDED_TOKENS = Consumer.EMBEDDED_TOKENS.counter(REGISTRY)
EMBEDDING_USD = Consumer.EMBEDDING_USD.counter(REGISTRY)
WRITE_SECONDS = Consumer.WRITE_SECONDS.histogram(REGISTRY)
STALLED = Consumer.STALLED.gauge(REGISTRY)
